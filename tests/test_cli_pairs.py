"""The command line for models that are trained on two batches at once."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_genimg import plotting
from keras_genimg.cli import main
from keras_genimg.data import load
from keras_genimg.runs.pairs import in_pairs

SMALL = ["--image-size", "16", "--batch-size", "8", "--steps-per-epoch", "2", "--epochs", "2"]


def trained(folder, *arguments):
    assert main(["train", *arguments, *SMALL, "--output", str(folder)]) == 0
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "complete" and record["epochs_done"] == 2
    assert len(list((folder / "samples").glob("*.png"))) == 2
    signatures = tf.saved_model.load(str(folder / "saved_model")).signatures
    return record, signatures


def photos(folder, count):
    """A folder of grey noise of 20x24."""
    for index in range(count):
        pixels = np.random.default_rng(index).uniform(-1, 1, (20, 24, 1))
        plotting.save_png(folder / f"{index}.png", pixels)
    return folder


def refused(capfd, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("keras-genimg: error: "), lines
    return lines[0]


@pytest.mark.slow
def test_pix2pix_undoes_corruption(tmp_path, capfd):
    folder = tmp_path / "pix2pix"
    record, signatures = trained(folder, "pix2pix", "--channels", "3", "--corruption", "grey")
    assert record["settings"]["corruption"] == "grey"
    assert record["arguments"]["source_shape"] == [16, 16, 1]
    assert signatures["translate"].structured_input_signature[1]["images"].shape == (
        None,
        16,
        16,
        1,
    )
    with Image.open(folder / "samples.png") as grid:  # 18 in rows of 6: input, output, target
        scale = 512 // (9 * 18 + 2)
        assert grid.size == (scale * (6 * 18 + 2), scale * (9 * 18 + 2))
        rows = np.asarray(grid).reshape(9 * 18 + 2, scale, -1, 3)[:, 0, ::scale].astype("int32")
    colorful = np.ptp(rows, axis=-1).max(axis=1)[2:].reshape(9, 18)[:, :16].max(axis=1) > 0
    assert colorful.tolist() == [False, True, True] * 3
    assert main(["evaluate", str(folder), "--data", "glyphs"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert {"g_loss", "l1_loss", "d_loss"} <= set(metrics)
    capfd.readouterr()
    assert "instead of generate" in refused(capfd, "generate", folder)


@pytest.mark.slow
def test_cyclegan_takes_a_second_set(tmp_path):
    others = photos(tmp_path / "photos", 12)
    folder = tmp_path / "cyclegan"
    record, signatures = trained(
        folder, "cyclegan", "--data-b", str(others), "--set", "residual_blocks=1"
    )
    assert record["settings"]["data_b"] == str(others)
    assert record["arguments"]["image_shape"] == record["arguments"]["image_shape_b"] == [16, 16, 1]
    assert {"translate", "translate_back"} <= set(signatures)
    assert {"cycle_loss", "identity_loss"} <= set(record["final_logs"])


@pytest.mark.parametrize("kind", ["corruption", "data_b"])
def test_a_resumed_stream_is_that_of_the_unbroken_run(kind, tmp_path):
    sets = [str(photos(tmp_path / name, count)) for name, count in (("a", 10), ("b", 7))]
    source = {"data_dir": None, "channels": None, "image_size": 16}
    settings = {"corruption": None, "data_b": None, **source, "seed": 4}
    settings[kind] = {"corruption": "mask", "data_b": sets[1]}[kind]

    def stream(first_step):
        first_pass, first_batch = divmod(first_step, 3)  # passes of 3 batches over 10 images
        data = load(
            sets[0],
            batch_size=3,
            shuffle_seed=4,
            epochs=None,
            first_epoch=first_pass,
            first_batch=first_batch,
            drop_remainder=True,
            **source,
        )
        return in_pairs(data, settings, (16, 16, 1), 3, first_step)

    unbroken = [tuple(part.numpy() for part in pair) for pair in stream(0).take(9)]
    resumed = [tuple(part.numpy() for part in pair) for pair in stream(5).take(4)]
    for pair, expected in zip(resumed, unbroken[5:]):
        for part, other in zip(pair, expected):
            np.testing.assert_array_equal(part, other)
    for part in range(2):  # otherwise nothing is shown
        firsts = [pair[part].tobytes() for pair in unbroken]
        assert len(set(firsts)) > 6


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["cyclegan", "--data", "glyphs"],
         "CycleGAN is trained on two sets: --data-b names the second. Received: --data glyphs"),
        (["gan", "--damage", "mask"],  # its name in version 0.1
         "--corruption is for models that are trained on pairs; GAN is not."),
        (["pix2pix", "--data-b", "glyphs"],
         "--data-b is not for Pix2Pix, which takes --corruption. Received: --data-b glyphs."),
        (["pix2pix", "--corruption", "rain"], "corruption must be one of mask, noise, grey."),
        (["pix2pix", "--corruption", "grey"], "needs RGB images, with 3 channels."),
    ],
    ids=range(5),
)  # fmt: skip
def test_refusals_write_nothing(arguments, words, tmp_path, capfd):
    output = tmp_path / "run"
    assert words in refused(capfd, "train", *arguments, *SMALL, "--output", output)
    assert not output.exists()
