"""The writer of presets: small files that lose nothing that a sample shows, and whole cards."""

import importlib
import json
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_genimg as kg
from keras_genimg.cli import main
from keras_genimg.errors import InputError
from keras_genimg.runs import load_run
from keras_genimg.runs.settings import DEFAULTS

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def small_files():
    return imported("small_files")


@pytest.fixture(scope="module")
def writer():
    return imported("write_preset")


def dense_model():
    return keras.Sequential([keras.Input((30,)), keras.layers.Dense(50)])


def imported(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module(name)


def test_eleven_bits_are_those_of_a_float16(small_files):
    values = np.random.default_rng(0).normal(size=(50, 40)).astype("float32")
    np.testing.assert_array_equal(small_files.rounded(values, 11), values.astype("float16"))
    np.testing.assert_array_equal(small_files.rounded(values, 24), values)
    error = np.abs(small_files.rounded(values, 14) - values) / np.abs(values)
    assert 2.0**-16 < error.max() <= 2.0**-14
    assert small_files.rounded(values[0, 0], 11).shape == ()


def test_integers_are_not_rounded(small_files):
    large = np.array([2**24 + 1, -3])
    assert small_files.rounded(large, 11) is large


def test_what_an_earlier_keras_does_not_know_is_left_out(small_files):
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Conv2D(4, 3, padding="same", name="convolution")(inputs)
    config = small_files.portable(json.loads(keras.Model(inputs, outputs).to_json()))
    layers = {each["config"]["name"]: each["config"] for each in config["config"]["layers"]}
    convolution = layers["convolution"]
    # Of all arguments those that are not the defaults; filters have none.
    assert convolution["filters"] == 4 and convolution["padding"] == "same"
    assert not {"groups", "use_bias", "kernel_constraint", "bias_regularizer"} & set(convolution)
    assert convolution["kernel_initializer"]["class_name"] == "Zeros"
    rebuilt = keras.models.model_from_json(json.dumps(config))
    assert rebuilt.get_layer("convolution").padding == "same"
    assert rebuilt.output_shape == (None, 8, 8, 4)


def test_a_preset_has_no_optimizer_and_the_policy_float32(writer, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "COMPARED", 50)
    gan = kg.ConditionalGAN((16, 16, 1), 4, 8, dtype="mixed_bfloat16")
    gan.class_names = list("abcd")
    gan.compile()
    copy = writer.without_optimizer(gan)
    assert copy.dtype_policy.name == copy.generator.dtype_policy.name == "float32"
    bits, change = writer.write_model(copy, tmp_path / "gan.keras")
    assert bits == 11 and change <= 1
    saved = keras.saving.load_model(tmp_path / "gan.keras")
    assert not saved.compiled and saved.class_names == ("a", "b", "c", "d")
    for name, precision in (("ema_generator", 11), ("discriminator", 5)):
        stored, exact = (getattr(each, name).get_weights() for each in (saved, gan))
        for mine, theirs in zip(stored, exact, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2.0**-precision)
    assert not any(np.any(weight) for weight in saved.generator.get_weights())
    with zipfile.ZipFile(tmp_path / "gan.keras") as archive:
        with archive.open("model.weights.h5") as file, h5py.File(file) as tree:
            assert not [name for name in tree if "optimizer" in name]


def test_the_weights_of_a_prior_stay_as_they_are(writer, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "COMPARED", 50)
    prior = kg.CodeTransformer((4, 4), 8, features=8, layers=1, num_heads=2)
    model = kg.VQVAE((16, 16, 1), 8, 4, prior=prior)
    exact = model.prior.get_weights()
    bits, change = writer.write_model(writer.without_optimizer(model), tmp_path / "vq.keras")
    assert bits == 11 and change <= 1
    saved = keras.saving.load_model(tmp_path / "vq.keras")
    for mine, theirs in zip(saved.prior.get_weights(), exact, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    pairs = zip(saved.encoder.get_weights(), model.encoder.get_weights())
    assert any(np.any(mine != theirs) for mine, theirs in pairs)


@pytest.mark.parametrize("changes, bits", [([1], 11), ([2, 1], 12), ([9, 3, 2, 2, 2, 2, 0], 24)])
def test_a_byte_that_changes_by_more_than_one_takes_more_bits(
    writer, tmp_path, monkeypatch, changes, bits
):
    model = dense_model()
    exact = model.get_weights()
    black = np.zeros((1, 2, 2, 1), "uint8")
    found = iter([black, *(black + np.uint8(change) for change in changes)])
    monkeypatch.setattr(writer, "samples", lambda model: next(found))
    assert writer.write_model(model, tmp_path / "model.keras") == (bits, changes[-1])
    # Not the rounded weights of the attempts before, rounded again.
    saved = keras.saving.load_model(tmp_path / "model.keras").get_weights()
    error = max(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(exact, saved) if a.any())
    assert error <= (2.0**-bits if bits < 24 else 0.0)


def test_a_model_whose_file_generates_others_is_refused(writer, tmp_path, monkeypatch):
    found = iter(np.arange(0, 16, 2, "uint8").reshape(8, 1, 1, 1, 1))
    monkeypatch.setattr(writer, "samples", lambda model: next(found))
    with pytest.raises(InputError, match="the same from its file. Received: 14 of 255"):
        writer.write_model(dense_model(), tmp_path / "model.keras")


@pytest.mark.parametrize(
    "settings, command",
    [
        ({}, "keras-genimg train gan"),
        ({"epochs": 3, "data_dir": "here", "strategy": "mirrored"},
         "keras-genimg train gan --epochs 3"),
        ({"data": "mnist", "steps_per_epoch": 9, "set": {"loss": "hinge", "r1_weight": 0.5}},
         "keras-genimg train gan --data mnist --steps-per-epoch 9 --set loss=hinge "
         "--set r1_weight=0.5"),
        ({"set": {"learning_rate": {"class_name": "CosineDecay"}}},
         """keras-genimg train gan --set 'learning_rate={"class_name": "CosineDecay"}'"""),
        ({"data": "/home/somebody/my emoji/", "start_from": "/tmp/run"},
         "keras-genimg train gan --start-from run --data 'my emoji'"),
        ({"recipe": "conditional_gan_cifar10", "data": "cifar10", "epochs": 9,
          "policy": "mixed_bfloat16"},
         "keras-genimg train --recipe conditional_gan_cifar10 --epochs 9"),
    ],
)  # fmt: skip
def test_the_command_of_a_card_is_that_of_the_run(writer, settings, command):
    record = {"model": "gan", "settings": {**DEFAULTS, **settings}}
    assert writer.command_of(writer.public(record)) == command


def test_the_command_of_a_card_names_the_prior(writer, tmp_path):
    assert writer.prior_command(tmp_path) is None
    record = {
        "kind": "code_transformer", "epochs": 3, "batch_size": 64, "policy": None, "seed": 0,
        "by_class": True, "settings": {"layers": 2}, "history": {},
    }  # fmt: skip
    (tmp_path / "prior.json").write_text(json.dumps(record))
    assert writer.prior_command(tmp_path) == (
        "keras-genimg prior RUN --kind code_transformer --epochs 3 --batch-size 64 --seed 0 "
        "--by-class --set layers=2"
    )


@pytest.mark.slow
def test_a_run_becomes_a_preset_with_its_card(writer, tmp_path, monkeypatch):
    run, output = str(tmp_path / "run"), tmp_path / "presets"
    given = ["--batch-size", "8", "--steps-per-epoch", "2", "--epochs", "1", "--seed", "3"]
    assert main(["train", "conditional_gan", *given, "--output", run]) == 0
    monkeypatch.setattr(writer, "COUNTS", (50,))
    monkeypatch.setattr("sys.argv", ["write_preset.py", run, "digits", "--output", str(output)])
    writer.main()

    monkeypatch.setattr(kg.shipped, "PRESETS", output)
    card, model = kg.presets()["digits"], kg.load_preset("digits")
    assert card["command"] == "keras-genimg train conditional_gan " + " ".join(
        ["--batch-size 8", "--epochs 1", "--steps-per-epoch 2", "--seed 3"]
    )
    assert card["class_names"] == list("0123456789") and card["data"]["images"] == 20_000
    (result,) = card["metrics"]
    assert result["count"] == 50 and result["split"] == "test" and result["real_count"] == 5000
    assert result["metrics"]["frechet_distance[glyphs]"] > 1
    images, of_run = (kg.plotting.to_uint8(each.generate(20, seed=5)).astype(int)
                      for each in (model, load_run(run)))  # fmt: skip
    assert np.abs(images - of_run).max() <= 1
