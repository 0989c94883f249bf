"""TF_CONFIG: what is malformed is one sentence, before any worker waits."""

import json
import socket
import threading
import time

import pytest
from ports import free_ports

from keras_genimg.cluster import Cluster, meet, read_cluster
from keras_genimg.errors import InputError

TWO = ["host1:1", "host2:2"]


def config(cluster=None, **task):
    return json.dumps({"cluster": {"worker": TWO} if cluster is None else cluster, "task": task})


def test_it_is_read():
    text = config({"worker": TWO}, type="worker", index=1)
    assert read_cluster(text) == Cluster(("host1:1", "host2:2"), 1)
    assert read_cluster(text).peers == ["host1:1"]
    text = config({"chief": ["c:9"], "worker": TWO}, type="worker", index=0)
    assert read_cluster(text) == Cluster(("c:9", "host1:1", "host2:2"), 1)
    text = config({"chief": ["[::1]:9"], "worker": TWO}, type="chief", index=0)
    assert read_cluster(text).index == 0
    for nothing in ("", " ", "{}", '{"cluster": {}}', '{"task": {"type": "worker", "index": 0}}'):
        assert read_cluster(nothing) is None


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "JSON"),
        ("[" * 10**5, "JSON"),
        ("9" * 5000, "JSON"),
        ("x" * 10**5, "JSON"),
        ("[]", "JSON object"),
        ("3", "JSON object"),
        ('"worker"', "JSON object"),
        ("null", "JSON object"),
        ('{"cluster": []}', None),
        ('{"cluster": 5}', "JSON object"),
        (config({"worker": "host1:1"}, type="worker", index=0), "a list of addresses as worker"),
        (config({"worker": {"0": "host1:1"}}, type="worker", index=0), "a list of addresses"),
        (config({"worker": [1, 2]}, type="worker", index=0), "host:port"),
        (config({"worker": ["host1"]}, type="worker", index=0), "host:port"),
        (config({"worker": ["host1:"]}, type="worker", index=0), "host:port"),
        (config({"worker": [":1"]}, type="worker", index=0), "host:port"),
        (config({"worker": ["host1:http"]}, type="worker", index=0), "host:port"),
        (config({"worker": ["host1:70000"]}, type="worker", index=0), "1 to 65535"),
        (config({"worker": ["host1:0"]}, type="worker", index=0), "1 to 65535"),
        (config({"worker": ["host1:-5"]}, type="worker", index=0), "1 to 65535"),
        (config({"worker": ["host1:" + "9" * 5000]}, type="worker", index=0), "1 to 65535"),
        (config({"worker": ["\0:1"]}, type="worker", index=0), "host:port"),
        (config({"worker": ["a b:1"]}, type="worker", index=0), "host:port"),
        (config({"worker": [None]}, type="worker", index=0), "host:port"),
        (config({"worker": ["a:1", "a:1"]}, type="worker", index=0), "different address"),
        (config({"chief": ["a:1"], "worker": ["a:1"]}, type="chief", index=0), "different address"),
        (config({"chief": ["a:1", "b:1"]}, type="chief", index=0), "at most one chief"),
        (config({"worker": TWO, "ps": ["c:1"]}, type="worker", index=0), "also 'ps'"),
        (config({"worker": []}, type="worker", index=0), "at least one worker"),
        (json.dumps({"cluster": {"worker": TWO}}), "the task of this process"),
        (json.dumps({"cluster": {"worker": TWO}, "task": 0}), "the task of this process"),
        (config(type="worker"), "index from 0 to 1"),
        (config(index=0), "a task type"),
        (config(type="chief", index=0), "a task type of its cluster (worker)"),
        (config(type="evaluator", index=0), "a task type"),
        (config(type="worker", index=2), "index from 0 to 1"),
        (config(type="worker", index=-1), "index from 0 to 1"),
        (config(type="worker", index="0"), "index from 0 to 1"),
        (config(type="worker", index=0.5), "index from 0 to 1"),
        (config(type="worker", index=True), "index from 0 to 1"),
        (config(type=["worker"], index=0), "a task type"),
    ],
)
def test_malformed(text, said):
    if said is None:
        said = "JSON object"
    with pytest.raises(InputError) as error:
        read_cluster(text)
    assert said in str(error.value) and str(error.value).startswith("TF_CONFIG must hold")
    assert len(str(error.value)) < 600


def meeting(workers, seconds):
    """What `meet` of each of these workers raises, or None."""
    addresses = tuple(f"localhost:{port}" for port in free_ports(3))
    ends = {}

    def one(index):
        try:
            ends[index] = meet(Cluster(addresses, index), seconds)
        except InputError as error:
            ends[index] = str(error)

    threads = [threading.Thread(target=one, args=(index,)) for index in workers]
    for thread in threads:
        thread.start()
        time.sleep(0.15)
    for thread in threads:
        thread.join()
    return addresses, ends


def test_workers_meet(capsys):
    addresses, ends = meeting([2, 0, 1], 20)
    assert ends == {0: None, 1: None, 2: None}
    said = capsys.readouterr().err
    others = f"{addresses[1]}, {addresses[2]}"
    assert f"worker 0 of 3, at {addresses[0]}, waits for {others}, at most 20 seconds" in said


def test_one_that_does_not_come():
    addresses, ends = meeting([0, 2], 0.5)
    for index in (0, 2):
        assert f"Received: nothing from {addresses[1]} at {addresses[index]}" in ends[index]


def test_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"localhost:{port} of TF_CONFIG. Received: Address"):
            meet(Cluster((f"localhost:{port}", "localhost:1"), 0), 1)
