"""What `train` finds in a folder before it trains, and what it writes at the end of an epoch."""

import json
import types
import zipfile

import numpy as np
import pytest

from keras_genimg.data import DataInfo
from keras_genimg.errors import InputError
from keras_genimg.runs import training
from keras_genimg.runs.folder import cut_logs, read_logs
from keras_genimg.runs.lock import Lock
from keras_genimg.runs.progress import LogRows
from keras_genimg.runs.settings import DEFAULTS
from keras_genimg.runs.store import RunFolder

RECORD = {"model": "pix2pix", "settings": {**DEFAULTS, "corruption": "mask", "epochs": 2},
          "epochs_done": 2, "model_epochs": 2, "status": "complete", "id": "x"}  # fmt: skip


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.weights.h5", "weights")


@pytest.fixture
def folder(tmp_path):
    """A complete run of two epochs."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("model.keras", "checkpoints/epoch-0001.keras", "checkpoints/epoch-0002.keras"):
        archive(run / name)
    (run / "run.json").write_text(json.dumps(RECORD))
    return run


@pytest.fixture
def trained(monkeypatch):
    """What trainings begin with: their settings, the file that they go on from, epochs, steps."""
    found = []

    def note(name, of_model, settings, run, strategy, board, resume, earlier, start, epoch, step):
        with pytest.raises(InputError, match="one writer"):
            Lock(run.path)
        found.append((settings, start and str(start), epoch, step))

    monkeypatch.setattr(training, "_train", note)
    return found


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_complete_run_without_its_model_writes_it_again(folder, trained, capsys, damage):
    training.train("pix2pix", {}, str(folder), resume=True)
    assert "is complete, with 2 epochs" in capsys.readouterr().out and not trained
    model, last = (folder / name for name in ("model.keras", "checkpoints/epoch-0002.keras"))
    damage(model)
    training.train("pix2pix", {}, str(folder), resume=True)
    said = f"{model} is damaged or missing; it is written again from {last}."
    assert said in capsys.readouterr().err
    assert trained[0][1:] == (str(last), 2, 0)


def test_options_without_an_effect_are_refused_on_a_complete_run(folder):
    with pytest.raises(InputError, match="--connect-timeout is for several workers"):
        training.train("pix2pix", {}, str(folder), resume=True, connect_timeout=5.0)


def test_a_run_of_version_0_1_goes_on(folder, trained):
    record = {key: RECORD[key] for key in ("model", "epochs_done")}
    settings = {key: value for key, value in RECORD["settings"].items() if key != "holdout"}
    settings["damage"] = settings.pop("corruption")
    (folder / "run.json").write_text(json.dumps({**record, "settings": settings}))
    assert RunFolder(folder).state() == "stopped"
    training.train("pix2pix", {"epochs": 3}, str(folder), resume=True)
    (found, *position), = trained
    assert found == {**RECORD["settings"], "epochs": 3}
    assert position == [str(folder / "checkpoints" / "epoch-0002.keras"), 2, 0]


@pytest.mark.parametrize("within", ["best.keras", "samples/mine", "checkpoints"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_the_places_of_a_run_are_not_for_others(folder, trained, within, overwrite):
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match="never writes over the files of a run"):
        training.train("gan", {}, str(folder / within), overwrite=overwrite)
    assert sorted(folder.rglob("*")) == before and not trained


def test_what_workers_compare(monkeypatch):
    """Two folders of as many images, two places to go on from, and two models are not the same."""
    model = types.SimpleNamespace(weights=[np.zeros(3)])
    record = {"versions": {}, "settings": {**DEFAULTS, "data_b": "second"}}
    info = DataInfo((16, 16, 1), 5, None, None, "one")
    second = DataInfo((16, 16, 1), 5, None, None, "one")

    def differs(other_info=info, position=(1, 0), other=model, **settings):
        there = {**record, "settings": {**record["settings"], **settings}}
        found = training._compared(there, other_info, second, 5, position, other)
        return [name for name in first if found[name] != first[name]]

    first = training._compared(record, info, second, 5, (1, 0), model)
    assert differs(data_dir="here", strategy="multi_worker") == []
    assert differs(seed=1) == ["settings"]
    assert differs(DataInfo(*info, None, "two")) == ["data"]
    assert differs(position=(1, 2)) == differs(position=(2, 0)) == ["start"]
    assert differs(other=types.SimpleNamespace(weights=[np.ones(3)])) == ["weights"]
    second.content = "two"
    assert differs() == ["data"]


def test_lines_of_logs_have_one_ending(tmp_path):
    path = tmp_path / "logs.csv"
    rows = LogRows(str(path))
    rows.on_epoch_end(0, {"loss": 1.5, "accuracy": float("nan")})
    rows.on_epoch_end(1, {"loss": 0.5})  # without an evaluation
    cut_logs(path, 2)
    rows.on_epoch_end(2, {"loss": 0.25, "accuracy": 1.0, "later": 3.0})
    assert path.read_bytes() == b"epoch,accuracy,loss\n0,nan,1.5\n1,NA,0.5\n2,1.0,0.25\n"
    # Those of keras.callbacks.CSVLogger, which version 0.1 used, are replaced.
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_logs(path)) == 4
    cut_logs(path, 1)
    rows.on_epoch_end(1, {"loss": 0.5})
    assert path.read_bytes() == b"epoch,accuracy,loss\n0,nan,1.5\n1,NA,0.5\n"


def test_another_writer_is_heard_of_first(folder, trained):
    """Before anything of the run is read."""
    lock = Lock(folder)
    (folder / "run.json").write_text("{")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match="one writer"):
            training.train("pix2pix", {}, str(folder), **options)
    lock.release(folder)
    assert not trained
