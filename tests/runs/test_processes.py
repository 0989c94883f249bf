"""Real commands in processes: workers that are killed, stopped or waiting; random sequences."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from ports import free_ports

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = ["train", "vae", "--set", "networks=mlp", "--image-size", "16", "--batch-size", "8",
         "--steps-per-epoch", "3"]  # fmt: skip
TRAIN = [*SMALL, "--epochs", "100000", "--strategy", "multi_worker"]


def start(*arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
                   **environment}  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "keras_genimg", *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(*arguments):
    """The exit code and the sentences of a command."""
    process = start(*arguments)
    _, errors = process.communicate(timeout=400)
    assert "Traceback" not in errors, errors
    return process.returncode, errors


def wait_for(path, *processes):
    deadline = time.monotonic() + 400
    while not path.exists():
        assert all(p.poll() is None for p in processes) and time.monotonic() < deadline
        time.sleep(0.1)


class Workers:
    """Processes that train one run together.

    Args:
        folder: path of the run, or a list of the folder of each worker.
        started: int. The first workers to start, of two.
        command: list of strings, without `--output`.
    """

    def __init__(self, folder, started=2, command=TRAIN):
        self.folder = folder
        folders = folder if isinstance(folder, list) else [folder] * 2
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.processes = []
        for index in range(started):
            cluster = {"worker": addresses}
            config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            command = [*command, "--output", folders[index]]
            self.processes.append(start(*command, TF_CONFIG=json.dumps(config)))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.communicate()

    def wait_for_an_epoch(self):
        wait_for(self.folder / "checkpoints" / "epoch-0001.keras", *self.processes)

    def end_of(self, index, seconds):
        """The exit code of a worker that must end in time, and its only sentence."""
        _, errors = self.processes[index].communicate(timeout=seconds)
        assert "Traceback" not in errors
        said = [line for line in errors.splitlines() if line.startswith("keras-genimg: ")]
        said = [line for line in said if ", waits for " not in line]
        assert len(said) == 1, errors
        return self.processes[index].returncode, said[0]


@pytest.mark.parametrize(
    "killed", [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.full)]
)
def test_a_worker_whose_peer_is_killed_ends(tmp_path, killed):
    with Workers(tmp_path / "run") as workers:
        workers.wait_for_an_epoch()
        workers.processes[killed].send_signal(signal.SIGKILL)
        code, said = workers.end_of(1 - killed, seconds=30)
        assert code == 2
        assert "no answer from one of" in said and "--resume continues" in said


@pytest.mark.parametrize(
    "number, code",
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.full),
     pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_waiting_worker_hears_signals(tmp_path, number, code):
    """The first waits for a peer that does not come; then for one that has come to a halt."""
    with Workers(tmp_path / "run", started=1) as workers:
        for line in workers.processes[0].stderr:
            if ", waits for " in line:
                break
        workers.processes[0].send_signal(number)
        assert workers.end_of(0, seconds=10) == (code, "keras-genimg: stopped.")
    with Workers(tmp_path / "run") as workers:
        workers.wait_for_an_epoch()
        workers.processes[1].send_signal(signal.SIGSTOP)
        time.sleep(1)
        workers.processes[0].send_signal(number)
        found, said = workers.end_of(0, seconds=10)
        assert found == code
        assert "stopped while it waited for another worker" in said or "is stopped" in said


@pytest.mark.full
def test_workers_that_would_go_on_from_different_epochs_are_refused(tmp_path):
    """Each has a folder of its own."""
    folders = [tmp_path / "first", tmp_path / "second"]
    assert end(*SMALL, "--epochs", 1, "--output", folders[0])[0] == 0
    shutil.copytree(folders[0], folders[1])
    assert end(*SMALL, "--resume", "--epochs", 2, "--output", folders[1])[0] == 0
    again = ["train", "vae", "--resume", "--epochs", "3", "--strategy", "multi_worker"]
    with Workers(folders, command=again) as workers:
        for index in range(2):
            code, said = workers.end_of(index, seconds=200)
            assert code == 2 and "All workers must have the same start" in said


@pytest.mark.full
@pytest.mark.parametrize(
    "first, second",
    [([], []), (["--resume", "--epochs", "3"], ["--resume", "--epochs", "2"]),
     (["--resume", "--epochs", "3"], ["--overwrite"]), (["--overwrite"], ["--overwrite"])],
)  # fmt: skip
def test_a_second_train_while_the_first_builds_its_model(
    tmp_path, monkeypatch, capsys, first, second
):
    from keras_genimg.cli import main
    from keras_genimg.runs import training

    run, ended = tmp_path / "run", []
    small = [*SMALL, "--epochs", "1", "--output", str(run)]
    if first:
        assert main(small) == 0
    before = (run / "model.keras").read_bytes() if first else None

    def meanwhile(*arguments):
        monkeypatch.undo()
        model = ["train", "vae", "--output", run] if "--resume" in second else small
        ended.append(end(*model, *second))
        ended.append((run / "model.keras").read_bytes())
        return training.describe_run(*arguments)

    monkeypatch.setattr(training, "describe_run", meanwhile)
    capsys.readouterr()
    model = ["train", "vae", "--output", str(run)] if "--resume" in first else small
    code, said = main([*model, *first]), capsys.readouterr().err
    (code_of_second, said_of_second), found = ended
    if first:  # the first holds the run
        assert code_of_second == 2 and "one writer at a time" in said_of_second
        assert found == before and code == 0
        epochs = json.loads((run / "run.json").read_text())["epochs_done"]
        assert epochs == (3 if "--resume" in first else 1)
    else:  # the second has made it
        assert code_of_second == 0 and code == 2
        assert "another command has written in the meantime" in said
        assert (run / "model.keras").read_bytes() == found
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.full
def test_readers_work_beside_a_writer(tmp_path):
    run = tmp_path / "run"
    writer = start(*SMALL, "--epochs", 100000, "--output", run)
    try:
        wait_for(run / "checkpoints" / "epoch-0002.keras", writer)
        assert "one writer at a time" in end("train", "vae", "--resume", "--output", run)[1]
        for command in (["generate", run, "--count", 4], ["evaluate", run, "--count", 8],
                        ["export", run, "--output", tmp_path / "exported"]):
            assert end(*command) == (0, ""), command
        assert len(os.listdir(run / "generated")) == 4 and (run / "metrics.json").exists()
        assert writer.poll() is None
        writer.send_signal(signal.SIGTERM)
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 143 and "--resume continues" in errors
    finally:
        writer.kill()
        writer.communicate()
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.full
def test_a_model_is_written_again_and_a_run_of_version_0_1_goes_on(tmp_path):
    run = tmp_path / "run"
    resume = ["train", "vae", "--resume", "--output", run]
    assert end(*SMALL, "--epochs", 1, "--output", run)[0] == 0
    (run / "model.keras").write_bytes(b"")
    code, said = end(*resume)
    assert code == 0 and "it is written again from" in said
    assert end("generate", run, "--count", 4) == (0, "")
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "complete" and record["epochs_done"] == 1

    for name in ("status", "id", "model_epochs"):
        del record[name]
    record["settings"]["damage"] = record["settings"].pop("corruption")
    (run / "run.json").write_text(json.dumps(record))
    logs = run / "logs.csv"
    logs.write_bytes(logs.read_bytes().replace(b"\n", b"\r\n"))  # of keras.callbacks.CSVLogger
    assert end(*resume, "--epochs", 2) == (0, "")
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "complete" and record["epochs_done"] == 2
    assert [line[:2] for line in logs.read_bytes().splitlines(True)[1:]] == [b"0,", b"1,"]
    assert b"\r" not in logs.read_bytes()


@pytest.mark.parametrize(
    "seeds",
    [pytest.param((0, 3), marks=pytest.mark.slow), pytest.param((3, 12), marks=pytest.mark.full)],
)
def test_no_sequence_loses_a_run(seeds):
    done = subprocess.run(
        [sys.executable, str(pathlib.Path(__file__).parent / "sequences.py"), *map(str, seeds)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True,
        timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
