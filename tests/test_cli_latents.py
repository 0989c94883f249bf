"""The commands interpolate and invert, and the run of a super-resolution model."""

import json
import os

import keras
import numpy as np
import pytest
from cases import SHAPE, smooth_pictures
from PIL import Image
from test_cli import SMALL, refused

from keras_genimg import GAN, ConditionalGAN, latents, plotting
from keras_genimg.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What is read of the runs of two untrained models, without labels and with."""
    root = tmp_path_factory.mktemp("runs")
    models = {"gan": GAN(SHAPE, 6, networks="mlp"), "conditional_gan": ConditionalGAN(SHAPE, 10, 6)}
    for name, model in models.items():
        model.save(root / name / "model.keras")
        (root / name / "run.json").write_text("{}")
    return root


def model_of(run):
    return keras.saving.load_model(run / "model.keras")


def test_interpolate_draws_a_grid_of_walks(runs, capsys):
    command = [
        "interpolate",
        str(runs / "gan"),
        "--count",
        "3",
        "--steps",
        "5",
        "--seed",
        "7",
        "--method",
        "spherical",
    ]
    assert main(command) == 0
    path = runs / "gan" / "interpolation.png"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    model = model_of(runs / "gan")
    ends = model.draw_latents(6, 7).numpy()
    walks = latents.interpolate(model, ends[:3], ends[3:], 5, method="spherical")
    expected = plotting.image_grid(latents.decode(model, walks))[..., 0]
    with Image.open(path) as picture:
        assert picture.text["method"] == "spherical" and picture.text["seed"] == "7"
        found = np.asarray(picture)[::2, ::2]
    assert np.abs(found.astype(int) - expected).max() <= 1
    # One class a walk, here those asked for; the numbers themselves in an .npz.
    path = runs / "walks.npz"
    command = [
        "interpolate",
        str(runs / "conditional_gan"),
        "--count",
        "3",
        "--steps",
        "2",
        "--labels",
        "4,1",
        "--output",
        str(path),
    ]
    assert main(command) == 0
    stored = np.load(path)
    assert stored["labels"].tolist() == [4, 1, 4]
    expected = latents.decode(model_of(runs / "conditional_gan"), stored["latents"], [4, 1, 4])
    np.testing.assert_allclose(stored["images"], expected, atol=1e-5)
    assert main([*command[:-1], str(runs / "walks.gif")]) == 0
    with Image.open(runs / "walks.gif") as animation:
        assert animation.n_frames == 2


@pytest.mark.parametrize(
    "mask, columns", [("none", 2), ("half", 4), pytest.param("box", 4, marks=pytest.mark.slow)]
)
def test_invert_shows_what_it_saw_and_found(mask, columns, runs, capsys):
    command = [
        "invert",
        str(runs / "gan"),
        "--data",
        "glyphs",
        "--count",
        "3",
        "--mask",
        mask,
        "--seed",
        "1",
        "--overwrite",
    ]
    assert main(command) == 0
    *_, error, path = capsys.readouterr().out.splitlines()
    assert error.split()[:3] == ["mean", "squared", "error"] and 0 < float(error.split()[3]) < 4
    assert path == str(runs / "gan" / "inversion.png")
    cell = 16 + 2
    with Image.open(path) as picture:
        assert picture.size == (2 * (2 + columns * cell), 2 * (2 + 3 * cell))
        grid = np.asarray(picture)[::2, ::2]
    seen = grid[2:18, 2:18]
    if mask == "half":
        assert (seen[8:] == 128).all() and (seen[:8] != 128).any()
    if mask == "box":
        assert (seen[4:12, 4:12] == 128).all()
    if mask != "none":  # what was seen, what was found, both put together, the whole
        found, completed, whole = (grid[2:18, 2 + i * cell : 18 + i * cell] for i in (1, 2, 3))
        kept = np.ones((16, 16), bool)
        kept[(slice(8, None), slice(None)) if mask == "half" else (slice(4, 12), slice(4, 12))] = (
            False
        )
        np.testing.assert_array_equal(completed, np.where(kept, whole, found))


@pytest.mark.slow
def test_invert_takes_files_folders_and_labels(runs, tmp_path, capfd):
    levels = plotting.to_uint8(smooth_pictures(3, size=32))[..., 0]
    for index, picture in enumerate(levels):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    output = tmp_path / "found.npz"
    for given, count in ((tmp_path, 3), (tmp_path / "1.png", 1)):
        for model, more in (("gan", []), ("conditional_gan", ["--labels", "4"])):
            command = ["invert", runs / model, "--images", given, "--output", output, *more]
            assert main([*map(str, command), "--overwrite"]) == 0
            stored = np.load(output)
            assert stored["latents"].shape == (count, 6) and stored["errors"].shape == (count,)
            assert stored["images"].shape == (count, 16, 16, 1)
    assert stored["labels"].tolist() == [4]
    # The classes of a labelled set are known.
    command = [
        "invert",
        runs / "conditional_gan",
        "--data",
        "glyphs",
        "--count",
        "2",
        "--output",
        output,
        "--overwrite",
    ]
    assert main([*map(str, command)]) == 0
    assert len(np.load(output)["labels"]) == 2


def test_what_is_refused(runs, tmp_path, capfd):
    new = ["--output", tmp_path / "new.png"]
    for option, low in (("--count", 1), ("--steps", 2)):
        message = refused(capfd, "interpolate", runs / "gan", *new, option, low - 1)
        assert f"{option} must be from {low} to" in message
    assert "has no classes" in refused(capfd, "interpolate", runs / "gan", *new, "--labels", "0")
    message = refused(capfd, "interpolate", runs / "conditional_gan", *new, "--labels", "a")
    assert "names of the model's classes" in message and "Received: 'a'" in message
    (tmp_path / "x.png").write_bytes(b"no picture")
    os.mkfifo(tmp_path / "fifo.png")
    Image.fromarray(np.ones((4, 4), "float32")).save(tmp_path / "float.tif")
    for name, why in (("x.png", "not recognised"), ("nowhere.png", "No such file"),
                      ("fifo.png", "cannot be opened"), ("float.tif", "of floats")):  # fmt: skip
        message = refused(capfd, "invert", runs / "gan", *new, "--images", tmp_path / name)
        assert "--images takes an image or a folder" in message and name in message
        assert why in message
    assert "does not exist" in refused(capfd, "invert", tmp_path / "no_run", "--data", "glyphs")
    assert not list(runs.glob("*/inversion*.partial*"))


@pytest.mark.slow
def test_super_resolution_shows_low_resolution_output_and_target(tmp_path, capsys):
    folder = tmp_path / "run"
    train = ["train", "super_resolution_gan", *SMALL, "--epochs", "2", "--set", "scale=4"]
    assert main([*train, "--output", str(folder)]) == 0
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "complete" and record["arguments"]["scale"] == 4
    assert record["final_logs"]["psnr"] > 0
    assert len(list((folder / "samples").glob("*.png"))) == 2
    with Image.open(folder / "samples.png") as picture:
        assert picture.text["generated"] == "the second of every three rows"
        width, height = picture.size
        pixels = np.asarray(picture)
    pixel = width // (2 + 6 * 18)  # 18 pictures: three times three rows of six
    assert (width, height) == (pixel * (2 + 6 * 18), pixel * (2 + 9 * 18))
    rows = [pixels[::pixel, ::pixel][2 + i * 18 : 18 + i * 18, 2:18] for i in range(3)]
    low, made, target = (row.astype(int) for row in rows)
    np.testing.assert_array_equal(low, low[::4, ::4].repeat(4, 0).repeat(4, 1))
    model = model_of(folder)
    given = model.downsample(target[None, ..., None].astype("float32") / 127.5 - 1)
    assert (
        np.abs(plotting.to_uint8(model.translate(given))[0, ..., 0].astype(int) - made).max() <= 2
    )
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--data", "glyphs", "--count", "16"]) == 0
    assert "psnr" in capsys.readouterr().out
