"""The generator of shifts and the clip discriminator: sizes, parameters by hand, what they see."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization
from keras_genimg.networks import shift_generator, video_discriminator


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


def test_the_parameters_of_the_generator_by_hand():
    network = shift_generator((28, 28, 1), 6, 3, filters=8, maps=4)
    grids = 6 * 7 * 7 * 32 + 16 * (32 * 16 + 16 * 4)  # 7x7 -> 14x14 -> 28x28
    image = 9 * 4 * 4 + 9 * 4 + 1
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trainable == grids + 2 * (32 + 16 + 4 + 4) + image  # gammas and betas
    assert network.input_shape == (None, 9) and network.output_shape == (None, 28, 28, 1)
    assert shift_generator((16, 32, 3), 6, 3).output_shape == (None, 16, 32, 3)


def test_motion_moves_frames_and_changes_nothing_else():
    keras.utils.set_random_seed(0)
    network = shift_generator((16, 32, 1), 6, 3, filters=8)
    content = np.random.default_rng(0).normal(size=(1, 6)).astype("float32")
    still, moved, other = (
        network(np.concatenate([content, [motion]], axis=1).astype("float32")).numpy()
        for motion in ([0, 0, 0], [0.5, -0.25, 0], [0, 0, 0.9])
    )
    assert np.ptp(still) > 0
    # 0.5 of a quarter of 16 rows down, 0.25 of one of 32 columns to the left, but for the borders.
    np.testing.assert_allclose(moved[0, 4:14, 2:26], still[0, 2:12, 4:28], atol=1e-6)
    np.testing.assert_array_equal(other, still)


def test_one_number_of_motion_is_refused():
    with pytest.raises(InputError, match="motion_dim must be"):
        shift_generator((16, 16, 1), 6, 1)
