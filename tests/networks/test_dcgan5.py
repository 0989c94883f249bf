"""The five-layer DCGAN: its sizes layer by layer and its parameters by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import (
    BatchNormalization,
    MinibatchStandardDeviation,
    SpectralNormalization,
)
from keras_genimg.networks import dcgan5_discriminator, dcgan5_generator


def kinds(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def sizes(network, kind):
    return [layer.output.shape[1:] for layer in kinds(network, kind)]


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_64x64_layer_by_layer():
    generator = dcgan5_generator((64, 64, 3), 100)
    assert sizes(generator, keras.layers.Conv2DTranspose) == [
        (4, 4, 512), (8, 8, 256), (16, 16, 128), (32, 32, 64), (64, 64, 3)
    ]  # fmt: skip
    discriminator = dcgan5_discriminator((64, 64, 3))
    assert sizes(discriminator, keras.layers.Conv2D) == [
        (32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512), (1, 1, 1)
    ]  # fmt: skip


def test_32x32_layer_by_layer():
    generator = dcgan5_generator((32, 32, 3), 100)
    assert sizes(generator, keras.layers.Conv2DTranspose) == [
        (4, 4, 512), (4, 4, 256), (8, 8, 128), (16, 16, 64), (32, 32, 3)
    ]  # fmt: skip
    discriminator = dcgan5_discriminator((32, 32, 3))
    assert sizes(discriminator, keras.layers.Conv2D) == [
        (16, 16, 64), (8, 8, 128), (4, 4, 256), (4, 4, 512), (1, 1, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("side", [32, 64])
def test_parameters_by_hand(side):
    generator = dcgan5_generator((side, side, 3), 100)
    kernels = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    gammas_and_betas = 2 * (512 + 256 + 128 + 64)
    assert count(generator.trainable_weights) == kernels + gammas_and_betas + 3
    discriminator = dcgan5_discriminator((side, side, 3))
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    gammas_and_betas = 2 * (128 + 256 + 512)
    assert count(discriminator.trainable_weights) == kernels + gammas_and_betas + 64 + 1
    for network in (generator, discriminator):
        for layer in kinds(network, (keras.layers.Conv2D, keras.layers.Conv2DTranspose)):
            assert layer.kernel_size == (4, 4)


@pytest.mark.parametrize("shape", [(32, 32, 1), (64, 64, 4), (32, 64, 3)], ids=str)
def test_what_they_compute(shape):
    keras.utils.set_random_seed(0)
    generator = dcgan5_generator(shape, 7, filters=4)
    latents = np.random.default_rng(0).normal(size=(32, 7)).astype("float32")
    # By the moments of the batch: by those of a fresh network nearly nothing would come out.
    images = generator(latents, training=True).numpy()
    assert images.shape == (32, *shape) and images.dtype == np.float32
    assert np.abs(images).max() <= 1 and images.std(0).min() > 0  # every pixel is made
    discriminator = dcgan5_discriminator(shape, filters=4)
    tensor = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        logits = discriminator(tensor)
    assert logits.shape == (32, 1) and logits.dtype == tf.float32
    assert np.abs(tape.gradient(logits, tensor)).max(axis=(0, 3)).min() > 0  # and seen


def test_batch_normalization_where_the_paper_has_it():
    discriminator = dcgan5_discriminator((64, 64, 3), filters=4)
    names = [type(layer).__name__ for layer in discriminator.layers]
    middle = ["Conv2D", "BatchNormalization", "LeakyReLU"]
    expected = ["InputLayer", "Conv2D", "LeakyReLU", *3 * middle, "Conv2D", "Flatten"]
    assert names == expected
    generator = dcgan5_generator((64, 64, 3), 7, filters=4)
    names = [type(layer).__name__ for layer in generator.layers]
    middle = ["Conv2DTranspose", "BatchNormalization", "ReLU"]
    assert names == ["InputLayer", "Reshape", *4 * middle, "Conv2DTranspose", "Activation"]


def test_spectral_normalization_of_every_layer():
    network = dcgan5_discriminator((32, 32, 3), filters=4, spectral_normalization=True)
    assert len(kinds(network, SpectralNormalization)) == 5
    assert not kinds(network, (keras.layers.Conv2D, BatchNormalization))
    kernels = 16 * (3 * 4 + 4 * 8 + 8 * 16 + 16 * 32 + 32)
    assert count(network.trainable_weights) == kernels + 4 + 8 + 16 + 32 + 1


def test_minibatch_standard_deviation_stands_before_the_last_layer():
    network = dcgan5_discriminator((32, 32, 3), filters=4, minibatch_standard_deviation=True)
    (layer,) = kinds(network, MinibatchStandardDeviation)
    assert layer.output.shape == (None, 4, 4, 33)
    assert kinds(network, keras.layers.Conv2D)[-1].kernel.shape == (4, 4, 33, 1)


def test_initial_weights_have_the_papers_deviation():
    keras.utils.set_random_seed(0)
    kernels = [
        layer.kernel
        for network in (dcgan5_generator((32, 32, 3), 100), dcgan5_discriminator((32, 32, 3)))
        for layer in kinds(network, (keras.layers.Conv2D, keras.layers.Conv2DTranspose))
    ]
    assert len(kernels) == 10
    for kernel in kernels:
        assert np.std(kernel) == pytest.approx(0.02, rel=0.05)


def test_mixed_bfloat16_still_gives_32_bit_images_and_logits(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        generator = dcgan5_generator((32, 32, 3), 7, filters=4)
        discriminator = dcgan5_discriminator((32, 32, 3), filters=4, spectral_normalization=True)
    finally:
        keras.config.set_dtype_policy("float32")
    images = generator(np.zeros((2, 7), "float32"))
    assert (images.dtype, discriminator(images).dtype) == (tf.float32, tf.float32)
    generator.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    np.testing.assert_array_equal(again(np.zeros((2, 7), "float32")), images)


@pytest.mark.parametrize("build", [lambda shape: dcgan5_generator(shape, 7), dcgan5_discriminator])
def test_other_sizes_are_refused(build):
    for shape in ((28, 28, 1), (128, 128, 3), (33, 32, 3)):
        with pytest.raises(InputError, match="heights and widths of 32 and 64") as caught:
            build(shape)
        assert f"Received: {shape[0]}x{shape[1]}." in str(caught.value)
    with pytest.raises(InputError, match="three positive integers"):
        build((32, 32))
