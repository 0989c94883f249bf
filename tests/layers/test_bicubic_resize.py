"""BicubicResize: Pillow's numbers, at the edges too."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_genimg.layers import BicubicResize


def noise(height, width, limit, channels=1):
    rng = np.random.default_rng(0)
    return rng.uniform(-limit, limit, (2, height, width, channels)).astype("float32")


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [(8, 6), (16, 12), (64, 48), (20, 30), (32, 24)], ids=str)
def test_values_are_those_of_pillow(size, channels):
    images = noise(32, 24, limit=0.6, channels=channels)
    found = BicubicResize(*size)(images).numpy()
    assert found.shape == (2, *size, channels) and found.dtype == np.float32
    for image_in, made in zip(images, found):
        for channel in range(channels):
            image = Image.fromarray(image_in[..., channel], "F")
            expected = image.resize(size[::-1], Image.Resampling.BICUBIC)
            np.testing.assert_allclose(made[..., channel], expected, atol=1e-6)
    assert np.abs(found).max() < 1  # nothing was clipped: the comparison is of the kernel


def test_halving_by_hand():
    lines = np.zeros((1, 8, 16, 1), "float32")
    lines[0, :, 7] = 1.0  # a line from top to bottom: one axis counts
    found = BicubicResize(8, 8)(lines)[0, 0, :, 0]
    # New pixel i lies at 2 i + 0.5, the line at 7: at half the distance, where the kernel is
    # stretched by 2, whose weights then add up to 2.
    near = [1.5 * d**3 - 2.5 * d**2 + 1 for d in (0.25, 0.75)]
    far = [-0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 for d in (1.25, 1.75)]
    # Distances of pixels 2 to 5: 2.5, 0.5, 1.5, 3.5.
    expected = np.array([0, 0, far[0], near[0], near[1], far[1], 0, 0]) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_overshoots_is_clipped():
    edge = np.where(np.arange(8) < 4, -1.0, 1.0)[None, None, :, None] * np.ones((1, 8, 8, 1))
    found = BicubicResize(32, 32)(edge.astype("float32")).numpy()
    assert found.min() == -1 and found.max() == 1
    ones = np.ones((1, 16, 16, 3), "float32")  # up to the edges
    np.testing.assert_allclose(BicubicResize(4, 4)(ones), 1.0, atol=1e-6)


def test_it_is_float32_and_saved_and_has_a_gradient():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = BicubicResize(4, 8)
    finally:
        keras.config.set_dtype_policy(policy)
    images = tf.constant(noise(8, 8, limit=0.5))
    with tf.GradientTape() as tape:
        tape.watch(images)
        made = layer(images)
    assert made.dtype == tf.float32 and layer.weights == []
    # Each new pixel takes weights that add up to 1.
    assert float(tf.reduce_sum(tape.gradient(made, images))) == pytest.approx(2 * 4 * 8, rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    np.testing.assert_array_equal(again(images), made)
    assert layer.compute_output_shape((None, 8, 8, 3)) == (None, 4, 8, 3)


def test_xla_makes_the_same():
    images = noise(16, 16, limit=0.5)
    compiled = tf.function(BicubicResize(8, 8).call, jit_compile=True)
    np.testing.assert_allclose(
        compiled(tf.constant(images)), BicubicResize(8, 8)(images), atol=1e-6
    )
