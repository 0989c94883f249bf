"""Damaged run folders: a sentence that names the file, and nothing lost."""

import json
import os
import zipfile

import keras
import pytest
from cases import SHAPE

from keras_genimg import VAE
from keras_genimg.callbacks.checkpoint_files import save_checkpoint
from keras_genimg.errors import InputError
from keras_genimg.runs.folder import (
    check_entries,
    cut_logs,
    load_run,
    read_logs,
    read_record,
    resume_point,
)

RECORD = {"model": "vae", "settings": {"data": "glyphs"}, "epochs_done": 2, "model_epochs": 2}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    VAE(SHAPE, 3, networks="mlp", network_options={"units": (4,)}).save(path)
    return path.read_bytes()


@pytest.fixture
def run(tmp_path, archive):
    """A complete run of two epochs."""
    (tmp_path / "checkpoints").mkdir()
    for name in ("model.keras", "checkpoints/epoch-0001.keras", "checkpoints/epoch-0002.keras"):
        (tmp_path / name).write_bytes(archive)
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    (tmp_path / "logs.csv").write_text("epoch,loss\n0,1.5\n1,NA\n")
    return tmp_path


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def make_fifo(path):
    path.unlink()
    os.mkfifo(path)


def make_folder(path):
    path.unlink()
    path.mkdir()


def other_class(path):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = members["config.json"].replace(b"VAE", b"LaterVAE")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def stock_model(path):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.build((None, 1))
    model.save(path)


DAMAGE = {
    "flipped": flip, "truncated": lambda path: path.write_bytes(path.read_bytes()[:-500]),
    "empty": lambda path: path.write_bytes(b""), "FIFO": make_fifo, "folder": make_folder,
    "class of a later version": other_class, "another model": stock_model,
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_model_is_named_with_the_way_out(kind, run):
    path = run / "model.keras"
    DAMAGE[kind](path)
    with pytest.raises(InputError) as error:
        load_run(run)
    assert str(path) in str(error.value) and "last checkpoint is used" in str(error.value)
    path.rmdir() if path.is_dir() else path.unlink()
    assert isinstance(load_run(run), VAE)  # of the checkpoint


@pytest.mark.parametrize(
    "content",
    ["", "{", "[" * 100_000, "[]", "5", "{}", '{"model": "gan"}', '{"model": 3, "settings": {}}',
     json.dumps({**RECORD, "settings": []}), json.dumps({**RECORD, "settings": {"data": 5}}),
     json.dumps({**RECORD, "seconds": "x"}), json.dumps({**RECORD, "epochs_done": [1]}),
     json.dumps({**RECORD, "settings": {"data": "glyphs", "set": "x", "epochs": "y"}})],
)  # fmt: skip
def test_a_damaged_record(content, run):
    (run / "run.json").write_text(content)
    with pytest.raises(InputError, match="run.json could not be read.*--overwrite"):
        read_record(run)
    assert isinstance(load_run(run), VAE)  # which does not need it


OUT_OF_RANGE = {
    "batch_size": [0, -1, 10**7, None, True], "seed": [-1, 10**30, None], "epochs": [-1, 0, 10**7],
    "steps_per_epoch": [-1, 0], "evaluate_every": [0], "image_size": [0, 10**5], "channels": [2],
    "holdout": [float("nan"), 0.0, 1.0, -0.5, 1], "policy": ["foo"], "binarize": ["foo"],
    "corruption": ["foo"], "strategy": ["foo", None], "set": [None, {"importance_samples": "x"}],
}  # fmt: skip
OF_PROGRESS = {
    "model_epochs": [-3, 10**30, None], "epochs_done": [-1, True], "seconds": [-1, float("nan")],
}  # fmt: skip


@pytest.mark.parametrize("name", [*OUT_OF_RANGE, *OF_PROGRESS])
def test_values_of_the_record_out_of_range(name, run):
    values = OUT_OF_RANGE.get(name) or OF_PROGRESS[name]
    for value in values:
        record = {**RECORD, "settings": dict(RECORD["settings"])}
        (record["settings"] if name in OUT_OF_RANGE else record)[name] = value
        (run / "run.json").write_text(json.dumps(record))
        word = {"binarize": "binarisation", "set": "importance_samples|set"}.get(name, name)
        with pytest.raises(InputError, match=f"run.json could not be read.*({word}).*--overwrite"):
            read_record(run)


def test_what_a_record_may_leave_out(run):
    empty = ("holdout", "policy", "binarize", "corruption", "steps_per_epoch", "evaluate_every",
             "image_size", "channels", "features", "recipe")  # fmt: skip
    for settings in ({"data": "glyphs"}, {"data": "glyphs", **dict.fromkeys(empty)}):
        (run / "run.json").write_text(json.dumps({"model": "vae", "settings": settings}))
        assert read_record(run)["settings"] == settings


def test_a_checkpoint_that_a_training_removes_meanwhile(run, monkeypatch):
    """The next one is loaded instead."""
    (run / "model.keras").unlink()
    load, loaded = keras.saving.load_model, []

    def removed(path):
        loaded.append(os.path.basename(path))
        if len(loaded) == 1:
            os.rename(path, run / "checkpoints" / "epoch-0003.keras")
        return load(path)

    monkeypatch.setattr(keras.saving, "load_model", removed)
    assert isinstance(load_run(run), VAE)
    assert loaded == ["epoch-0002.keras", "epoch-0003.keras"]


@pytest.mark.parametrize(
    "content", ["a,b\n1,2\n1,2\n", "\0", ",,\n", "epoch,loss\n0,x\n1,2\n", "epoch,loss\n0\n1,2\n",
     f"epoch,loss\n{'9' * 5000},1\n1,2\n", "epoch,loss\n\u00b2,1\n1,2\n", "epoch,loss\n-1,1\n1,2\n"]
)  # fmt: skip
def test_damaged_logs_are_refused_before_anything_is_lost(content, run):
    (run / "logs.csv").write_text(content)
    for function in (read_logs, lambda path: cut_logs(path, 1)):
        with pytest.raises(InputError, match="logs.csv could not be read.*Move it away"):
            function(run / "logs.csv")
    assert (run / "logs.csv").read_text() == content


def test_a_row_that_a_kill_cut_short_is_left_out(run):
    path = run / "logs.csv"
    for rest in ("2", "2,", "2,x", "9" * 5000 + ",1"):
        path.write_text("epoch,loss\n0,1.5\n1,NA\n" + rest)
        cut_logs(path, 3)
        assert path.read_text() == "epoch,loss\n0,1.5\n1,NA\n"


@pytest.mark.parametrize(
    "name", ["logs.csv", "model.keras", "checkpoints/epoch-0002.keras", "best.keras", "samples"]
)
def test_an_entry_of_another_type_is_refused(name, run):
    path = run / name
    check_entries(run)
    if path.exists():
        path.unlink()
    path.write_text("") if name == "samples" else path.mkdir()
    with pytest.raises(InputError, match="Move it away") as error:
        check_entries(run)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("damage", [flip, make_fifo, os.remove])
def test_a_complete_run_goes_on_from_its_model(damage, run):
    """Not from an earlier checkpoint."""
    assert resume_point(run, RECORD, 3)[1:] == (2, 0)
    last = run / "checkpoints" / "epoch-0002.keras"
    damage(last)
    with pytest.warns(UserWarning, match="skipped") if last.exists() else _nothing():
        assert resume_point(run, RECORD, 3) == (str(run / "model.keras"), 2, 0)
    # Unless that is older than the checkpoint, or damaged itself.
    found = run / "checkpoints" / "epoch-0001.keras", 1, 0
    (run / "model.keras").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped") if last.exists() else _nothing():
        assert resume_point(run, RECORD, 3) == found


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_a_note_of_another_kind_is_damage(run):
    path = run / "checkpoints" / "epoch-0002.keras"
    model = load_run(run)
    save_checkpoint(model, path, {"epoch": 2})
    for comment in (b"[]", b"5", b"\xff"):
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = comment
        with pytest.warns(UserWarning, match="epoch-0002.keras"):
            assert resume_point(run, {**RECORD, "model_epochs": 0}, 3)[1:] == (1, 0)
