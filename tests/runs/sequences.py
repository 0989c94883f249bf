"""Random sequences of real commands on one run folder, each command in a forked process.

    python tests/runs/sequences.py FIRST_SEED LAST_SEED

Commands are killed, get signals, find a second writer, damaged files or a full disk; in every
fourth sequence the run is a symbolic link.

A process of its own, because TensorFlow must be imported, and must not have computed anything,
when the commands are forked. `test_store.py` does the same with a stub model, much more often.
"""

import contextlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "robustness"))

from shared import problem_of, run_in_child  # noqa: E402

from keras_genimg.cli import main  # noqa: E402
from keras_genimg.errors import InputError  # noqa: E402
from keras_genimg.runs.lock import Lock  # noqa: E402
from keras_genimg.runs.records import is_run  # noqa: E402

EPOCHS = 2
TRAIN = ["train", "gan", "--set", "networks=mlp"]
SMALL = ["--image-size", "16", "--batch-size", "4", "--steps-per-epoch", "3", "--epochs",
         str(EPOCHS)]  # fmt: skip
ENDS = {"kill": signal.SIGKILL, "SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}


def command(arguments, number=None, delay=0.0, limit=None):
    """Runs a command, to which a signal comes after some seconds; what it ends with.

    No file gets longer than `limit` bytes, as on a full disk.
    """

    def disturbed():
        if number is not None:
            threading.Timer(delay, os.kill, (os.getpid(), number)).start()
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return main(arguments)

    return run_in_child(disturbed, 300)


def positions(run):
    """[(epochs, steps), ...] of the checkpoints of a run, in order."""
    names = os.listdir(run / "checkpoints") if (run / "checkpoints").is_dir() else []
    found = [re.fullmatch(r"epoch-(\d+)(?:-step-(\d+))?\.keras", name) for name in names]
    return sorted((int(match[1]), int(match[2] or 0)) for match in found if match)


def runs_in(place, name):
    """{id: (last position, whether it is complete)} of the run and of all that are set aside."""
    found = {}
    for path in place.iterdir():
        if is_run(path) and (path.name == name or path.name.startswith(f"{name}.replaced-")):
            with contextlib.suppress(ValueError):  # damaged
                record = json.loads((path / "run.json").read_text())
                last = max(positions(path), default=(0, 0))
                found[record["id"]] = (last, record["status"] == "complete")
    return found


def damage(rng, run):
    """Removes a file of a run, or changes a byte of it; its name."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    files = [path for path in files if path.suffix in (".keras", ".csv") or path.name == "run.json"]
    if not files:
        return "nothing"
    path = rng.choice(files)
    if rng.random() < 0.5:
        path.unlink()
        return f"{path.name} removed"
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"{path.name} changed"


def check(what, ended, before, after, resumed):
    """Checks how a command ended, and that it lost nothing."""
    code, _, errors = ended
    assert code == -signal.SIGKILL or problem_of(*ended) is None, (what, problem_of(*ended))
    completes = [any(complete for _, complete in each.values()) for each in (before, after)]
    assert completes[1] or not completes[0] or resumed, (what, before, after)
    if any(complete for key, (_, complete) in after.items() if key not in before):
        return  # what a complete run replaced may go
    for key, (position, _) in before.items():
        assert key in after or position == (0, 0), (what, before, after, errors)
        assert after.get(key, ((0, 0), 0))[0] >= position, (what, before, after, errors)


def one_sequence(place, seed, seconds, size):
    rng, story = random.Random(seed), []
    run = place / "run"
    if seed % 4 == 0:
        run.symlink_to(place / "target")
    name = "target" if run.is_symlink() else "run"
    for number in range(rng.randint(2, 3)):
        option = rng.choice(["--resume", "--overwrite", "--resume"]) if number else None
        again = SMALL if option != "--resume" else []
        arguments = [*TRAIN, *again, "--output", str(run), *([option] if option else [])]
        trouble = rng.choice(["none", *ENDS, *ENDS, "second", "damage", "full", "full"])
        delay = rng.uniform(0.2, seconds)
        limit = rng.randrange(size // 10, size) if trouble == "full" else None
        if trouble == "damage" and run.exists():
            trouble = damage(rng, run)
        before = runs_in(place, name)
        lock = contextlib.nullcontext()
        if trouble == "second" and run.exists():
            with contextlib.suppress(InputError):
                own = Lock(os.path.realpath(run))
                lock = contextlib.closing(own)
                own.close = lambda own=own: own.release(os.path.realpath(run))
        story.append((option, trouble, round(delay, 2)))
        with lock:
            ended = command(arguments, ENDS.get(trouble), delay, limit)
        after = runs_in(place, name)
        if not isinstance(lock, contextlib.nullcontext):
            assert ended[0] in (0, 2) and after == before, (story, ended)  # 0: it is complete
        check(story, ended, before, after, option == "--resume")
    # With nothing wrong any more, one command completes a run and leaves nothing else.
    if not is_run(run):  # its run.json is gone
        for path in place.iterdir():
            shutil.rmtree(path) if not path.is_symlink() else None
    option = ["--overwrite"] if is_run(run) else []
    ended = command([*TRAIN, *SMALL, "--output", str(run), *option])
    assert ended[0] == 0, (story, ended)
    found = list(runs_in(place, name).values())
    assert found == [((EPOCHS, 0), True)], (story, found)
    left = [path.name for path in place.rglob(".*")]
    assert not left, (story, left)
    assert run.is_symlink() == (name == "target")


def sequences(first, last):
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        ended = command([*TRAIN, *SMALL, "--output", os.path.join(folder, "first")])
        assert ended[0] == 0, ended
        seconds = time.monotonic() - began
        size = os.path.getsize(os.path.join(folder, "first", "model.keras"))
        for seed in range(first, last):
            place = pathlib.Path(folder, str(seed))
            place.mkdir()
            one_sequence(place, seed, seconds, size)
            shutil.rmtree(place)


if __name__ == "__main__":
    sequences(*map(int, sys.argv[1:]))
