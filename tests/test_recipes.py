"""Recipes are complete, their models can be made, and the command line trains by them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_genimg
from keras_genimg.cli import main
from keras_genimg.data import DataInfo, load
from keras_genimg.errors import InputError
from keras_genimg.recipes import read_recipe, recipe_names
from keras_genimg.runs import likelihood, training, using
from keras_genimg.runs.binarization import binarized_as_trained
from keras_genimg.runs.folder import start_from
from keras_genimg.runs.likelihood import measure_likelihood
from keras_genimg.runs.registry import model_class
from keras_genimg.runs.settings import DEFAULTS

SETS = {
    "mnist": DataInfo((28, 28, 1), 60_000, 10), "cifar10": DataInfo((32, 32, 3), 50_000, 10),
    "emoji": DataInfo((64, 64, 3), 3_432, 9),
    "noto": DataInfo((64, 64, 3), 1_716, 9), "twemoji": DataInfo((64, 64, 3), 1_716, 9),
    "moving_glyphs": DataInfo((28, 28, 1), 20_000, 10),
    "moving_mnist": DataInfo((28, 28, 1), 60_000, 10),
}  # fmt: skip
PRIORS = [name for name in recipe_names() if "data" not in read_recipe(name)["settings"]]
SMALL = ["--data", "glyphs", "--image-size", "16", "--batch-size", "8", "--steps-per-epoch", "2"]


def refused(capfd, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("keras-genimg: error: "), lines
    return lines[0]


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_what_it_reproduces(name):
    recipe = read_recipe(name)
    assert recipe["about"].endswith(".") and recipe["differs"] and recipe["measure"]
    for published in recipe["published"]:
        assert set(published) == {"value", "what", "source"} and published["value"] > 0


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in PRIORS])
def test_the_model_of_a_recipe_can_be_made(name, monkeypatch):
    recipe = read_recipe(name)
    settings = {**DEFAULTS, **recipe["settings"]}
    info = SETS[settings["data"]]
    black = -np.ones((2, *info.image_shape), "float32")  # so that no set need be there
    monkeypatch.setattr(training, "_some_images", lambda *_: black)
    info_b = SETS[settings["data_b"]] if settings["data_b"] else None
    model = training._make_model(model_class(recipe["model"]), settings, info, info_b)
    # A rate that falls to the end of training has fallen by then, and not before.
    steps = settings["epochs"] * (
        settings["steps_per_epoch"] or info.num_images // settings["batch_size"]
    )
    rate = getattr(model.optimizer, "_learning_rate", None)  # the optimizers of a GAN have one each
    assert getattr(rate, "decay_steps", steps) == steps


def test_the_prior_of_emoji_is_over_the_codes_of_the_models_of_emoji():
    assert PRIORS == ["code_transformer_emoji"]
    gan, vae = (read_recipe(f"vq_{name}_emoji")["settings"] for name in ("gan", "vae"))
    more = {"content_network", "perceptual_weight", "adversarial_weight", "adversarial_start_step"}
    shared = {k: v for k, v in gan["set"].items() if k not in more}
    schedules = [each["set"]["learning_rate"]["config"] for each in (gan, vae)]
    for each, schedule in zip((gan, vae), schedules):  # the same, each over its own steps
        assert schedule.pop("decay_steps") == each["epochs"] * (SETS["emoji"].num_images // 32)
    assert schedules[0] == schedules[1]
    assert {**shared, "data_variance": vae["set"]["data_variance"]} == vae["set"]
    settings = read_recipe("code_transformer_emoji")["settings"]
    given = dict(settings["set"])
    rate = given.pop("learning_rate")
    side = 64 // vae["set"]["downsampling"]
    prior = keras_genimg.CodeTransformer((side, side), num_classes=9, **given)
    prior.compile(learning_rate=rate)
    steps = settings["epochs"] * -(-SETS["emoji"].num_images // settings["batch_size"])
    assert prior.optimizer._learning_rate.decay_steps == steps


def test_the_variances_are_those_of_the_training_sets(real_data):
    """Of their first pictures, that is: another scale would be off by far more."""
    for name in ("vq_vae_mnist", "vq_vae_cifar10"):
        settings = read_recipe(name)["settings"]
        data = load(settings["data"], batch_size=2000, num_images=2000, data_dir=real_data)
        variance = np.var(next(iter(data)).numpy(), dtype="float64")
        assert settings["set"]["data_variance"] == pytest.approx(variance, rel=0.03)


@pytest.mark.slow
def test_a_recipe_trains_with_what_is_given_before_it_and_is_resumed(tmp_path, capfd, monkeypatch):
    seen = []
    fit = keras_genimg.VAE.fit

    def looking_fit(self, data, **arguments):
        seen.append([images.numpy() for images in data.take(4)])
        return fit(self, data, **arguments)

    monkeypatch.setattr(keras_genimg.VAE, "fit", looking_fit)
    folder = tmp_path / "run"
    command = ["train", "--recipe", "vae_mnist", "--output", str(folder)]
    assert main([*command, *SMALL, "--set", "latent_dim=7", "--epochs", "1"]) == 0
    record = record_of(folder)
    settings = record["settings"]
    assert (settings["recipe"], record["model"], record["class"]) == ("vae_mnist", "vae", "VAE")
    assert (
        settings["binarize"] == "dynamic"
        and settings["batch_size"] == 8
        and settings["epochs"] == 1
    )
    recipe = read_recipe("vae_mnist")["settings"]
    assert settings["set"] == {**recipe["set"], "latent_dim": 7}
    assert record["compile"]["optimizer"]["config"]["learning_rate"]["class_name"] == "CosineDecay"

    # Resumed, the run keeps what it was given, and the recipe cannot be another.
    assert main([*command, "--resume", "--epochs", "2"]) == 0
    assert record_of(folder)["settings"] == {**settings, "epochs": 2}
    capfd.readouterr()
    other = refused(
        capfd, "train", "--recipe", "vae_mnist_continued", "--output", folder, "--resume"
    )
    assert "recipe='vae_mnist_continued' (was 'vae_mnist')" in other

    # The rate goes on where it was: 4 steps of the 480,000 are done, on the pictures, and by
    # the draws, that the unbroken run would have been handed.
    model = keras.saving.load_model(folder / "model.keras")
    assert int(model.optimizer.iterations) == 4
    assert model.optimizer._learning_rate.decay_steps == 480_000
    whole, resumed = seen
    assert set(np.unique(whole)) == {-1, 1}
    np.testing.assert_array_equal(resumed[:2], whole[2:])


def test_list_names_the_recipes(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out.split("\n\n")[1]
    for name in recipe_names():
        assert f"\n{name} " in listed and read_recipe(name)["about"] in listed


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["--recipe", "vae_mnits"],
            ["must be one of code_transformer_emoji, conditional_gan_", "did you mean vae_mnist"],
        ),
        (["gan", "--recipe", "vae_mnist"], ["vae_mnist trains vae", "Received: gan."]),
        ([], ["train takes MODEL", "--recipe NAME"]),
        (["--recipe", "conv_iwae_mnist", "--start-from", "nowhere", "--data", "glyphs"],
         ["nowhere, which does not exist"]),
        (["vae", "--binarize", "static"], ["one of dynamic, threshold. Received: 'static'."]),
        (["pix2pix", "--binarize", "dynamic"], ["Pix2Pix is not. Received: --binarize dynamic."]),
        (["vae", "--set", 'learning_rate={"class_name": "Cosine", "config": {}}'], ["CosineDecay"]),
        (["vae", "--set", 'network_options={"depth": 3}'], ["filters, kernel_size, widest"]),
    ],
    ids=range(8),
)  # fmt: skip
def test_refusals_write_nothing(arguments, words, tmp_path, capfd):
    message = refused(capfd, "train", *arguments, "--output", tmp_path / "run")
    for word in words:
        assert word in message, message
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_of_unknown_settings_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_genimg.recipes.reading.FOLDER", tmp_path)
    content = dict.fromkeys(("about", "published", "differs", "measure", "model"), "")
    (tmp_path / "mine.json").write_text(json.dumps({**content, "epoch": 3}))
    with pytest.raises(InputError, match="Received: epoch in mine."):
        read_recipe("mine")


# ---------------------------------------------------------- black and white pictures


@pytest.mark.slow
def test_pictures_to_measure_are_one_draw_whatever_the_batches():
    def drawn(batch_size, seed=0, kind="dynamic", **options):
        data = load(
            "glyphs", "test", batch_size=batch_size, image_size=16, num_images=10, **options
        )
        made = binarized_as_trained(data, {"binarize": kind}, seed)
        assert int(made.cardinality()) == int(data.cardinality())
        return made

    def joined(dataset):
        return np.concatenate([images.numpy() for images in dataset])

    whole = joined(drawn(10))
    dataset = drawn(4)
    for _ in range(2):  # each pass alike
        np.testing.assert_array_equal(joined(dataset), whole)
    assert set(np.unique(whole)) == {-1, 1}
    assert (joined(drawn(10, seed=1)) != whole).any()
    for images, labels in drawn(10, with_labels=True):
        np.testing.assert_array_equal(images, whole)
        assert labels.dtype == tf.int32
    grey = joined(drawn(10, kind=None))
    np.testing.assert_array_equal(joined(drawn(10, kind="threshold")), np.where(grey >= 0, 1, -1))
    certain = np.abs(grey) == 1
    np.testing.assert_array_equal(whole[certain], grey[certain])


@pytest.mark.slow
def test_a_binarised_run(tmp_path, capfd, monkeypatch):
    folder = tmp_path / "run"
    command = [
        "train",
        "vae",
        *SMALL,
        "--epochs",
        "2",
        "--binarize",
        "dynamic",
        "--output",
        str(folder),
    ]
    networks = [
        "--set",
        "networks=mlp",
        "--set",
        'network_options={"units": [9]}',
        "--set",
        "latent_dim=3",
    ]
    assert main([*command, *networks]) == 0
    assert record_of(folder)["settings"]["binarize"] == "dynamic"
    model = keras.saving.load_model(folder / "model.keras")
    data = load("glyphs", "test", batch_size=20, image_size=16, num_images=20)
    images = next(iter(binarized_as_trained(data, {"binarize": "dynamic"}))).numpy()

    def measured(*arguments):
        capfd.readouterr()
        assert main(["evaluate", str(folder), "--data", "glyphs", "--count", "20", *arguments]) == 0
        return json.loads((folder / "metrics.json").read_text()), capfd.readouterr().out

    # The losses are those of the same draw; reconstruction has noise of its own.
    results, _ = measured()
    z_mean, z_log_var = model.encoder(images)
    kl = 0.5 * np.sum(z_mean**2 + np.exp(z_log_var) - 1 - z_log_var, axis=1)
    assert results["metrics"]["kl_loss"] == pytest.approx(kl.mean(), rel=1e-4)

    results, printed = measured("--metrics", "log_likelihood", "--importance-samples", "40")
    expected = -model.log_likelihood(images, num_samples=40, seed=0)
    assert results["metrics"]["nll"] == pytest.approx(expected.mean(), rel=1e-6)
    error = expected.std(ddof=1) / 20**0.5
    assert results["metrics"]["nll_standard_error"] == pytest.approx(error, rel=1e-6)
    assert results["log_likelihood"] == {
        "images": 20, "importance_samples": 40, "binarize": "dynamic", "seed": 0,
    }  # fmt: skip
    assert f"{expected.mean():.4f}" in printed

    # Beside a metric of samples, whose real pictures are binarised too.
    class Distance:
        def __init__(self, real, metrics, **options):
            seen.append((next(iter(real)).numpy(), metrics))

        def set_model(self, model):
            pass

        def on_train_begin(self):
            pass

        def evaluate(self):
            return {"distance": 2.0}

    seen = []
    monkeypatch.setattr(using, "EvaluateSamples", Distance)
    both, _ = measured(
        "--metrics", "distance", "log_likelihood", "--importance-samples", "40", "--features", "any"
    )
    assert both["metrics"] == {**results["metrics"], "distance": 2.0}
    ((real, names),) = seen
    assert names == ["distance"]
    np.testing.assert_array_equal(real[:20], images)

    message = refused(capfd, "evaluate", folder, "--data", "glyphs", "--importance-samples", 3)
    assert "needs --metrics log_likelihood" in message


def batches(images, labels=None):
    data = images if labels is None else (images, labels)
    return tf.data.Dataset.from_tensor_slices(data).batch(4)


def test_likelihood_of_models_that_know_it_and_of_others(pictures):
    images = np.where(pictures[:9] >= 0, 1, -1).astype("float32")
    pixel_cnn = keras_genimg.PixelCNN((16, 16, 1), 2, filters=4, layers=1)
    values, how = measure_likelihood(pixel_cnn, batches(images))
    nats = -pixel_cnn.log_likelihood(images)
    assert values["nll"] == pytest.approx(nats.mean(), rel=1e-5) and how == {"images": 9}
    error = nats.std(ddof=1) / 3
    assert values["nll_standard_error"] == pytest.approx(error, rel=1e-4)
    assert values["bits_per_dim"] == pytest.approx(nats.mean() / 256 / np.log(2), rel=1e-5)
    with pytest.raises(
        InputError, match="computes log p.x. without importance samples. Received: 3"
    ):
        measure_likelihood(pixel_cnn, batches(images), 3)

    labels = np.arange(9) % 4
    vae = keras_genimg.ConditionalVAE((16, 16, 1), 4, 3, networks="mlp")
    values, how = measure_likelihood(vae, batches(images, labels), 20, seed=5)
    expected = -vae.log_likelihood(images, labels, num_samples=20, seed=5)
    assert values["nll"] == pytest.approx(expected.mean(), rel=1e-6)
    assert how == {"images": 9, "importance_samples": 20} and "bits_per_dim" not in values
    with pytest.raises(InputError, match="needs binarised images"):
        measure_likelihood(vae, batches(pictures[:9], labels), 20)
    for kind, has_bits in (("gaussian", False), ("discretized_logistic", True)):
        vae = keras_genimg.VAE((16, 16, 1), 3, networks="mlp", likelihood=kind)
        values, _ = measure_likelihood(vae, batches(pictures[:9]), 2)
        assert ("bits_per_dim" in values) == has_bits
    assert values["bits_per_dim"] == pytest.approx(values["nll"] / 256 / np.log(2), rel=1e-6)
    with pytest.raises(InputError, match="Received: a run of VQVAE."):
        measure_likelihood(keras_genimg.VQVAE((16, 16, 1)), batches(images))


def test_a_long_measurement_tells_how_far_it_is(pictures, capsys, monkeypatch):
    monkeypatch.setattr(likelihood, "AT_ONCE", 4)
    monkeypatch.setattr(likelihood, "PATIENCE", 0)
    pixel_cnn = keras_genimg.PixelCNN((16, 16, 1), 2, filters=4, layers=1)
    measure_likelihood(pixel_cnn, batches(pictures[:9]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["4 of 9 images", "8 of 9 images"]


def test_an_iwae_starts_with_the_weights_of_a_vae(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    options = {"networks": "mlp", "network_options": {"units": [8]}}
    vae = keras_genimg.VAE((16, 16, 1), 4, **options)
    vae.save(tmp_path / "model.keras")
    iwae = keras_genimg.models.IWAE((16, 16, 1), 4, **options)
    start_from(iwae, tmp_path)
    for weight, expected in zip(iwae.get_weights(), vae.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    conditional = keras_genimg.ConditionalVAE((16, 16, 1), 10, 4, **options)
    for other in (conditional, keras_genimg.models.IWAE((16, 16, 1), 5, **options)):
        with pytest.raises(InputError, match="same networks: .* Received: .*, VAE with"):
            start_from(other, tmp_path)
