"""The run folder as a store: random commands, killed anywhere, against a small model of it."""

import builtins
import contextlib
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.files import partial_path, replace_when_complete
from keras_genimg.runs import lock as locks
from keras_genimg.runs.lock import Lock
from keras_genimg.runs.records import is_run
from keras_genimg.runs.store import RunFolder
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
        self.patch, self.paused = monkeypatch, False

    def __enter__(self):
        self.context = self.patch.context()
        patch = self.context.__enter__()
        for name in self.CHANGES:
            patch.setattr(os, name, self.changing(name, getattr(os, name)))
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

    @contextlib.contextmanager
    def of_another_process(self):
        """Within the block nothing fails, and nothing is counted."""
        self.paused = True
        yield
        self.paused = False

    def changing(self, name, function):
        def call(*args, **kwargs):
            if self.paused:
                return function(*args, **kwargs)
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
    """A file that `read_note` finds intact."""
    with replace_when_complete(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        archive.writestr("model.weights.h5", tag)
        with archive.open("metrics.npz", "w") as file:
            np.savez(file)
        step = int(path[-12:-6]) if "step" in path else 0
        archive.comment = json.dumps({"step": step}).encode()


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
    written=None, meanwhile=lambda: None,
):  # fmt: skip
    """`keras-genimg train` with a model of one word, its tag; counts its epochs in `written`.

    `meanwhile` is called where the command builds its model.
    """
    run = RunFolder(folder)
    with run.claimed():
        run.check(resume, overwrite)
        _train(run, tag, epochs, resume, nan_at, stop_at, written, meanwhile)


def _train(run, tag, epochs, resume, nan_at, stop_at, written, meanwhile):
    folder = run.name
    done = max(checkpoints(folder), default=EPOCHS) if resume else 0
    if resume and run.state() == "complete" and done >= epochs:
        return
    meanwhile()
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


def recover(folder):
    with RunFolder(folder).claimed():
        pass


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
        trouble = rng.choice(["none", "kill", "kill", "full", "lock", "second", "second"])
        limits = {"kill": {"kill_at": rng.randint(1, 60)}, "full": {"full_at": rng.randint(1, 60)}}
        story.append((tag, options, trouble, limits.get(trouble)))
        other = None
        if trouble == "lock" and is_run(folder):
            with contextlib.suppress(InputError):
                other = Lock(os.path.realpath(folder))
        end, seen = "0", []
        second = {"stop_at": rng.choice([None, 0, 2]), "nan_at": rng.choice([None, None, 0, 1])}
        second |= rng.choice([{}, {"resume": True}, {"overwrite": True}])

        def meanwhile():
            """A second command, which is refused, or leaves a run that the first must keep."""
            if trouble != "second":
                return
            held, earlier = is_run(folder), runs_in(parent, name)
            with system.of_another_process():
                try:
                    train(folder, f"{number}, second", **second, written=written)
                    ended = "0"
                except (InputError, Interrupted) as error:
                    ended = str(error)
            assert not held or "one writer" in ended and runs_in(parent, name) == earlier, story
            seen.append((held, second, ended, runs_in(parent, name)))

        with System(monkeypatch, **limits.get(trouble, {})) as system:
            try:
                train(folder, tag, **options, written=written, meanwhile=meanwhile)
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
        what = f"{story}, ended {end}, {seen}: {before} -> {after}"

        if other is not None:
            assert after == before, what
        for held, *_, kept in seen:
            if kept and not held:
                assert end == "2" and after == kept, what
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
        recover(folder)
        after = runs_in(parent, name)
        here = tag_of(folder)
        if current is not None and before[current][0] and here != current:
            assert after[here][0] > 0 or after[here][1], what
        rest = [n for n in os.listdir(parent) if n.startswith(".") or ".empty" in n]
        assert end == "killed" or not rest, (what, rest)
    # With nothing wrong any more, one command completes a run and leaves nothing else.
    train(folder, "last", overwrite=True)
    recover(folder)
    assert runs_in(parent, name) == {"last": (EPOCHS, True)}, story
    assert os.path.islink(folder) == (name == "target")
    shutil.rmtree(parent)


@pytest.fixture
def same_process_is_dead(monkeypatch):
    """A killed command of this process counts as one of another process that is dead."""
    monkeypatch.setattr("keras_genimg.files._runs", lambda process: False)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # quick


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 500), marks=pytest.mark.full)])
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


def flip(path):
    with open(path, "r+b") as file:
        file.seek(-40, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def test_it_goes_on_from_what_is_intact(tmp_path):
    folder = str(tmp_path / "run")
    for damaged, said in [(0, "after epoch 2."), (1, "after epoch 1."), (2, None)]:
        shutil.rmtree(folder, ignore_errors=True)
        with pytest.raises(Interrupted) as error, RunFolder(folder).training({}):
            for epoch in (1, 2):
                checkpoint(f"{folder}/checkpoints/epoch-{epoch:04d}.keras", "")
            for epoch in (2, 1)[:damaged]:
                flip(f"{folder}/checkpoints/epoch-{epoch:04d}.keras")
            raise Interrupted
        way = f"--resume continues {said}" if said else "it has no intact checkpoint: --overwrite"
        assert str(error.value).startswith(f"{folder} is stopped; {way}")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("moment", ["update", "_remove_replaced"])
def test_a_signal_after_the_last_file_leaves_a_complete_run(tmp_path, moment, before):
    """It comes before or after that function has done its work."""
    folder, sent = str(tmp_path / "run"), []
    train(folder, "0")
    with pytest.raises(Interrupted) as error, RunFolder(folder).training({"tag": "1"}) as run:
        checkpoint(f"{folder}/model.keras", "")
        function = getattr(run, moment)

        def disturbed(*args, **values):
            first = not sent
            sent.append(1)
            if not (first and before):
                function(*args, **values)
            if first:
                raise Interrupted

        setattr(run, moment, disturbed)
    assert str(error.value) == f"{folder} is complete."
    assert RunFolder(folder).state() == "complete"
    recover(folder)
    assert runs_in(tmp_path) == {"1": (0, True)}


def test_what_a_killed_command_left_makes_a_folder_no_other(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".lock", "replaced_by.json", dead_partial("model.keras")):
        (folder / name).write_text("{}")
    train(str(folder), "new")
    assert sorted(os.listdir(folder)) == ["checkpoints", "model.keras", "run.json"]


def dead_partial(name, host=None):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    own = os.path.basename(partial_path(name))
    host = host or own.split("-")[1]
    return f".partial-{host}-{process.pid}.{name}"


@pytest.mark.parametrize("options", [{}, {"overwrite": True}])
@pytest.mark.parametrize(
    "name", ["notes.txt", dead_partial("model.keras", host="0" * 8)], ids=["notes", "partial"]
)
def test_other_files_are_said_to_be_in_the_way(tmp_path, name, options):
    """Those of a process on another machine too, which may live."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="holds other files; --output RUN names another folder"):
        train(str(tmp_path), "new", **options)
    assert os.listdir(tmp_path) == [name]


def test_an_earlier_run_comes_back_in_place_of_one_that_was_removed(tmp_path, capsys):
    folder = str(tmp_path / "run")
    train(folder, "0")
    with pytest.raises(Interrupted):
        train(folder, "1", overwrite=True, stop_at=1)
    shutil.rmtree(folder)
    capsys.readouterr()
    with pytest.raises(InputError, match="exists; --resume continues it"):
        train(folder, "2")
    said = f"{folder} was missing, and holds again the earlier run that {folder}.replaced-1 kept."
    assert capsys.readouterr().err == f"keras-genimg: {said}\n"
    assert runs_in(tmp_path) == {"0": (EPOCHS, True)}


@pytest.mark.parametrize("with_name", [True, False])
def test_copies_of_what_was_set_aside_stay(tmp_path, with_name):
    folder = str(tmp_path / "run")
    train(folder, "0")
    with pytest.raises(Interrupted):
        train(folder, "1", overwrite=True, stop_at=1)
    note = tmp_path / "run.replaced-1" / "replaced_by.json"
    if not with_name:  # of an earlier version
        note.write_text(json.dumps({"id": json.loads(note.read_text())["id"]}))
    shutil.copytree(f"{folder}.replaced-1", f"{folder}.replaced-7")
    train(folder, "1", resume=True)
    left = sorted(os.listdir(tmp_path))
    # Without a name nobody knows which one is the copy.
    assert left == ["run", *([] if with_name else ["run.replaced-1"]), "run.replaced-7"]
    if not with_name:
        shutil.rmtree(f"{folder}.replaced-7")
        recover(folder)
        assert os.listdir(tmp_path) == ["run"]


def test_a_mount_point_is_emptied(tmp_path, monkeypatch):
    """No folder can be moved there."""
    folder = str(tmp_path / "run")
    os.mkdir(folder)
    rename = os.rename

    def busy(source, target):
        if folder in (source, target):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        rename(source, target)

    monkeypatch.setattr(os, "rename", busy)
    with pytest.raises(Interrupted) as error, RunFolder(folder).training({}):
        os.makedirs(f"{folder}/samples")
        raise Interrupted
    assert "is removed" in str(error.value) and os.listdir(folder) == []
    train(folder, "0")
    with pytest.raises(InputError, match="could not be written: Device or resource busy"):
        train(folder, "1", overwrite=True)
    assert runs_in(tmp_path) == {"0": (EPOCHS, True)} and os.listdir(tmp_path) == ["run"]


def test_a_lock_is_not_that_of_another_folder(tmp_path):
    one, other = Lock(tmp_path), None
    (tmp_path / "moved").mkdir()
    os.rename(tmp_path / ".lock", tmp_path / "moved" / ".lock")
    other = Lock(tmp_path)
    one.release(tmp_path)
    with pytest.raises(InputError, match="one writer"):
        Lock(tmp_path)
    other.release(tmp_path)
    assert os.listdir(tmp_path) == ["moved"]


def test_without_locks_there_is_no_file(tmp_path, monkeypatch):
    """Windows moves no folder in which a file is open."""
    monkeypatch.setattr(locks, "fcntl", None)
    folder = str(tmp_path / "run")
    for number in range(2):
        with RunFolder(folder).training({"tag": f"{number}"}):
            checkpoint(f"{folder}/model.keras", "")
            assert ".lock" not in os.listdir(folder)
    assert runs_in(tmp_path)["1"] == (0, True)


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
