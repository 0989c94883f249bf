"""Input that cannot be used: one sentence with what was given and what is wanted."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, SHAPE, dataset, smooth_pictures
from matrix import Lazy, default_or_slow

from keras_genimg import GAN, VAE, VQVAE, CNNClassifier, InputError
from keras_genimg.core import Labels

ROOT = pathlib.Path(__file__).parent.parent
NAN, INFINITY = float("nan"), float("inf")


def assert_refused(call, *words):
    """The call raises one plain sentence that holds all of the words."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and "\x1b" not in message and len(message) <= 400, message
    for word in words:
        assert word in message, message


def gan(**arguments):
    return GAN(SHAPE, 4, **{"networks": "mlp", **arguments})


def vae(**arguments):
    return VAE(SHAPE, 4, **{"networks": "mlp", **arguments})


def classifier(**arguments):
    return CNNClassifier(SHAPE, num_classes=4, filters=(2,), **arguments)


@pytest.fixture(scope="module")
def compiled():
    def make(name):
        model = MODELS[name]()
        model.compile()
        return model

    return Lazy(make)


# A model for each kind of data that begins with images of this shape: without labels, with them.
IMAGES_ALONE, IMAGES_AND_LABELS = (
    next(name for name, case in MODELS.items() if str(case.data) == data)
    for data in ("images", "(images, labels)")
)
ENCODERS = [
    name for name, case in MODELS.items() if case.has("encode") and not case.data.part(Labels)
]


# -------------------------------------------------------------------------- images


WRONG_IMAGES = {
    "uint8": (np.zeros((4, *SHAPE), "uint8"), ["floating-point", "[-1, 1]", "127.5", "uint8"]),
    "integers": (np.zeros((4, *SHAPE), "int64"), ["floating-point", "int64"]),
    "0 to 255": (np.full((4, *SHAPE), 255.0, "float32"), ["[-1, 1]", "from 255 to 255"]),
    "below -1": (np.full((4, *SHAPE), -1.5, "float32"), ["[-1, 1]", "from -1.5 to -1.5"]),
    "nan": (np.full((4, *SHAPE), NAN, "float32"), ["[-1, 1]", "NaN or infinity in"]),
    "one infinite": (
        np.where(np.arange(4).reshape(4, 1, 1, 1) == 2, INFINITY, np.zeros((4, *SHAPE))),
        ["[-1, 1]", "NaN or infinity in 256 of"],
    ),
    "channels": (
        np.zeros((4, 16, 16, 3), "float32"),
        ["('batch', 16, 16, 1)", "('batch', 16, 16, 3)"],
    ),
    "size": (np.zeros((4, 28, 28, 1), "float32"), ["('batch', 16, 16, 1)", "('batch', 28, 28, 1)"]),
    "no channels": (np.zeros((4, 16, 16), "float32"), ["16, 16, 1)", "('batch', 16, 16)"]),
    "none": (np.zeros((0, *SHAPE), "float32"), ["at least one image"]),
}


@pytest.mark.parametrize("given", ["array", "tensor", "dataset"])
@pytest.mark.parametrize("kind", WRONG_IMAGES)
@pytest.mark.parametrize("name", [IMAGES_ALONE, IMAGES_AND_LABELS])
def test_images(name, kind, given, compiled):
    model = compiled[name]
    before = model.get_weights()
    images, words = WRONG_IMAGES[kind]
    if kind == "none" and given == "dataset":
        words = ["at least one batch"]
    labels = np.zeros(len(images), int) if model.data.part(Labels) else None
    if given == "dataset":
        data = images if labels is None else (images, labels)
        arguments = (tf.data.Dataset.from_tensor_slices(data).batch(4),)
    else:
        arguments = (tf.constant(images) if given == "tensor" else images, labels)
    assert_refused(lambda: model.fit(*arguments, verbose=0), type(model).__name__, *words)
    assert_refused(lambda: model.evaluate(*arguments, verbose=0), *words)
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("name", [IMAGES_ALONE, *ENCODERS])
def test_validation_images(name, compiled):
    images = smooth_pictures(4)
    wrong = np.zeros((4, *SHAPE), "uint8")
    model = compiled[name]
    assert_refused(lambda: model.fit(images, validation_data=wrong, verbose=0), "uint8")
    other = tf.data.Dataset.from_tensor_slices(wrong).batch(2)
    assert_refused(lambda: model.fit(images, validation_data=other, verbose=0), "uint8")


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
@pytest.mark.parametrize("kind", WRONG_IMAGES)
def test_images_of_autoencoders(kind, method, compiled):
    images, words = WRONG_IMAGES[kind]
    for name in ENCODERS:
        assert_refused(lambda: getattr(compiled[name], method)(images), *words)


def test_images_of_features(compiled):
    for method in ("features", "classify"):
        images, words = WRONG_IMAGES["uint8"]
        assert_refused(lambda: getattr(compiled["cnn_classifier"], method)(images), *words)


def test_nothing_at_all(compiled):
    assert_refused(lambda: compiled["gan"].fit(verbose=0), "GAN needs images", "Received: None")


# -------------------------------------------------------------------------- labels


IMAGES = smooth_pictures(8)
WRONG_LABELS = {
    "missing": (None, ["(images, labels)", "(batch,)", "Received: images alone"]),
    "too large": ([0, 1, 2, 3, 4, 0, 0, 0], ["integers from 0 to 3", "Received: 0 to 4"]),
    "negative": ([0, 1, 2, 3, -1, 0, 0, 0], ["integers from 0 to 3", "Received: -1 to 3"]),
    "fractions": ([0.5] * 8, ["integers from 0 to 3", "Received: 0.5 to 0.5"]),
    "one-hot": (np.eye(8, 4), ["(batch,)", "one integer per image", "Received: (8, 4)"]),
}


@pytest.mark.parametrize("kind", WRONG_LABELS)
@pytest.mark.parametrize("given", ["array", "dataset"])
def test_labels(kind, given, compiled):
    labels, words = WRONG_LABELS[kind]
    labels = None if labels is None else np.array(labels)
    if given == "dataset":
        words = [word.replace("(8, 4)", "(None, 4)") for word in words]
        data = IMAGES if labels is None else (IMAGES, labels)
        arguments = (tf.data.Dataset.from_tensor_slices(data).batch(8),)
    else:
        arguments = (IMAGES, labels)
    assert_refused(lambda: compiled["cnn_classifier"].fit(*arguments, verbose=0), *words)


def test_labels_of_another_length(compiled):
    model = compiled["cnn_classifier"]
    labels = np.zeros(7, int)
    assert_refused(
        lambda: model.fit(IMAGES, labels, verbose=0), "one label per image", "7 labels for 8 images"
    )


# ----------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: gan(seed=1.5), ["seed must be a 64-bit integer or None", "seed=1.5"]),
        (lambda: GAN(SHAPE, 0), ["latent_dim must be a positive integer", "latent_dim=0"]),
        (lambda: VAE(SHAPE, -2), ["latent_dim must be a positive integer", "latent_dim=-2"]),
        (lambda: VAE(SHAPE, 2.0), ["latent_dim must be a positive integer", "latent_dim=2.0"]),
        (lambda: VQVAE(SHAPE, 0), ["num_embeddings must be a positive", "num_embeddings=0"]),
        (lambda: VQVAE(SHAPE, 8, -1), ["embedding_dim must be", "embedding_dim=-1"]),
        (lambda: VQVAE(SHAPE, commitment_cost=NAN), ["commitment_cost", "finite", "nan"]),
        (lambda: CNNClassifier(SHAPE, 0), ["num_classes must be", "num_classes=0"]),
        (lambda: gan(ema_decay=2), ["ema_decay must be", "below 1", "ema_decay=2"]),
        (lambda: gan(ema_decay=1.0), ["ema_decay must be", "below 1", "ema_decay=1.0"]),
        (lambda: gan(ema_decay=NAN), ["ema_decay must be", "ema_decay=nan"]),
        (lambda: vae(beta=INFINITY), ["beta must be a finite number", "beta=inf"]),
        (lambda: vae(beta="1"), ["beta must be a finite number", "beta='1'"]),
        (lambda: vae(kl_warmup_steps=-5), ["kl_warmup_steps must be", "kl_warmup_steps=-5"]),
        (lambda: gan(loss="hing"), ["loss must be one of", "hinge", "'hing'"]),
        (lambda: gan(noise="gaussian"), ["noise must be one of normal, uniform", "'gaussian'"]),
        (
            lambda: gan(networks="cnn"),
            ["networks must be one of dcgan, fastgan, mlp, dense_conv", "'cnn'"],
        ),
        (lambda: vae(networks="dcgan"), ["networks must be one of conv, mlp", "'dcgan'"]),
        (lambda: vae(likelihood="poisson"), ["likelihood must be one of bernoulli", "'poisson'"]),
        (lambda: vae(likelihood=["bernoulli"]), ["likelihood must be one of", "['bernoulli']"]),
        (lambda: gan(noise=["normal"]), ["noise must be one of", "['normal']"]),
        (lambda: gan(networks=3), ["networks must be one of", "3"]),
        (lambda: vae(networks=["mlp"]), ["networks must be one of", "['mlp']"]),
        (lambda: GAN((30, 30, 1)), ["multiples of 4", "32x32", "30x30"]),
        (lambda: GAN((28, 28)), ["(height, width, channels)", "(28, 28)"]),
    ],
)
def test_arguments(make, words):
    assert_refused(make, *words)


@pytest.mark.parametrize("rate", [NAN, INFINITY, -1.0, "fast"])
@pytest.mark.parametrize("make", [gan, vae, classifier])
def test_learning_rates(make, rate):
    model = make()
    assert_refused(lambda: model.compile(learning_rate=rate), "learning_rate", "finite", repr(rate))
    if isinstance(rate, str):
        return
    name = next(iter(model.default_optimizers()))
    optimizer = keras.optimizers.Adam(rate)
    assert_refused(lambda: model.compile(**{name: optimizer}), name, "finite number", repr(rate))


def test_compile(compiled):
    assert_refused(
        lambda: gan().compile("sgd", learning_rate=0.1), "learning_rate=0.1", "generator_optimizer"
    )
    assert_refused(lambda: gan().compile(steps_per_execution=0), "steps_per_execution=0")
    assert_refused(lambda: gan().compile(loss="mse"), "generator_optimizer", "Received: loss")


def test_a_learning_rate_of_zero_is_taken_at_its_word():
    for make in (gan, vae, classifier, MODELS["vq_vae"]):
        model = make()
        model.compile(learning_rate=0.0)
        for name in model.default_optimizers():
            assert float(getattr(model, name).learning_rate) == 0.0


def test_a_schedule_is_a_learning_rate_too():
    model = vae()
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10)))
    model.fit(IMAGES, verbose=0)


# --------------------------------------------------------------- training gone wrong


@pytest.mark.parametrize(
    "name", default_or_slow(MODELS, ["gan", "vae", "code_transformer"], fifth=1)
)
def test_a_loss_that_is_not_finite_stops_training(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    model.save(tmp_path / "good.keras")
    good = (tmp_path / "good.keras").read_bytes()
    # PixelCNN's last ReLUs fall silent, and its loss is a sum of biases: 1e30 leaves it finite.
    rate = 1e37 if name.startswith("pixel_cnn") else 1e30
    optimizers = {key: keras.optimizers.SGD(rate) for key in model.default_optimizers()}
    model.compile(**optimizers)
    steps = []
    callbacks = [
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch)),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "good.keras"), save_freq="epoch"),
    ]
    data = dataset(smooth_pictures(64), model, 8)
    with pytest.raises(InputError) as caught:
        model.fit(data, epochs=50, verbose=0, callbacks=callbacks)
    message = str(caught.value)
    assert " became " in message and "A lower learning rate" in message
    assert f"at step {len(steps) + 1} of epoch 1; training stopped" in message
    assert "\n" not in message and len(message) <= 400
    assert (tmp_path / "good.keras").read_bytes() == good  # not written over


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_step_is_the_one_that_went_wrong():
    """Infinite images reach the model in the third step of the second epoch only."""
    model = vae()
    model.compile(keras.optimizers.SGD(0.0))
    count = iter(range(100))

    def batches():
        for _ in range(4):
            yield np.full((2, *SHAPE), NAN if next(count) == 7 else 0.0, "float32")

    data = tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec((None, *SHAPE), tf.float32)
    )
    # The check of the first batch takes one: 1 (check), then 4 + 2, then the eighth.
    assert_refused(lambda: model.fit(data, epochs=3, verbose=0), "in step 3 of epoch 2")


# ------------------------------------------------------- generating, saving, the backend


@keras.saving.register_keras_serializable(package="test_bad_input")
class LazyGenerator(keras.Model):
    """Makes its layers when it first meets inputs, as people write them."""

    def build(self, input_shape):
        self.dense = keras.layers.Dense(256, activation="tanh")
        self.dense.build(input_shape)
        self.built = True

    def call(self, latents, training=False):
        return keras.ops.reshape(self.dense(latents), (-1, *SHAPE))


def test_generate_before_anything_was_built():
    """The constructor builds what is built lazily, so that there is always something to use."""
    model = gan(generator=LazyGenerator())
    images = model.generate(3, seed=1)
    assert images.shape == (3, *SHAPE) and np.std(images) > 0.01
    np.testing.assert_allclose(model.generator(model.draw_latents(3, 1)), images, atol=1e-5)


@pytest.mark.parametrize("path", ["model", "model.h5", "model.keras.zip", "folder/"])
def test_save_elsewhere(path, tmp_path):
    path = str(tmp_path / path)
    assert_refused(lambda: vae().save(path), "ending in .keras", path)
    assert os.listdir(tmp_path) == []


def test_save_over_a_file(tmp_path):
    path = tmp_path / "x.keras"
    path.write_bytes(b"mine")
    assert_refused(lambda: vae().save(path, overwrite=False), str(path), "overwrite=True")
    assert path.read_bytes() == b"mine"


def test_save_to_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "x.keras"
    model = vae()
    model.save(path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("zipfile.ZipFile.writestr", full)
    assert_refused(lambda: model.save(path), f"{path} could not be written", "No space left")
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.keras"]
    keras.saving.load_model(path)


def test_save_to_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system can be mounted by root on Linux only")
    try:
        words = "could not be written", "No space left"
        assert_refused(lambda: vae().save(disk / "x.keras"), *words)
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("how", ["environment", "keras.json"])
def test_another_backend_of_keras(backend, how, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = str(ROOT)
    if how == "environment":
        environment["KERAS_BACKEND"] = backend
    else:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": backend}))
        environment["KERAS_HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "import keras_genimg"],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message == (
        "keras_genimg.errors.InputError: keras_genimg needs the TensorFlow backend of Keras; set "
        f"the environment variable KERAS_BACKEND=tensorflow. Received: backend '{backend}'."
    )


def test_a_py_dataset_is_looked_at_too(compiled):
    class Wrong(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return np.full((4, *SHAPE), 7.0, "float32")

    assert_refused(lambda: compiled["vae"].fit(Wrong(), verbose=0), "[-1, 1]", "from 7 to 7")


def test_optimizers_that_cannot_be_used():
    assert_refused(lambda: gan().compile("bogus"), "generator_optimizer", "bogus", "adam")
    adam = keras.optimizers.Adam()
    assert_refused(lambda: gan().compile(adam, adam), "needs a separate optimizer", "Adam")
    assert_refused(
        lambda: gan().compile("sgd", learning_rate=0.1), "learning_rate", "generator_optimizer"
    )
