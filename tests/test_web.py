"""The page that runs a model in a browser: its files, and what they hold. See test_browser.py."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
from cases import MODELS, SHAPE, smooth_pictures
from test_cli import refused

from keras_genimg import GAN, VAE, VQVAE, InputError
from keras_genimg.cli import main
from keras_genimg.core.page import colours_of, directions_of_most_change, page_of
from keras_genimg.layers import FiniteScalarQuantizer, GaussianMixture
from keras_genimg.web import PAGE, RUNTIME_FILES, RUNTIME_VERSION, is_page

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = {"networks": "mlp", "network_options": {"units": (8,)}}
# What each model's page computes; other models have none.
PAGES = {
    "gan": ["decode"], "wgan": ["decode"], "wgan_gp": ["decode"], "conditional_gan": ["decode"],
    "conditional_gan_concatenation": ["decode"], "projected_gan": ["decode"],
    "vae": ["encode", "decode"], "iwae": ["encode", "decode"],
    "conditional_vae": ["encode", "decode"], "vq_vae": ["encode", "decode"],
    "vq_vae2": ["encode", "decode"], "vq_gan": ["encode", "decode"],
    "vq_vae_gradient": ["encode", "decode"], "pix2pix": ["translate"], "cyclegan": ["translate"],
    "super_resolution_gan": ["translate"],
}  # fmt: skip


def lively(model, seed=0):
    """The model with random weights, from which its outputs differ far more than by rounding."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        for weight in layer._trainable_variables if not hasattr(layer, "layers") else ():
            fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 4
            weight.assign(rng.normal(0, 2 / np.sqrt(fan_in), weight.shape))
    return model


@pytest.fixture
def runtime(tmp_path):
    """A folder like that of onnxruntime-web, with more than the page needs."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in (*RUNTIME_FILES, "ort.all.mjs"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_page_follows_from_the_signatures(name):
    model = MODELS[name]()
    if name not in PAGES:
        with pytest.raises(InputError, match=f"A page shows models that.*{type(model).__name__}"):
            page_of(model)
        return
    functions, description = page_of(model)
    assert list(functions) == description["functions"] == PAGES[name]
    assert (description["latents"] is None) == (not hasattr(model, "latent_dim"))
    assert (description["codes"] is None) == (not hasattr(model, "codebooks"))
    classes = ["0", "1", "2", "3"] if model.num_classes and description["latents"] else None
    assert description["classes"] == classes
    json.dumps(description, allow_nan=False)


def test_what_no_page_shows_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="Received: CNNClassifier."):
        MODELS["cnn_classifier"]().export(tmp_path / "page", "web")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["conditional_gan", "vae"])
def test_its_functions_are_those_of_keras(name, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = lively(MODELS[name]())
    folder = model.export(tmp_path / "page", "web")
    assert {*os.listdir(folder)} == {
        *os.listdir(PAGE), "model.json", *(f"{name}.onnx" for name in PAGES[name])
    }  # fmt: skip

    def run(function, output, **given):
        return onnxruntime.InferenceSession(f"{folder}/{function}.onnx").run([output], given)[0]

    latents = model.draw_latents(5, 1).numpy()
    given = {"labels": np.arange(5, dtype="int32") % 4} if name == "conditional_gan" else {}
    expected = model.decode(latents, **given)
    assert expected.std() > 0.1
    found = run("decode", "images", latents=latents, **given)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if name == "vae":
        images = smooth_pictures(5)
        found = run("encode", "z_mean", images=images)
        np.testing.assert_allclose(found, model.encode(images), rtol=1e-3, atol=1e-3)


def test_the_runtime_is_copied_or_comes_from_its_network(runtime, tmp_path):
    pytest.importorskip("tf2onnx")
    model = VAE(SHAPE, 3, **SMALL)
    for given, place in ((None, f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{RUNTIME_VERSION}"
                                "/dist"), (runtime, "runtime")):  # fmt: skip
        folder = pathlib.Path(model.export(tmp_path / "page", "web", runtime=given))
        description = json.loads((folder / "model.json").read_text())
        assert description["runtime"] == f"{place}/{RUNTIME_FILES[0]}"
        assert (folder / "runtime").exists() == (given is not None)
    for name in RUNTIME_FILES:
        assert (folder / "runtime" / name).read_text() == name
    assert {*os.listdir(folder / "runtime")} == {*RUNTIME_FILES}


def test_another_runtime_is_refused(runtime, tmp_path):
    (runtime / RUNTIME_FILES[1]).unlink()
    model = VAE(SHAPE, 3, **SMALL)
    for given, words in ((runtime, f"{runtime}, which has no {RUNTIME_FILES[1]}"), (3, "a path")):
        with pytest.raises(InputError, match=words):
            model.export(tmp_path / "page", "web", runtime=given)
    with pytest.raises(InputError, match="runtime needs format='web'. Received: .*'onnx'"):
        model.export(tmp_path / "x.onnx", "onnx", runtime=runtime)
    assert os.listdir(tmp_path) == ["dist"]


def test_a_page_replaces_nothing_but_a_page(runtime, tmp_path):
    pytest.importorskip("tf2onnx")
    model, folder = VAE(SHAPE, 3, **SMALL), tmp_path / "page"
    model.export(folder, "web", runtime=runtime)
    assert is_page(folder)
    model.export(folder, "web", runtime=runtime)
    for name in ("notes.txt", "runtime/notes.txt"):
        (folder / name).write_text("mine")
        assert not is_page(folder)
        with pytest.raises(InputError, match="anything else in it would be lost"):
            model.export(folder, "web")
        (folder / name).unlink()
    (folder / "model.json").unlink()
    assert not is_page(folder)


def test_the_command_writes_a_page(runtime, tmp_path, capfd):
    pytest.importorskip("tf2onnx")
    run, page = tmp_path / "run", tmp_path / "page"
    run.mkdir()
    VAE(SHAPE, 3, **SMALL).save(run / "model.keras")
    (run / "run.json").write_text("{}")
    command = ["export", str(run), "--format", "web", "--runtime", str(runtime)]
    assert main(command) == 0
    assert capfd.readouterr().out == f"{run / 'page'}\n" and is_page(run / "page")
    assert "--overwrite" in refused(capfd, *command)
    assert main([*command, "--overwrite", "--output", str(page)]) == 0 and is_page(page)
    words = refused(capfd, "export", run, "--runtime", runtime)
    assert "--runtime is for --format web" in words
    words = refused(capfd, "export", run, "--format", "web", "--output", tmp_path / "x.onnx")
    assert "A SavedModel and a page are folders" in words


@pytest.mark.parametrize("name", ["gan", "conditional_gan_concatenation", "vae"])
def test_outputs_of_the_first_layer_change_most_along_the_directions(name):
    model = lively(MODELS[name]())
    dim, directions = model.latent_dim, directions_of_most_change(model)
    network = getattr(model, "ema_generator", None) or model.decoder
    kernel = next(weight for weight in network.weights if weight.path.endswith("kernel")).numpy()
    assert directions.shape == (min(8, dim), dim) and kernel.shape[0] >= dim
    np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-6)
    changes = np.linalg.norm(directions @ kernel[:dim], axis=1)
    np.testing.assert_allclose(changes, np.linalg.svd(kernel[:dim])[1][: len(changes)], rtol=1e-5)


def test_without_a_dense_layer_there_are_no_directions():
    generator = keras.Sequential([keras.Input((256,)), keras.layers.Reshape(SHAPE)])
    model = GAN(SHAPE, 256, generator=generator, discriminator=None)
    assert directions_of_most_change(model).shape == (0, 256)


def test_a_page_has_the_names_of_classes_and_the_mixture_of_a_prior():
    model = MODELS["conditional_vae"](prior=GaussianMixture(2, 4))
    model.class_names = ["Strand", "Stadt", "Hündin", "犬"]
    _, description = page_of(model)
    assert description["classes"] == list(model.class_names)
    mixture = {name: np.array(value) for name, value in description["latents"]["mixture"].items()}
    assert {name: value.shape for name, value in mixture.items()} == {
        "shares": (2,), "means": (2, 4), "factors": (2, 4, 4)
    }  # fmt: skip
    np.testing.assert_array_equal(mixture["shares"], [0.5, 0.5])


@pytest.mark.parametrize("quantizer", [
    VQVAE(SHAPE, 16, 8).quantizer, VQVAE(SHAPE, 5, 2).quantizer, FiniteScalarQuantizer((4, 3))
])  # fmt: skip
def test_codes_with_similar_vectors_have_similar_colours(quantizer):
    vectors = quantizer.decode(np.arange(quantizer.num_embeddings, dtype="int32")[:, None, None])
    vectors, colours = np.array(vectors)[:, 0, 0], np.array(colours_of(quantizer), "float64")
    assert colours.shape == (len(vectors), 3) and colours.min() >= 0 and colours.max() <= 255
    first = vectors - vectors.mean(axis=0)
    first = first @ np.linalg.svd(first)[2][0]  # the first component grows with the red, or falls
    red = colours[:, 0]
    assert abs(np.corrcoef(first, red)[0, 1]) > 0.999


def test_pages_are_tested_with_the_runtime_that_they_load():
    for name in (".ci/run", "CONTRIBUTING.md"):
        assert f"onnxruntime-web@{RUNTIME_VERSION}" in (ROOT / name).read_text(), name
