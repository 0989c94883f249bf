"""ImageGrid writes the right images at the right epochs, with metadata."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS
from PIL import Image

from keras_genimg.callbacks import ImageGrid
from keras_genimg.callbacks import image_grid as image_grid_module
from keras_genimg.errors import InputError
from keras_genimg.plotting import image_grid


class Generator(keras.Model):
    """Generates noise by seed, brighter by `level`; reconstructs by inverting."""

    def __init__(self, step=0.0):
        super().__init__()
        self.level = self.add_weight(shape=(), initializer="zeros", name="level")
        self.step = step
        self.calls = []

    def train_step(self, data):
        self.level.assign_add(self.step)
        return {"loss": self.level * 1.0}

    def generate(self, num_images, seed=None, **labels):
        self.calls.append((num_images, seed, labels))
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (num_images, 4, 4, 1))
        return (noise + self.level.numpy()).astype("float32")

    def reconstruct(self, images):
        return -images


def fit(model, epochs, callback):
    model.compile()
    model.fit(np.zeros((1, 1), "float32"), epochs=epochs, verbose=0, callbacks=[callback])
    return model


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def expected(grid):
    """A grid as the callback writes it: grey, enlarged to at most 512 pixels."""
    scale = 512 // max(grid.shape)
    return grid[..., 0].repeat(scale, axis=0).repeat(scale, axis=1)


def test_same_latents_each_epoch(tmp_path):
    fit(Generator(), 3, ImageGrid(tmp_path / "samples", num_images=6))
    files = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in files] == [f"epoch-000{i}.png" for i in (1, 2, 3)]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 4, 4, 1)).astype("float32")
    for file in files:
        np.testing.assert_array_equal(pixels(file), expected(image_grid(noise)))


@pytest.mark.slow
def test_images_change_with_the_model_and_the_seed(tmp_path):
    fit(Generator(step=0.25), 2, ImageGrid(tmp_path / "a", num_images=4))
    fit(Generator(step=0.25), 2, ImageGrid(tmp_path / "b", num_images=4, seed=1))
    first, second = (pixels(tmp_path / "a" / f"epoch-000{i}.png") for i in (1, 2))
    assert (second >= first).all() and (second > first).any()
    assert (pixels(tmp_path / "b" / "epoch-0001.png") != first).any()


def test_every_and_arguments_of_generate(tmp_path):
    model = fit(Generator(), 5, ImageGrid(tmp_path, num_images=4, seed=9, every=2))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch-0002.png", "epoch-0004.png"]
    assert model.calls == [(4, 9, {})] * 2


def test_labels_are_passed_when_given(tmp_path):
    model = fit(Generator(), 1, ImageGrid(tmp_path, num_images=3, labels=[0, 1, 2]))
    number, seed, options = model.calls[0]
    assert (number, seed, options["labels"]) == (3, 0, [0, 1, 2])


def test_png_has_its_metadata(tmp_path):
    fit(Generator(), 2, ImageGrid(tmp_path, num_images=4, seed=5))
    with Image.open(tmp_path / "epoch-0002.png") as image:
        assert image.mode == "L"
        text = image.text
    assert text.pop("Software").startswith("keras_genimg ")
    assert text == {"model": "Generator", "seed": "5", "epoch": "2", "generated": "yes"}


def test_originals_and_reconstructions_alternate(tmp_path):
    images = np.linspace(-1, 1, 5 * 2 * 2, dtype="float32").reshape(5, 2, 2, 1)
    fit(Generator(), 1, ImageGrid(tmp_path, images=images))
    white = np.ones((3, 2, 2, 1), "float32")
    rows = [images[:4], -images[:4], images[4:], white, -images[4:], white]
    grid = image_grid(np.concatenate(rows), columns=4)
    np.testing.assert_array_equal(pixels(tmp_path / "epoch-0001.png"), expected(grid))
    with Image.open(tmp_path / "epoch-0001.png") as image:
        assert image.text["generated"] == "every second row"


def test_originals_are_enlarged_to_the_translations(tmp_path):
    class Enlarger(keras.Model):
        def train_step(self, data):
            return {"loss": tf.zeros(())}

        def translate(self, images):
            return np.zeros((len(images), 4, 4, 1), "float32")

    images = np.array([-1.0, 1.0], "float32").reshape(2, 1, 1, 1) * np.ones((2, 2, 2, 1), "float32")
    fit(Enlarger(), 1, ImageGrid(tmp_path, images=images))
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    grid = image_grid(np.concatenate([large, np.zeros((2, 4, 4, 1))]), columns=2)
    np.testing.assert_array_equal(pixels(tmp_path / "epoch-0001.png"), expected(grid))


def test_num_images_limits_images(tmp_path):
    images = np.zeros((10, 2, 2, 1), "float32")
    assert len(ImageGrid(tmp_path, num_images=4, images=images).images) == 4


def test_tensorboard_gets_the_grid(tmp_path):
    log_dir = tmp_path / "logs"
    fit(Generator(), 2, ImageGrid(tmp_path / "samples", num_images=4, log_dir=log_dir))
    steps = {}
    for file in log_dir.iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                # width, height, PNG
                steps[event.step] = (value.tag, value.tensor.string_val[2])
    assert sorted(steps) == [1, 2]
    tag, png = steps[2]
    assert tag == "samples"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 4, 4, 1)).astype("float32")
    np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), image_grid(noise))


def test_only_the_chief_writes_and_every_worker_computes(tmp_path, monkeypatch):
    monkeypatch.setattr(image_grid_module, "is_chief", lambda strategy: False)
    model = fit(Generator(), 2, ImageGrid(tmp_path / "a", num_images=4, log_dir=tmp_path / "b"))
    assert len(model.calls) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_images": 0},
        {"every": 0},
        {"labels": [1, 2], "num_images": 3},
        {"images": np.zeros((4, 4, 1), "float32")},
    ],
)
def test_arguments_are_checked(tmp_path, arguments):
    with pytest.raises(InputError, match="Received"):
        ImageGrid(tmp_path, **arguments)


@pytest.mark.parametrize("images", [None, np.zeros((1, 2, 2, 1), "float32")])
def test_model_must_have_the_method(tmp_path, images):
    class Mute(keras.Model):
        def train_step(self, data):
            return {"loss": tf.zeros(())}

    with pytest.raises(InputError, match="Received: Mute"):
        fit(Mute(), 1, ImageGrid(tmp_path, images=images))


@pytest.mark.parametrize("name", ["cnn_classifier", "pix2pix", "code_transformer", "vq_vae"])
def test_models_that_do_not_generate_are_refused_when_training_begins(tmp_path, name):
    callback = ImageGrid(tmp_path)
    callback.set_model(MODELS[name]())
    with pytest.raises(InputError, match="generate"):
        callback.on_train_begin()


def test_targets_are_a_third_row(tmp_path):
    images = np.linspace(-1, 1, 5 * 2 * 2, dtype="float32").reshape(5, 2, 2, 1)
    targets = images[::-1] / 2
    fit(Generator(), 1, ImageGrid(tmp_path, images=images, targets=targets))
    white = np.ones((3, 2, 2, 1), "float32")
    parts = (images, -images, targets)
    rows = [part[:4] for part in parts] + [np.concatenate([part[4:], white]) for part in parts]
    grid = image_grid(np.concatenate(rows), columns=4)
    np.testing.assert_array_equal(pixels(tmp_path / "epoch-0001.png"), expected(grid))
    with Image.open(tmp_path / "epoch-0001.png") as image:
        assert image.text["generated"] == "the second of every three rows"
    for given in ({"images": images}, {}):
        with pytest.raises(InputError, match="one target per image of images. Received: 4 targets"):
            ImageGrid(tmp_path, targets=targets[:4], **given)
