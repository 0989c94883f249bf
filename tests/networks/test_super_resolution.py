"""The super-resolution network: bicubic before it learns, sub-pixels in their places."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import smooth_pictures

from keras_genimg.errors import InputError
from keras_genimg.layers import BicubicResize
from keras_genimg.networks import super_resolution_generator
from keras_genimg.networks.super_resolution import DepthToSpace, check_scale


def count(network, kind):
    return sum(isinstance(layer, kind) for layer in network.layers)


@pytest.mark.parametrize("shape, scale", [((16, 16, 1), 2), ((20, 16, 3), 4)], ids=str)
def test_untrained_it_is_bicubic_interpolation(shape, scale):
    network = super_resolution_generator(shape, scale, filters=4, blocks=2)
    low_shape = (shape[0] // scale, shape[1] // scale, shape[2])
    assert network.input_shape == (None, *low_shape) and network.output_shape == (None, *shape)
    low = np.random.default_rng(0).uniform(-1, 1, (3, *low_shape)).astype("float32")
    np.testing.assert_allclose(network(low), BicubicResize(*shape[:2])(low), atol=1e-6)
    # A doubling of the size is a convolution to four times the channels.
    assert count(network, DepthToSpace) == {2: 1, 4: 2}[scale]
    assert count(network, keras.layers.Conv2D) == 1 + 2 * 2 + {2: 1, 4: 2}[scale] + 1


def test_parameters_by_hand():
    network = super_resolution_generator((32, 32, 3), 4, filters=8, blocks=3)
    eight = 9 * 8 * 8 + 8
    convolutions = (9 * 3 * 8 + 8) + 6 * eight + 2 * (9 * 8 * 32 + 32) + (9 * 8 * 3 + 3)
    slopes = 8 * (1 + 3 + 2)  # of PReLU: the first, one per block, one per doubling
    assert network.count_params() == convolutions + slopes


def test_channels_become_pixels_in_order():
    channels = np.arange(8, dtype="float32").reshape(1, 1, 1, 8)  # (B, 1, 1, 4 * 2)
    found = DepthToSpace()(channels).numpy()
    assert DepthToSpace().compute_output_shape((None, 3, 5, 8)) == (None, 6, 10, 2)
    np.testing.assert_array_equal(found[0], [[[0, 1], [2, 3]], [[4, 5], [6, 7]]])


@pytest.mark.slow
def test_it_learns_what_interpolation_cannot():
    """To sharpen bars: below the error of bicubic interpolation, which it starts from."""
    keras.utils.set_random_seed(0)
    images = smooth_pictures(32, seed=1)
    images = np.sign(images)  # sharp edges
    low = BicubicResize(8, 8)(images)
    network = super_resolution_generator((16, 16, 1), 2, filters=8, blocks=1)
    start = float(tf.reduce_mean((network(low) - images) ** 2))
    network.compile(keras.optimizers.Adam(3e-3), "mse")
    network.fit(low, images, batch_size=32, epochs=40, verbose=0)
    made = network(low).numpy()
    assert np.mean((made - images) ** 2) < 0.7 * start
    assert np.abs(made).max() <= 1 and np.abs(made).max() == 1  # clipped, not squashed


def test_output_is_float32_under_a_mixed_policy():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = super_resolution_generator((16, 16, 3), 2, filters=4, blocks=1)
    finally:
        keras.config.set_dtype_policy(policy)
    low = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    made = network(low)
    assert made.dtype == tf.float32
    # The interpolated image itself is not rounded to bfloat16.
    np.testing.assert_allclose(made, BicubicResize(16, 16)(low), atol=1e-6)


@pytest.mark.parametrize(
    "shape, scale, words",
    [
        ((16, 16, 3), 3, "scale must be 2 or 4. Received: scale=3."),
        ((16, 16, 3), True, "scale must be 2 or 4. Received: scale=True."),
        ((16, 16, 3), "2", "scale must be 2 or 4. Received: scale='2'."),
        ((18, 16, 3), 2, "multiples of 4 from 16 to 256; the nearest that fits is 16x16"),
        ((16, 16), 2, "image_shape must be (height, width, channels)"),
    ],
)
def test_invalid_arguments(shape, scale, words):
    with pytest.raises(InputError) as caught:
        super_resolution_generator(shape, scale)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_scale_divides_the_sides():
    assert check_scale((18, 30, 3), 2) == (9, 15, 3)
    with pytest.raises(InputError, match="multiples of the scale, 4. Received: 18x16"):
        check_scale((18, 16, 3), 4)
