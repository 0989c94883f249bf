"""The command prior: a run of an autoencoder generates afterwards."""

import json

import keras
import numpy as np
import pytest
from cases import SHAPE, smooth_pictures
from PIL import Image
from test_cli import refused

from keras_genimg import GAN, VQVAE, plotting
from keras_genimg.cli import main
from keras_genimg.recipes import read_recipe

SETTINGS = {"data_dir": None, "image_size": 16, "channels": 1, "binarize": None}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of eight pictures each."""
    folder = tmp_path_factory.mktemp("photos")
    for index, picture in enumerate(smooth_pictures(16)):
        path = folder / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        plotting.save_png(path, picture if index % 2 else -picture)
    return folder


def make_run(folder, model, photos):
    model.save(folder / "model.keras")
    record = {"model": "vq_vae", "settings": {**SETTINGS, "data": str(photos)}}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.slow
def test_a_run_generates_after_it(tmp_path, photos, capsys):
    model = VQVAE(SHAPE, 8, 4, seed=0)
    run = make_run(tmp_path / "run", model, photos)
    command = [
        "prior",
        str(run),
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--by-class",
        "--seed",
        "3",
        "--set",
        "filters=8",
        "--set",
        "layers=2",
        "--set",
        "learning_rate=1e-2",
    ]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "prior_samples.png")
    fitted = keras.saving.load_model(run / "model.keras")
    for mine, other in zip(fitted.decoder.get_weights(), model.decoder.get_weights()):
        np.testing.assert_array_equal(mine, other)
    assert fitted.prior.num_classes == 2
    images = fitted.generate(64, labels=["a", "b"] * 32, seed=3)
    with Image.open(run / "prior_samples.png") as picture:
        found = np.asarray(picture)[::2, ::2].astype(int)
    assert np.abs(found - plotting.image_grid(images)[..., 0]).max() <= 1
    record = json.loads((run / "prior.json").read_text())
    pictures = np.stack([np.asarray(Image.open(path)) for path in sorted(photos.glob("*/*.png"))])
    codes = fitted.encode(pictures[..., None].astype("float32") / 127.5 - 1)
    nats = -fitted.prior.log_likelihood(codes, np.repeat([0, 1], 8)).mean() / 16
    np.testing.assert_allclose(record["test"]["nats_per_code"], nats, rtol=1e-4)
    assert len(record["history"]["nats_per_code"]) == 2
    assert fitted.class_names == ("a", "b")  # of the folder
    assert (run / "saved_model" / "saved_model.pb").exists()

    path = tmp_path / "some.npz"
    options = ["--temperature", "0.9", "--top-k", "3", "--top-p", "0.8"]
    command = ["generate", str(run), "--count", "4", "--seed", "1", "--output", str(path)]
    assert main([*command, *options]) == 0
    made = fitted.generate(4, seed=1, temperature=0.9, top_k=3, top_p=0.8)
    difference = np.load(path)["images"].astype(int) - plotting.to_uint8(made)
    assert np.abs(difference).max() <= 1


@pytest.mark.slow
def test_a_recipe_gives_the_settings_that_are_not_given(tmp_path, photos):
    run = make_run(tmp_path / "run", VQVAE(SHAPE, 8, 4, seed=0), photos)
    command = ["prior", str(run), "--recipe", "code_transformer_emoji", "--epochs", "1"]
    assert main([*command, "--set", "features=8", "--set", "layers=1"]) == 0
    record = json.loads((run / "prior.json").read_text())
    recipe = read_recipe("code_transformer_emoji")["settings"]
    assert record["settings"] == {**recipe["set"], "features": 8, "layers": 1}
    assert (record["epochs"], record["kind"]) == (1, "code_transformer")
    for name in ("batch_size", "by_class", "policy"):
        assert record[name] == recipe[name]
    assert keras.saving.load_model(run / "model.keras").prior.num_classes == 2


@pytest.mark.parametrize("option", ["temperature", "top-k", "top-p"])
def test_models_that_do_not_draw_codes_have_no_such_options(option, tmp_path, photos, capfd):
    run = make_run(tmp_path / "run", GAN(SHAPE, 4, networks="mlp"), photos)
    words = refused(capfd, "generate", run, f"--{option}", "1")
    assert f"--{option} is for models of codes with a prior" in words


@pytest.mark.parametrize(
    "options, words",
    [
        (["--epochs", "0"], "--epochs must be from 1"),
        (["--set", "wide=3"], "--set takes arguments of PixelCNN"),
        (
            ["--kind", "code_transformer", "--set", "heads=3"],
            "--set takes arguments of CodeTransformer",
        ),
        (["--recipe", "vae_mnist"], "the recipe vae_mnist is for keras-genimg train"),
        (
            ["--recipe", "code_transformer_emoji", "--kind", "pixel_cnn"],
            "The recipe code_transformer_emoji is of code_transformer; --kind can be left out",
        ),
    ],
)
def test_what_it_refuses(options, words, tmp_path, photos, capfd):
    run = make_run(tmp_path / "run", VQVAE(SHAPE, 8, 4, seed=0), photos)
    before = (run / "model.keras").read_bytes()
    assert words in refused(capfd, "prior", run, *options)
    assert (run / "model.keras").read_bytes() == before


def test_it_is_for_models_of_codes(tmp_path, photos, capfd):
    run = make_run(tmp_path / "run", GAN(SHAPE, 4, networks="mlp"), photos)
    assert "is for runs of vq_vae, vq_gan and vq_vae2" in refused(capfd, "prior", run)
