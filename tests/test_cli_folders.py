"""The command line on a folder of images: what is held out, what is told."""

import json

import numpy as np
import pytest
from PIL import Image

import keras_genimg as kg
from keras_genimg.cli import main
from keras_genimg.data import data_info, load
from keras_genimg.errors import InputError
from keras_genimg.runs.opening import opening
from keras_genimg.runs.settings import DEFAULTS
from keras_genimg.runs.splits import held_out_split, readable_images, same_set, training_split


def write_images(folder, count, shade=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("L", (16, 16), shade + i).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """20 images in two classes, a damaged file and a text."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_images(folder / "cat", 10)
    write_images(folder / "dog", 10, 100)
    (folder / "cat" / "bad.png").write_bytes(b"")
    (folder / "notes.txt").write_text("x")
    return folder


def test_what_is_held_out(photos, tmp_path):
    name = str(photos)
    splits = [split(name, 0.1) for split in (training_split, held_out_split)]
    assert splits == ["train[:18]", "train[18:]"]
    seen = [set(np.concatenate(list(load(name, split, batch_size=9)))[:, 0, 0, 0])
            for split in splits]  # fmt: skip
    assert [len(each) for each in seen] == [18, 2] and not seen[0] & seen[1]
    assert (training_split(name), held_out_split(name)) == ("train", "train")
    for part in ("train", "val"):
        write_images(tmp_path / part, 3)
    assert held_out_split(str(tmp_path)) == "validation"
    write_images(tmp_path / "Test", 1)
    assert held_out_split(str(tmp_path)) == "test"
    assert held_out_split("glyphs") == "test"
    assert held_out_split("glyphs", 0.1) == "train[18000:]"
    with pytest.raises(InputError, match=r"--holdout 0.01 of 20 images"):
        training_split(name, 0.01)
    with pytest.raises(InputError, match="must exist"):
        held_out_split(name + "/nowhere/")
    assert same_set(name, name + "/") and not same_set("mnist", "glyphs")


def test_a_training_begins_with_three_lines(photos):
    settings = {**DEFAULTS, "data": "photos", "epochs": 1}
    model = kg.ConditionalVAE((16, 16, 1), num_classes=2, latent_dim=2, networks="mlp")
    with pytest.warns(UserWarning, match="Skipped 1 of 21"):
        count, skipped = readable_images(photos, "train[:18]")
    info = data_info(photos, "train[:18]")
    lines = opening("runs/x", model, settings, "train[:18]", info, skipped, count, 7).splitlines()
    assert lines == [
        "data      photos, train[:18]: 18 images of 16x16x1 in 2 classes (cat, dog); "
        "2 files skipped (1 empty, 1 of other kinds)",
        f"training  ConditionalVAE with {model.count_params():,} parameters; "
        "batches of 18 (not 64: there are no more images), 7 steps per epoch, 1 epoch",
        "output    runs/x",
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipped")
def test_a_folder_is_held_out_and_evaluated_by_default(photos, tmp_path, capsys):
    folder = tmp_path / "run"
    train = ["train", "vae", "--data", str(photos), "--set", "networks=mlp"]
    assert main([*train, "--holdout", "0.2", "--epochs", "1", "--output", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "train[:16]: 16 images" in lines[0] and "batches of 16" in lines[1]
    assert lines[2] == f"output    {folder}"
    assert main(["evaluate", str(folder)]) == 0
    results = json.loads((folder / "metrics.json").read_text())
    assert (results["split"], results["count"]) == ("train[16:]", 4)
    assert main(["evaluate", str(folder), "--data", str(photos / "cat")]) == 0
    assert "has no test split" in capsys.readouterr().out
    assert main([*train, "--resume", "--output", str(folder), "--holdout", "0.5"]) == 2
    assert "holdout=0.5 (was 0.2)" in capsys.readouterr().err


def test_images_of_several_sizes_are_evaluated_by_default(tmp_path):
    folder, data = tmp_path / "run", tmp_path / "photos"
    write_images(data, 4)
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(data / "larger.png")
    train = ["train", "vae", "--data", str(data), "--image-size", "16", "--set", "networks=mlp"]
    assert main([*train, "--epochs", "1", "--output", str(folder)]) == 0
    assert main(["evaluate", str(folder)]) == 0
    assert json.loads((folder / "metrics.json").read_text())["count"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("model, more", [
    ("wgan", ["--set", "n_critic=2"]), ("cyclegan", ["--data-b"]),
])  # fmt: skip
def test_fewer_images_than_a_batch(model, more, tmp_path, capsys):
    for i, name in enumerate("ab"):
        write_images(tmp_path / name, 6 - 2 * i, 50 * i)
    more = [*more, str(tmp_path / "b")] if model == "cyclegan" else more
    arguments = ["train", model, "--data", str(tmp_path / "a"), "--epochs", "2",
                 "--output", str(tmp_path / "run"), *more]  # fmt: skip
    assert main(arguments) == 0
    size = 4 if model == "cyclegan" else 6
    assert f"batches of {size} (not" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["count"] == size


def test_a_share_that_is_none(capsys):
    for share in ("0", "1", "-0.5", "nan"):
        assert main(["train", "vae", "--holdout", share]) == 2
        assert "--holdout must be between 0 and 1" in capsys.readouterr().err
