"""The command line for models that are trained on two batches at once."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_genimg import plotting
from keras_genimg.cli import main
from keras_genimg.data import load, load_pairs
from keras_genimg.runs.pairs import (
    evaluation_pairs,
    images_of_second_set,
    in_pairs,
    number_of_pairs,
)
from keras_genimg.runs.translations import PER_PAIR

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


@pytest.fixture
def drawings(tmp_path):
    """Ten grey images to train on and four held out, and the same in inverted colours."""
    folders = tmp_path / "drawings", tmp_path / "inverted"
    for split, count in (("train", 10), ("test", 4)):
        for index in range(count):
            pixels = np.random.default_rng(index).uniform(-1, 1, (16, 16, 1))
            plotting.save_png(folders[0] / split / f"{index}.png", pixels)
            colours = pixels * [-1, 1, 0.5]
            plotting.save_png(folders[1] / split / f"{index}.png", colours)
    return folders


def evaluated(folder, *arguments):
    assert main(["evaluate", str(folder), *arguments]) == 0
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.slow
def test_pix2pix_learns_from_two_folders_and_is_measured_beside_its_inputs(
    drawings, tmp_path, capfd
):
    (drawings[0] / "train" / "alone.png").write_bytes(
        (drawings[0] / "train" / "0.png").read_bytes()
    )
    folder = tmp_path / "run"
    both = ["--data", str(drawings[0]), "--data-b", str(drawings[1])]
    with pytest.warns(UserWarning, match="not used: 1 in .*drawings.* .train/alone.png."):
        record, _ = trained(folder, "pix2pix", *both)
    opening = capfd.readouterr().out
    assert f"paired with {drawings[1]}; 1 files skipped (1 without a partner)" in opening
    assert record["settings"]["corruption"] is None and record["num_images"] == 10
    shapes = [record["arguments"][name] for name in ("source_shape", "image_shape")]
    assert shapes == [[16, 16, 1], [16, 16, 3]]
    with Image.open(folder / "samples.png") as grid:  # 4 in rows of 3: input, output, target
        scale = 512 // (6 * 18 + 2)
        assert grid.size == (scale * (3 * 18 + 2), scale * (6 * 18 + 2))

    assert {"g_loss", "l1_loss"} <= set(evaluated(folder)["metrics"])
    metrics = ["psnr", "ssim", "sliced_wasserstein_distance"]
    found = evaluated(folder, "--metrics", *metrics, "--count", "3")
    pairs = load_pairs(*drawings, "test", batch_size=3, num_images=3)
    inputs, targets = next(pairs.as_numpy_iterator())
    images = {"": keras.saving.load_model(folder / "model.keras").translate(inputs),
              "input_": inputs.repeat(3, axis=-1)}  # fmt: skip
    assert (found["split"], found["count"]) == ("test", 3)
    for prefix, given in images.items():
        for name, function in PER_PAIR.items():
            expected = function(targets, given).mean()
            assert found["metrics"][prefix + name] == pytest.approx(expected, rel=1e-3)
        assert f"{prefix}sliced_wasserstein_distance" in found["metrics"]


@pytest.mark.slow
def test_cyclegan_is_measured_in_both_directions_if_names_pair_its_sets(drawings, tmp_path, capfd):
    folder = tmp_path / "run"
    both = ["--data", str(drawings[0]), "--data-b", str(drawings[1]), "--channels", "3"]
    trained(folder, "cyclegan", *both, "--set", "residual_blocks=1")
    metrics = evaluated(folder, "--metrics", "psnr")["metrics"]
    assert list(metrics) == ["psnr", "input_psnr", "reverse_psnr", "reverse_input_psnr"]
    inputs, targets = next(load_pairs(*drawings, "test", batch_size=4, channels=3)
                           .as_numpy_iterator())  # fmt: skip
    model = keras.saving.load_model(folder / "model.keras")
    psnr = PER_PAIR["psnr"](inputs, model.translate(targets, reverse=True)).mean()
    assert metrics["reverse_psnr"] == pytest.approx(psnr, rel=1e-3)
    assert metrics["input_psnr"] == metrics["reverse_input_psnr"]
    capfd.readouterr()
    words = "paired by the names of their files"
    assert words in refused(capfd, "evaluate", folder, "--data", "glyphs", "--metrics", "psnr")


@pytest.mark.slow
def test_pix2pix_of_corrupted_images_is_measured_beside_them(tmp_path):
    folder = tmp_path / "run"
    trained(folder, "pix2pix", "--corruption", "noise")
    metrics = evaluated(folder, "--metrics", "psnr", "ssim", "--count", "20")["metrics"]
    assert set(metrics) == {"psnr", "ssim", "input_psnr", "input_ssim"}
    assert 10 < metrics["input_psnr"] < 25  # of noise with a standard deviation of 0.5, clipped


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


@pytest.mark.filterwarnings("ignore:Skipped", "ignore:Images without")
def test_what_is_evaluated_is_what_is_counted(tmp_path):
    """All images, also of sets smaller than a batch, without damaged ones."""
    sets = [photos(tmp_path / name, count) for name, count in (("a", 10), ("b", 7))]
    damaged = sets[1] / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    source = {"data_dir": None, "channels": None, "image_size": 16}
    settings = {"corruption": None, "data": str(sets[0]), "data_b": str(sets[1]), **source}
    for batch_size, sizes in ((100, [6]), (4, [4, 2])):
        data = load(settings["data"], batch_size=batch_size, **source)
        pairs = evaluation_pairs(data, settings, "train", (16, 16, 1), batch_size, None, 0)
        assert [[len(part) for part in pair] for pair in pairs] == [[n, n] for n in sizes]
    assert images_of_second_set(settings, (16, 16, 1)) == 6
    assert number_of_pairs(settings, "train") == number_of_pairs(settings, "train", 7) == 6


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["cyclegan", "--data", "glyphs"],
         "CycleGAN is trained on two sets: --data-b names the second. Received: --data glyphs"),
        (["gan", "--damage", "mask"],  # its name in version 0.1
         "--corruption is for models that are trained on pairs; GAN is not."),
        (["pix2pix", "--data-b", "glyphs"],
         "which folders of images have. Received: 'glyphs'."),
        (["pix2pix", "--data-b", "glyphs", "--corruption", "mask"],
         "Received: --corruption mask and --data-b glyphs."),
        (["cyclegan", "--corruption", "mask"],
         "--corruption is not for CycleGAN, which takes --data-b. Received: --corruption mask."),
        (["pix2pix", "--corruption", "rain"], "corruption must be one of mask, noise, grey."),
        (["pix2pix", "--corruption", "grey"], "needs RGB images, with 3 channels."),
    ],
    ids=range(7),
)  # fmt: skip
def test_refusals_write_nothing(arguments, words, tmp_path, capfd):
    output = tmp_path / "run"
    assert words in refused(capfd, "train", *arguments, *SMALL, "--output", output)
    assert not output.exists()
