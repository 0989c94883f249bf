"""Shift: whole pixels, parts of pixels, its gradient, and its precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.layers import Shift

MAPS = np.random.default_rng(0).normal(size=(3, 5, 7, 2)).astype("float32")


def moved(image, down, right):
    """A shift by whole pixels, with zeros from outside."""
    result = np.zeros_like(image)
    height, width = image.shape[:2]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[row, column] = image[row - down, column - right]
    return result


def test_whole_pixels():
    shifts = np.array([[0, 0], [2, -3], [-9, 1]], "float32")
    found = Shift()([MAPS, shifts])
    expected = [moved(image, int(down), int(right)) for image, (down, right) in zip(MAPS, shifts)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found[0], MAPS[0], atol=1e-6)
    assert not np.any(found[2])  # all of it has left the map


def test_parts_of_pixels_are_interpolated():
    found = Shift()([MAPS, np.full((3, 2), [1.25, -0.5], "float32")])
    corners = {(1, 0): 0.75 * 0.5, (1, -1): 0.75 * 0.5, (2, 0): 0.25 * 0.5, (2, -1): 0.25 * 0.5}
    expected = sum(
        share * np.stack([moved(image, *corner) for image in MAPS])
        for corner, share in corners.items()
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_gradient_reaches_maps_and_shift():
    ramp = np.broadcast_to(np.arange(7.0, dtype="float32")[None, None, :, None], (1, 5, 7, 1))
    maps, shift = tf.Variable(ramp), tf.Variable([[0.0, 0.3]])
    with tf.GradientTape() as tape:
        middle = Shift()([maps, shift])[0, 2, 3, 0]
    d_maps, d_shift = tape.gradient(middle, [maps, shift])
    assert float(middle) == pytest.approx(2.7)
    np.testing.assert_allclose(d_maps[0, 2, 2:4, 0], [0.3, 0.7], atol=1e-6)
    assert float(tf.reduce_sum(tf.abs(d_maps))) == pytest.approx(1.0)
    assert float(d_shift[0, 1]) == pytest.approx(-1.0)  # the ramp rises by 1 per pixel


def test_positions_are_exact_under_a_16_bit_policy_and_it_is_saved(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        maps, shifts = keras.Input((5, 40, 1), dtype="bfloat16"), keras.Input((2,))
        model = keras.Model([maps, shifts], Shift()([maps, shifts]))
    finally:
        keras.config.set_dtype_policy("float32")
    ramp = tf.cast(np.broadcast_to(np.arange(40.0)[None, None, :, None], (1, 5, 40, 1)), "bfloat16")
    given = [ramp, tf.constant([[0.0, 20.03]])]
    found = model(given)
    assert found.dtype == tf.bfloat16
    # 0.97 in bfloat16 is 0.9688, by which the step to pixel 1 is multiplied; a shift of bfloat16
    # would be 20.
    assert float(found[0, 2, 21, 0]) == pytest.approx(0.97, abs=0.002)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    np.testing.assert_array_equal(tf.cast(again(given), "float32"), tf.cast(found, "float32"))
