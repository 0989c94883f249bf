"""The run folder as a store: random commands, killed anywhere, against a small model of it."""

import builtins
import contextlib
import errno
import json
import os
import random
import shutil
import zipfile

import pytest

from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.runs import lock as locks
from keras_genimg.runs.lock import Lock
from keras_genimg.runs.store import RunFolder, is_run
from keras_genimg.signals import Interrupted

EPOCHS = 3


class Killed(BaseException):
    """The process is gone: nothing that it would clean up happens."""


class System:
    """Counts the calls that change the disk, and fails at one of them: killed, or disk full."""

    CHANGES = ("rename", "replace", "mkdir", "remove", "unlink", "rmdir", "fsync", "ftruncate")
    NEEDS_SPACE = ("mkdir", "fsync", "ftruncate", "open")

    def __init__(self, monkeypatch, kill_at=None, full_at=None):
        self.calls, self.kill_at, self.full_at, self.dead = 0, kill_at, full_at, False
        self.patch = monkeypatch

    def __enter__(self):
        self.context = self.patch.context()
        patch = self.context.__enter__()
        for name in self.CHANGES:
            patch.setattr(os, name, self.changing(name, getattr(os, name)))
        patch.setattr(os, "fsync", self.changing("fsync", lambda descriptor: None))  # quick
        real = builtins.open
        patch.setattr(
            builtins, "open",
            lambda path, mode="r", *a, **k: self.changing("open", real)(path, mode, *a, **k)
            if set(mode) & set("wax+") else real(path, mode, *a, **k),
        )
        opened = self.opened = []
        real_open = os.open

        def tracked(path, *args, **kwargs):
            descriptor = real_open(path, *args, **kwargs)
            if str(path).endswith(locks.NAME):
                opened.append(descriptor)
            return descriptor

        patch.setattr(os, "open", tracked)
        return self

    def __exit__(self, *error):
        self.context.__exit__(*error)
        for descriptor in self.opened:  # the system closes the files of a dead process
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def changing(self, name, function):
        def call(*args, **kwargs):
            self.calls += 1
            if self.dead or self.calls == self.kill_at:
                self.dead = True
                raise Killed(name)
            full = self.full_at is not None and self.calls >= self.full_at
            if full and name in self.NEEDS_SPACE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args, **kwargs)

        return call


def checkpoint(path, tag):
    with replace_when_complete(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        archive.writestr("model.weights.h5", tag)


def checkpoints(folder):
    """Epochs of the checkpoints, in order; one that was stopped at a step counts a half."""
    with contextlib.suppress(OSError):
        return sorted(
            int(name[6:10]) + ("step" in name) / 2
            for name in os.listdir(os.path.join(folder, "checkpoints"))
            if name.startswith("epoch-")
        )
    return []


def train(
    folder, tag, epochs=EPOCHS, resume=False, overwrite=False, nan_at=None, stop_at=None,
    written=None,
):  # fmt: skip
    """`keras-genimg train` with a model of one word, its tag; counts its epochs in `written`."""
    run = RunFolder(folder)
    run.recover()
    run.check(resume, overwrite)
    done = max(checkpoints(folder), default=EPOCHS) if resume else 0
    if resume and run.state() == "complete" and done >= epochs:
        return
    with run.training({"tag": tag} if not resume else json.load(open(f"{folder}/run.json")),
                      resume):
        for epoch in range(int(done), epochs):
            os.makedirs(f"{folder}/checkpoints", exist_ok=True)
            step = f"{folder}/checkpoints/epoch-{epoch:04d}-step-000007.keras"
            if epoch == nan_at:
                raise InputError("loss became nan")
            if epoch == stop_at:
                checkpoint(step, tag)
                if written is not None:
                    written[tag_of(folder)] = max(written.get(tag_of(folder), 0), epoch + 0.5)
                raise Interrupted
            checkpoint(f"{folder}/checkpoints/epoch-{epoch + 1:04d}.keras", tag)
            if written is not None:
                written[tag_of(folder)] = epoch + 1
            if os.path.exists(step):
                os.remove(step)
            run.update(epochs_done=epoch + 1)
        checkpoint(f"{folder}/model.keras", tag)


def runs_in(parent, name="run"):
    """{tag: (epochs, complete)} of the run and of all that are set aside."""
    found = {}
    for entry in os.listdir(parent):
        path = os.path.join(parent, entry)
        if entry == name or entry.startswith(f"{name}.replaced-"):
            if os.path.isdir(path) and is_run(path):
                record = json.load(open(os.path.join(path, "run.json")))
                complete = record["status"] == "complete"
                found[record["tag"]] = (max(checkpoints(path), default=0), complete)
    return found


def tag_of(folder):
    return json.load(open(f"{folder}/run.json"))["tag"] if is_run(folder) else None


def one_sequence(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    parent = tmp_path / "place"
    parent.mkdir()
    folder = str(parent / "run")
    if rng.random() < 0.2:  # the run is a link to a folder elsewhere
        os.symlink(parent / "target", folder)
    name = "target" if os.path.islink(folder) else "run"
    story, written = [], {}
    for number in range(rng.randint(2, 7)):
        before, current, tag = runs_in(parent, name), tag_of(folder), f"{number}"
        options = {"nan_at": rng.choice([None, None, None, None, 0, 1, 2])}
        options["stop_at"] = rng.choice([None, None, None, 0, 1, 2])
        options.update(rng.choice([{}, {"resume": True}, {"overwrite": True}]))
        if options.get("resume") and rng.random() < 0.5:
            options["epochs"] = EPOCHS + number
        trouble = rng.choice(["none", "none", "kill", "kill", "full", "second"])
        limits = {"kill": {"kill_at": rng.randint(1, 60)}, "full": {"full_at": rng.randint(1, 60)}}
        story.append((tag, options, trouble, limits.get(trouble)))
        other = None
        if trouble == "second" and is_run(folder):
            with contextlib.suppress(InputError):
                other = Lock(os.path.realpath(folder))
        end = "0"
        with System(monkeypatch, **limits.get(trouble, {})) as system:
            try:
                train(folder, tag, **options, written=written)
            except (InputError, OSError):  # both are one sentence on the command line
                end = "2"
            except Interrupted as error:
                end = str(error)
            except Killed:
                end = "killed"
        if system.dead:
            end = "killed"
        if other is not None:
            other.release(os.path.realpath(folder))
        after = runs_in(parent, name)
        what = f"{story}, ended {end}: {before} -> {after}"

        if other is not None:
            assert after == before, what
        if end.startswith(folder):  # what is said of the run is so
            epochs = after[tag_of(folder)][0]
            place = f"epoch {int(epochs)}." if epochs % 1 == 0 else f"epoch {epochs + 0.5:g} after"
            assert f"--resume continues {'after' if epochs % 1 == 0 else 'in'} {place}" in end, what
        # Nothing that was complete is lost, unless a complete run took its place.
        if any(complete for _, complete in before.values()):
            assert any(complete for _, complete in after.values()) or (
                options.get("resume") and current in after), what
        # No checkpointed epoch is lost, unless told to, and then only to a complete run.
        here = tag_of(folder)
        if after.get(here, (0, False))[1]:
            written = {here: written[here]}
        for each, epochs in written.items():
            assert after[each][0] >= epochs, what
        if end == "0" and not options.get("resume"):
            assert after == {tag: (EPOCHS, True)} or current is None, what
            assert tag_of(folder) == tag, what
        # What learned nothing gives way at the next command.
        RunFolder(folder).recover()
        after = runs_in(parent, name)
        here = tag_of(folder)
        if current is not None and before[current][0] and here != current:
            assert after[here][0] > 0 or after[here][1], what
        rest = [n for n in os.listdir(parent) if n.startswith(".") or ".empty" in n]
        assert end == "killed" or not rest, (what, rest)
    # With nothing wrong any more, one command completes a run and leaves nothing else.
    train(folder, "last", overwrite=True)
    RunFolder(folder).recover()
    assert runs_in(parent, name) == {"last": (EPOCHS, True)}, story
    assert os.path.islink(folder) == (name == "target")
    shutil.rmtree(parent)


@pytest.fixture
def same_process_is_dead(monkeypatch):
    """A killed command of this process counts as one of another process that is dead."""
    monkeypatch.setattr("keras_genimg.files._runs", lambda process: False)


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 500), marks=pytest.mark.slow)])
def test_no_sequence_loses_a_run(tmp_path, monkeypatch, same_process_is_dead, seeds):
    for seed in seeds:
        one_sequence(tmp_path, monkeypatch, seed)


@pytest.mark.parametrize(
    "epoch, said",
    [(0, "{} is stopped; --resume continues in epoch 1 after step 7."),
     (2, "{} is stopped; --resume continues in epoch 3 after step 7."),
     (None, "stopped; the new run of {} is removed: it had no checkpoint.")],
)  # fmt: skip
def test_a_stopped_run_says_where_it_goes_on(tmp_path, epoch, said):
    folder = str(tmp_path / "run")
    with pytest.raises(Interrupted) as error, RunFolder(folder).training({}):
        os.makedirs(f"{folder}/checkpoints")
        if epoch is not None:
            checkpoint(f"{folder}/checkpoints/epoch-{epoch:04d}-step-000007.keras", "")
        raise Interrupted
    assert str(error.value) == said.format(folder)
    assert os.path.exists(folder) == (epoch is not None) == RunFolder(folder).learned()


def test_other_folders_stay_as_they_are(tmp_path):
    """A run.json of another program, or a run whose files were moved away, is not removed."""
    for record in ({}, {"status": "training"}, {"status": "stopped", "id": "x", "tag": "old"}):
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="exists"):
            train(str(folder), "new")
        assert sorted(os.listdir(folder)) == ["notes.txt", "run.json"]
        shutil.rmtree(folder)
