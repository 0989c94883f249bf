"""Malformed TF_CONFIG: each must be refused in one sentence, before any worker waits for ever.

    python benchmarks/robustness/tf_config.py --seed 0 --count 30

Each case changes a valid cluster of two workers, reads it, and lets the workers meet for half a
second. It is handled if it is read, or refused by an `InputError` of one sentence. Prints a table,
and exits with 1 if something was not handled.
"""

import copy
import json
import random
import socket
import sys
import time

from shared import Outcomes, parser_of

from keras_genimg.cluster import meet, read_cluster
from keras_genimg.errors import InputError

LONGEST = 8  # seconds per case; a meeting takes half a second
VALUES = [None, True, -1, 0, 7, 0.5, 10**30, "", "x", "worker", "0", [], {}, [0], {"0": "a:1"}]
HOSTS = ["", " ", ":", "a..b", "a" * 70, "a" * 300, "é", "\0", "\ud800", "[::1", "::1", "a b",
         "nobody.invalid", "a/b", "http://a"]  # fmt: skip
PORTS = ["", "0", "-1", "65536", "http", "9" * 5000, "1.5", " 80", "٣", "1e3"]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def valid():
    workers = [f"localhost:{port}" for port in free_ports(2)]
    return {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}


def broken_text(rng, config):
    text = json.dumps(config)
    return rng.choice((
        lambda: text[: rng.randrange(1, len(text))], lambda: text.replace('"', "'"),
        lambda: text + text, lambda: "[" * 10**5, lambda: "{" * 10**5, lambda: "9" * 5000,
        lambda: "\0", lambda: "NaN", lambda: "\ufeff" + text, lambda: " \n",
        lambda: text[:20] + chr(rng.randrange(32)) + text[20:], lambda: "x" * 10**5,
    ))()  # fmt: skip


def other_types(rng, config):
    place = rng.choice((("cluster",), ("cluster", "worker"), ("task",), ("task", "type"),
                        ("task", "index")))  # fmt: skip
    inner = config
    for key in place[:-1]:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[place[-1]]
    else:
        inner[place[-1]] = rng.choice(VALUES)
    return json.dumps(config)


def addresses(rng, config):
    host = rng.choice((*HOSTS, "localhost"))
    port = rng.choice(PORTS) if host == "localhost" or rng.random() < 0.3 else "1234"
    address = rng.choice((f"{host}:{port}", f"{host}:{port}", f"{host}:{port}", host, port, None))
    config["cluster"]["worker"][rng.randrange(2)] = address
    return json.dumps(config)


def tasks(rng, config):
    kinds = rng.choice(({}, {"chief": ["a:1"]}, {"chief": ["a:1", "b:1"]}, {"ps": ["a:1"]},
                        {"evaluator": []}, {"chief": []}, {"é": ["a:1"]}))  # fmt: skip
    config["cluster"].update(kinds)
    config["task"] = rng.choice((
        {"type": "chief", "index": 0}, {"type": "worker", "index": 2}, {"type": "ps", "index": 0},
        {"type": "worker", "index": -1}, {"type": "worker", "index": 1e300}, {"index": 0},
        {"type": "evaluator", "index": 0}, {"type": "worker"},
    ))  # fmt: skip
    return json.dumps(config)


def same_twice(rng, config):
    config["cluster"]["worker"] = config["cluster"]["worker"][:1] * rng.choice((2, 500))
    return json.dumps(config)


def nobody_there(rng, config):
    return json.dumps(config)


def many_workers(rng, config):
    config["cluster"]["worker"] += [f"localhost:{port}" for port in range(20000, 20300)]
    return json.dumps(config)


KINDS = {
    "broken text": broken_text, "other types": other_types, "addresses": addresses,
    "tasks": tasks, "the same address twice": same_twice, "nobody there": nobody_there,
    "port in use": nobody_there, "many workers": many_workers,
}  # fmt: skip


def problem(text):
    """What is wrong with the end of a case, or None."""
    began = time.monotonic()
    try:
        cluster = read_cluster(text)
        if cluster is not None:
            meet(cluster, 0.5)
    except InputError as error:
        message = str(error)
        if "\n" in message or "\0" in message or len(message) > 600:
            return f"not one sentence, of {len(message)} characters: {message[:600]!r}"
        if "TF_CONFIG" not in message:
            return f"does not name TF_CONFIG: {message}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]!r}"
    seconds = time.monotonic() - began
    return f"took {seconds:.0f} seconds" if seconds > LONGEST else None


def main():
    options = parser_of(__doc__, 30).parse_args()
    outcomes = Outcomes()
    for number in range(options.count):
        rng = random.Random(f"{options.seed} {number}")
        kind = list(KINDS)[number % len(KINDS)]
        config = valid()
        text = KINDS[kind](rng, copy.deepcopy(config))
        with socket.socket() as taken:
            if kind == "port in use":
                taken.bind(("", int(config["cluster"]["worker"][0].rpartition(":")[2])))
                taken.listen()
            outcomes.add(kind, f"{number} {ascii(text)[:150]}", problem(text))
    sys.exit(outcomes.report())


if __name__ == "__main__":
    main()
