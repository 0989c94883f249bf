"""U-Net, PatchGAN and the residual translator: sizes, receptive fields, noise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import networks
from keras_genimg.errors import InputError

SIZES = [(16, 16), (20, 28), (28, 28), (32, 32), (36, 64), (100, 44)]
NARROW = {"filters": 4, "widest": 8}


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_shapes(size):
    source, image = (*size, 1), (*size, 3)
    for network in (
        networks.unet(source, image, **NARROW),
        networks.residual_translator(source, image, filters=4, blocks=1),
    ):
        assert network.input_shape == (None, *source)
        assert network.output_shape == (None, *image)
    made = networks.unet(image, source, **NARROW)(np.zeros((2, *image), "float32"))
    assert made.shape == (2, *source) and made.dtype == "float32" and np.abs(made).max() <= 1
    patches = (None, -(-size[0] // 4), -(-size[1] // 4), 1)
    single = networks.patchgan_discriminator(image, **NARROW)
    assert single.input_shape == (None, *image) and single.output_shape == patches
    pair = networks.patchgan_discriminator(image, source, normalization="instance", **NARROW)
    assert pair.input_shape == [(None, *source), (None, *image)] and pair.output_shape == patches


def test_the_largest_size():
    shape = (256, 256, 3)
    network = networks.unet(shape, shape, **NARROW)
    assert network.output_shape == (None, *shape)
    grids = [layer.output.shape[1] for layer in network.layers if type(layer).__name__ == "Conv2D"]
    assert grids == [128, 64, 32, 16, 8, 4]
    network = networks.patchgan_discriminator(shape, levels=3, **NARROW)
    assert network.output_shape == (None, 32, 32, 1)


def changed_extent(function, images):
    """Rows and columns of the input that a scalar of it depends on, from first to last."""
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = function(images)
    touched = np.abs(tape.gradient(value, images)).max((0, 3)) > 0
    return [np.ptp(np.flatnonzero(touched.any(axis))) + 1 for axis in (1, 0)]


@pytest.mark.parametrize("levels, patch", [(1, 16), (2, 34), (3, 70)])
def test_a_logit_has_the_receptive_field_of_the_paper(levels, patch):
    network = networks.patchgan_discriminator((96, 96, 1), filters=2, levels=levels)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 96, 96, 1)).astype("float32")
    middle = network.output_shape[1] // 2
    seen = changed_extent(lambda x: network(x, training=False)[0, middle, middle, 0], images)
    assert seen == [patch, patch]


def test_both_images_of_a_pair_are_seen():
    network = networks.patchgan_discriminator((16, 16, 3), (16, 16, 1))
    rng = np.random.default_rng(0)
    source, image = (rng.uniform(-1, 1, (2, 16, 16, c)).astype("float32") for c in (1, 3))
    logits = network([source, image])
    for other in ([-source, image], [source, -image]):
        assert np.abs(network(other) - logits).min() > 0


def test_every_part_of_an_image_is_made_and_seen():
    """Odd grids are cut on the way up: no row or column may be a constant, nor be ignored."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (8, 44, 20, 1)).astype("float32")
    shape = images.shape[1:]
    for network in (networks.unet(shape, shape), networks.residual_translator(shape, shape)):
        assert np.array(network(images)).std(0).min() > 0
        seen = changed_extent(lambda x, f=network: tf.reduce_sum(f(x) ** 2), images)
        assert seen == [44, 20]


def test_the_skips_of_a_unet_carry_what_the_smallest_grid_cannot():
    """Without the way down to 4x4 the output still depends on the input, place by place."""
    network = networks.unet((32, 32, 1), (32, 32, 1))
    smallest = [layer for layer in network.layers if type(layer).__name__ == "Conv2D"][-1]
    smallest.kernel.assign(tf.zeros_like(smallest.kernel))
    images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 1)).astype("float32")
    rows, columns = changed_extent(lambda x: network(x)[0, 15, 15, 0], images)
    assert 4 <= rows <= 24 and 4 <= columns <= 24


def test_the_noise_of_a_unet_is_dropout_while_training():
    shape = (16, 16, 1)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)).astype("float32")
    keras.utils.set_random_seed(0)
    network = networks.unet(shape, shape, seed=1)
    np.testing.assert_array_equal(network(images), network(images))
    first, second = (network(images, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    keras.utils.set_random_seed(0)
    again = networks.unet(shape, shape, seed=1)
    np.testing.assert_array_equal(again(images, training=True), first)
    keras.utils.set_random_seed(0)
    without = networks.unet(shape, shape, dropout=0.0)
    np.testing.assert_array_equal(without(images, training=True), without(images, training=True))


def test_normalisation_of_a_translator_is_of_each_image_alone():
    network = networks.residual_translator((16, 16, 1), (16, 16, 1), filters=4)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)).astype("float32")
    together = network(images, training=True)
    alone = np.concatenate([network(images[i : i + 1], training=True) for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: networks.unet((16, 16, 1), (32, 32, 1)),
         "translate images into images of the same height and width. "
         "Received: 16x16 and 32x32."),
        (lambda: networks.residual_translator((16, 16, 1), (16, 20, 1)),
         "Received: 16x16 and 16x20."),
        (lambda: networks.unet((16, 16), (16, 16, 1)),
         "source_shape must be (height, width, channels), three positive integers."),
        (lambda: networks.unet((30, 30, 1), (30, 30, 1)), "the nearest that fits is 32x32"),
        (lambda: networks.residual_translator((16, 16, 1), (16, 16, 1), blocks=-1),
         "blocks must be an integer of at least 0. Received: blocks=-1."),
        (lambda: networks.patchgan_discriminator((16, 16, 1), normalization="layer"),
         "normalization must be one of batch, instance. Received: normalization='layer'."),
        (lambda: networks.patchgan_discriminator((16, 16, 1), levels=0),
         "levels must be a positive integer. Received: levels=0."),
    ],
    ids=range(7),
)  # fmt: skip
def test_invalid_arguments(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)
