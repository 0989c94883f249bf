"""The residual networks: the paper's grids, counts by hand, and where the norms are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import GAN
from keras_genimg.errors import InputError
from keras_genimg.layers import (
    BatchNormalization,
    MinibatchStandardDeviation,
    SpectralNormalization,
)
from keras_genimg.networks import dcgan5_generator, resnet_discriminator, resnet_generator
from keras_genimg.networks.blocks import repeat_pixels

SIZES = [(16, 16), (28, 28), (32, 32), (44, 36), (48, 48), (64, 64), (16, 64), (100, 20)]


def kinds(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def grids(network):
    """The sizes of what the residual blocks add up to."""
    return [layer.output.shape[1:3] for layer in kinds(network, keras.layers.Add)]


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_shapes_and_values(size, channels):
    keras.utils.set_random_seed(0)
    shape = (*size, channels)
    generator = resnet_generator(shape, 5, filters=8)
    discriminator = resnet_discriminator(shape, filters=8, minibatch_standard_deviation=True)
    assert generator.output_shape == (None, *shape) and discriminator.output_shape == (None, 1)
    latents = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    images = generator(latents).numpy()
    assert images.shape == (8, *shape) and np.abs(images).max() <= 1
    assert images.std(0).min() > 0  # every pixel is made
    tensor = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        logits = discriminator(tensor)
    assert logits.shape == (8, 1)
    seen = np.abs(tape.gradient(logits, tensor)).max(axis=(0, 3))
    assert seen.min() > 0  # every pixel is seen


def test_pixels_are_repeated_and_cut():
    images = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype("float32")
    inputs = keras.Input((4, 3, 5))
    for large, repeats in (((8, 6), (2, 2)), ((8, 5), (2, 2)), ((4, 6), (1, 2)), ((7, 3), (2, 1))):
        found = keras.Model(inputs, repeat_pixels(inputs, large))(images)
        wanted = images.repeat(repeats[0], axis=1).repeat(repeats[1], axis=2)
        np.testing.assert_array_equal(found, wanted[:, : large[0], : large[1]])


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert_runs_the_generators(tmp_path):
    """With the interpreter's own operations: none of TensorFlow's, which phones do not have."""
    for name, make in (("resnet", resnet_generator), ("dcgan5", dcgan5_generator)):
        widths = {"filters": 4} if name == "resnet" else {}
        gan = GAN((32, 32, 3), 5, generator=make((32, 32, 3), 5, **widths), seed=0)
        path = gan.export(tmp_path / f"{name}.tflite", format="litert")
        latents = gan.draw_latents(2, 1)
        found = tf.lite.Interpreter(str(path)).get_signature_runner()(latents=latents.numpy())
        np.testing.assert_allclose(found["images"], gan.images_from_latents(latents), atol=1e-4)


def test_the_largest_size():
    assert resnet_generator((256, 256, 3), 5, filters=2).output_shape == (None, 256, 256, 3)
    assert resnet_discriminator((256, 256, 3), filters=2).output_shape == (None, 1)


def test_grids_of_the_paper():
    """Table 4: 4x4, three blocks to 32x32; 32x32, 16x16, 8x8, and two blocks more at 8x8."""
    assert grids(resnet_generator((32, 32, 3), 128, filters=2)) == [(8, 8), (16, 16), (32, 32)]
    down = [(16, 16), (8, 8), (8, 8), (8, 8)]
    assert grids(resnet_discriminator((32, 32, 3), filters=2)) == down
    # Table 5, STL-10: a grid of 6x6.
    assert grids(resnet_generator((48, 48, 3), 128, filters=2)) == [(12, 12), (24, 24), (48, 48)]


def test_generator_parameters_by_hand():
    network = resnet_generator((32, 32, 3), 128)
    c = 64
    dense = 128 * 16 * c + 16 * c
    conv = 9 * c * c + c
    block = 2 * conv + (c * c + c) + 2 * 2 * c  # two convolutions, a shortcut, two gammas and betas
    assert count(network.trainable_weights) == dense + 3 * block + 2 * c + (9 * c * 3 + 3)
    assert len(kinds(network, BatchNormalization)) == 7


def test_discriminator_parameters_by_hand():
    c = 64
    conv, shortcut = 9 * c * c + c, c * c + c
    expected = (
        (9 * 3 * c + c) + conv + (3 * c + c)  # from the image
        + (2 * conv + shortcut)  # the other that halves
        + 2 * 2 * conv  # shortcuts that are the identity
        + c + 1
    )  # fmt: skip
    for norm in (True, False):
        network = resnet_discriminator((32, 32, 3), spectral_normalization=norm)
        assert count(network.trainable_weights) == expected
        assert not kinds(network, BatchNormalization)
    # With one more channel into the last block, that has a shortcut of its own.
    network = resnet_discriminator((32, 32, 3), minibatch_standard_deviation=True)
    assert count(network.trainable_weights) == expected + 9 * c + ((c + 1) * c + c)


def test_spectral_normalization_of_every_layer_with_a_kernel():
    plain = (keras.layers.Conv2D, keras.layers.Dense)
    network = resnet_discriminator((32, 32, 3), filters=4)
    wrapped = kinds(network, SpectralNormalization)
    assert len(wrapped) == 4 * 2 + 2 + 1 and not kinds(network, plain)
    assert isinstance(wrapped[-1].layer, keras.layers.Dense)
    network = resnet_discriminator((32, 32, 3), filters=4, spectral_normalization=False)
    assert len(kinds(network, plain)) == 11 and not kinds(network, SpectralNormalization)


def test_global_sum_pooling():
    """A constant image: the logit grows with the number of positions, not their mean."""
    network = resnet_discriminator((32, 32, 1), filters=4, spectral_normalization=False)
    for weight in network.trainable_weights:
        weight.assign(np.zeros(weight.shape))
    network.layers[-1].kernel.assign(np.ones((4, 1)))
    kinds(network, keras.layers.Conv2D)[-1].bias.assign(np.full(4, 0.5))
    np.testing.assert_allclose(network(np.zeros((2, 32, 32, 1))), [[0.5 * 4 * 64]] * 2)


def test_minibatch_standard_deviation_stands_before_the_last_block():
    network = resnet_discriminator((32, 32, 3), filters=4, minibatch_standard_deviation=True)
    (layer,) = kinds(network, MinibatchStandardDeviation)
    assert layer.output.shape == (None, 8, 8, 5)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
    alone, among = network(images[:1]), network(images)
    assert abs(float(alone[0, 0] - among[0, 0])) > 1e-4  # the others are seen
    without = resnet_discriminator((32, 32, 3), filters=4)
    np.testing.assert_allclose(without(images[:1]), without(images)[:1], atol=1e-5)


def test_initial_weights_are_glorots_and_larger_on_the_residual_path():
    keras.utils.set_random_seed(0)
    network = resnet_generator((16, 16, 3), 128)
    kernels = [layer.kernel for layer in kinds(network, keras.layers.Conv2D)]
    for kernel in kernels:
        h, w, c_in, c_out = kernel.shape
        residual = h == 3 and c_out == 64
        variance = (2 if residual else 1) * 2 / (h * w * (c_in + c_out))
        assert np.var(kernel) == pytest.approx(variance, rel=0.1)


def test_mixed_bfloat16_still_gives_32_bit_images_and_logits(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        generator = resnet_generator((16, 16, 3), 5, filters=4)
        discriminator = resnet_discriminator(
            (16, 16, 3), filters=4, minibatch_standard_deviation=True
        )
    finally:
        keras.config.set_dtype_policy("float32")
    images = generator(np.zeros((2, 5), "float32"))
    assert (images.dtype, discriminator(images).dtype) == (tf.float32, tf.float32)
    discriminator.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    np.testing.assert_array_equal(again(images), discriminator(images))


@pytest.mark.parametrize("build", [lambda shape: resnet_generator(shape, 5), resnet_discriminator])
def test_other_sizes_are_refused(build):
    with pytest.raises(InputError, match="multiples of 4 from 16 to 256.*Received: 30x30"):
        build((30, 30, 3))
    with pytest.raises(InputError, match="three positive integers"):
        build((32, 32))
