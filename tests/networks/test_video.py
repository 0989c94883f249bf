"""The clip discriminator: sizes layer by layer, parameters by hand, every pixel seen."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization
from keras_genimg.networks import video_discriminator


def convolutions(network):
    return [layer for layer in network.layers if isinstance(layer, keras.layers.Conv3D)]


@pytest.mark.parametrize(
    "shape, frames, grids",
    [
        ((28, 28, 1), 16, [(8, 14, 14, 16), (4, 7, 7, 32), (2, 4, 4, 64)]),
        ((16, 32, 3), 3, [(2, 8, 16, 16), (2, 4, 8, 32), (2, 4, 4, 64)]),
        ((16, 16, 1), 2, [(2, 8, 8, 16), (2, 4, 4, 32)]),
    ],
    ids=str,
)
def test_height_width_and_time_are_halved(shape, frames, grids):
    network = video_discriminator(shape, frames)
    assert [layer.output.shape[1:] for layer in convolutions(network)] == grids
    assert network.input_shape == (None, frames, *shape) and network.output_shape == (None, 1)
    names = [type(layer).__name__ for layer in network.layers]
    later = ["Conv3D", "BatchNormalization", "LeakyReLU"] * (len(grids) - 1)
    assert names == ["InputLayer", "Conv3D", "LeakyReLU", *later, "Flatten", "Dense"]


def test_parameters_by_hand():
    network = video_discriminator((28, 28, 1), 16, filters=4, widest=8, kernel_size=3)
    kernels = 27 * (1 * 4 + 4 * 8 + 8 * 8) + 2 * 4 * 4 * 8
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trainable == kernels + 4 + 2 * (8 + 8) + 1  # biases, gammas and betas
    network = video_discriminator((28, 28, 1), 16)
    deviations = [np.std(layer.kernel) for layer in convolutions(network)]
    np.testing.assert_allclose(deviations, 0.02, rtol=0.1)


def test_it_sees_every_pixel_and_the_order_of_frames():
    keras.utils.set_random_seed(0)
    network = video_discriminator((16, 16, 1), 6, filters=4)
    clips = tf.constant(np.random.default_rng(0).normal(size=(16, 6, 16, 16, 1)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(clips)
        logits = network(clips, training=True)
        first = logits[0]
    assert logits.shape == (16, 1) and logits.dtype == tf.float32
    assert np.abs(tape.gradient(first, clips)).max(axis=(0, 4)).min() > 0
    assert np.abs(network(clips[:, ::-1], training=True) - logits).max() > 1e-3


def test_a_clip_has_two_frames_or_more():
    with pytest.raises(InputError, match="an integer of at least 2. Received: num_frames=1"):
        video_discriminator((16, 16, 1), 1)


def test_mixed_bfloat16_still_gives_32_bit_logits(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = video_discriminator((16, 16, 1), 2, filters=4)
    finally:
        keras.config.set_dtype_policy("float32")
    clips = np.ones((2, 2, 16, 16, 1), "float32")
    assert network(clips).dtype == tf.float32
    normalizations = [layer for layer in network.layers if isinstance(layer, BatchNormalization)]
    assert normalizations and normalizations[0].compute_dtype == "bfloat16"
    network.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    np.testing.assert_array_equal(again(clips), network(clips))
