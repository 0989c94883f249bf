"""Real commands in processes: workers that are killed, stopped or waiting; random sequences."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from ports import free_ports

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = ["train", "vae", "--set", "networks=mlp", "--image-size", "16", "--batch-size", "8",
         "--steps-per-epoch", "3", "--epochs", "100000", "--strategy", "multi_worker"]  # fmt: skip


class Workers:
    """Processes that train one run together.

    Args:
        folder: path of the run.
        started: int. The first workers to start, of two.
    """

    def __init__(self, folder, started=2):
        self.folder = folder
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.processes = []
        for index in range(started):
            cluster = {"worker": addresses}
            config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            environment = {"PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(config),
                           "TF_CPP_MIN_LOG_LEVEL": "3"}  # fmt: skip
            self.processes.append(subprocess.Popen(
                [sys.executable, "-m", "keras_genimg", *TRAIN, "--output", str(folder)],
                env={**os.environ, **environment}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            ))  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.communicate()

    def wait_for_an_epoch(self):
        deadline = time.monotonic() + 400
        while not (self.folder / "checkpoints" / "epoch-0001.keras").exists():
            assert all(p.poll() is None for p in self.processes) and time.monotonic() < deadline
            time.sleep(0.1)

    def end_of(self, index, seconds):
        """The exit code of a worker that must end in time, and its only sentence."""
        _, errors = self.processes[index].communicate(timeout=seconds)
        assert "Traceback" not in errors
        said = [line for line in errors.splitlines() if line.startswith("keras-genimg: ")]
        said = [line for line in said if ", waits for " not in line]
        assert len(said) == 1, errors
        return self.processes[index].returncode, said[0]


@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_whose_peer_is_killed_ends(tmp_path, killed):
    with Workers(tmp_path / "run") as workers:
        workers.wait_for_an_epoch()
        workers.processes[killed].send_signal(signal.SIGKILL)
        code, said = workers.end_of(1 - killed, seconds=30)
        assert code == 2
        assert "no answer from one of" in said and "--resume continues" in said


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
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


def test_no_sequence_loses_a_run():
    done = subprocess.run(
        [sys.executable, str(pathlib.Path(__file__).parent / "sequences.py"), "0", "12"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True,
        timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
