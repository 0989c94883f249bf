"""The command line for a model of clips."""

import json
import os
import types

import keras
import numpy as np
import pytest
from PIL import Image
from test_cli import refused

import keras_genimg
from keras_genimg import plotting
from keras_genimg.cli import main


def frames_of(gif, duration_ms=100):
    """The frames as they are shown: equal ones in a row are stored as one that stays longer."""
    shown = []
    for index in range(gif.n_frames):
        gif.seek(index)
        frame = np.asarray(gif.convert("L"))
        shown += [frame] * (gif.info["duration"] // duration_ms)
    return shown


@pytest.mark.slow
def test_a_run_of_clips(tmp_path, capfd):
    folder = tmp_path / "clips"
    small = ["--image-size", "16", "--batch-size", "4", "--steps-per-epoch", "2", "--epochs", "1"]
    command = ["train", "sequence_gan", *small, "--set", "num_frames=3", "--output", str(folder)]
    assert main(command) == 0
    record = json.loads((folder / "run.json").read_text())
    assert record["settings"]["data"] == "moving_glyphs" and record["arguments"]["num_frames"] == 3
    model = keras.saving.load_model(folder / "model.keras")
    strips = plotting.image_grid(model.generate(10, seed=0))  # a clip a row
    assert strips.shape == (2 + 10 * 18, 2 + 3 * 18, 1)
    with Image.open(folder / "samples.png") as picture:
        scale = picture.size[0] // strips.shape[1]
        np.testing.assert_array_equal(np.asarray(picture)[::scale, ::scale], strips[..., 0])

    generate = ["generate", str(folder), "--count", "4", "--seed", "7"]
    clips = model.generate(4, seed=7, num_frames=5)
    assert main([*generate, "--frames", "5", "--output", str(tmp_path / "a.npz")]) == 0
    stored = np.load(tmp_path / "a.npz")["images"]
    np.testing.assert_allclose(stored, (clips + 1) * 127.5, atol=0.51)
    assert main([*generate, "--frames", "5", "--format", "gif"]) == 0
    with Image.open(folder / "generated.gif") as gif:
        assert gif.size == (2 * 38, 2 * 38)  # four clips that play together
        shown = frames_of(gif)
    assert len(shown) == 5
    for index, frame in enumerate(shown):
        grid = plotting.image_grid(stored[:, index])[..., 0]
        assert np.abs(frame[::2, ::2].astype(int) - grid).max() <= 1
    assert main([*generate, "--output", str(tmp_path / "each")]) == 0
    with Image.open(tmp_path / "each" / "000002.png") as picture:  # a strip a clip
        strip = plotting.image_grid(model.generate(4, seed=7)[2:3])
        np.testing.assert_array_equal(np.asarray(picture), strip[..., 0])

    evaluate = ["evaluate", str(folder), "--data", "moving_glyphs", "--count", "8"]
    assert main(evaluate) == 0  # clips of three frames
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert {"d_loss", "g_loss", "image_d_loss"} <= set(metrics)
    capfd.readouterr()
    message = refused(
        capfd, "train", "sequence_gan", "--data", "glyphs", "--output", tmp_path / "x"
    )
    assert "num_frames is only for sets of clips, moving_glyphs and moving_mnist" in message
    message = refused(capfd, "train", "gan", "--data", "moving_glyphs", "--output", tmp_path / "x")
    assert "('batch', 16, 28, 28, 1)" in message and not (tmp_path / "x").exists()


def test_frames_are_asked_of_models_of_clips_alone(tmp_path, capfd, monkeypatch):
    from keras_genimg.runs import using

    monkeypatch.setattr(using, "load_run", lambda folder: keras_genimg.GAN((16, 16, 1), 4))
    (tmp_path / "run.json").write_text("{}")
    message = refused(capfd, "generate", tmp_path, "--frames", "5")
    assert "models of clips. Received: --frames 5 for a run of GAN" in message


def test_the_memory_of_one_file_is_that_of_all_frames(tmp_path, capfd, monkeypatch):
    from keras_genimg.runs import using

    model = types.SimpleNamespace(
        data=keras_genimg.SequenceGAN.data, generates_by_label=False, num_frames=16,
        image_shape=(8, 8, 1),
    )  # fmt: skip
    monkeypatch.setattr(using, "load_run", lambda folder: model)
    monkeypatch.setattr(os, "sysconf", lambda name: 2**7)  # a machine of 16 KiB
    (tmp_path / "run.json").write_text("{}")
    generate = ["generate", tmp_path, "--output", tmp_path / "a.npz", "--count"]
    assert "must fit into memory" in refused(capfd, *generate, 2, "--frames", "64")
    assert "must fit into memory" in refused(capfd, *generate, 4)
