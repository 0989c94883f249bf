"""Dropout: what is kept, how often, and when."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import Dropout


def test_zeros_a_share_and_keeps_the_mean():
    inputs = np.ones((200, 50), "float32")
    outputs = Dropout(0.3, seed=1)(inputs, training=True).numpy()
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / 0.7], rtol=1e-6)
    # 10,000 draws: a standard deviation of the share of 0.0046.
    assert (outputs == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert np.std((outputs == 0).mean(0)) > 0.01  # not the same mask for every image


def test_the_kept_units_keep_their_values():
    inputs = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype("float32")
    outputs = Dropout(0.5, seed=1)(inputs, training=True).numpy()
    kept = outputs != 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(outputs[kept], 2 * inputs[kept], rtol=1e-6)


def test_the_gradient_is_the_mask():
    inputs = tf.ones((8, 8))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = Dropout(0.5, seed=1)(inputs, training=True)
    np.testing.assert_array_equal(tape.gradient(outputs, inputs), outputs)


def test_without_training_or_with_rate_zero_it_is_the_identity():
    inputs = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    np.testing.assert_array_equal(Dropout(0.9)(inputs), inputs)
    np.testing.assert_array_equal(Dropout(0.9)(inputs, training=False), inputs)
    np.testing.assert_array_equal(Dropout(0.0)(inputs, training=True), inputs)


def test_masks_differ_from_call_to_call_and_repeat_by_seed():
    inputs = np.ones((8, 8), "float32")
    layer, again, other = Dropout(0.5, seed=1), Dropout(0.5, seed=1), Dropout(0.5, seed=2)
    first, second = layer(inputs, training=True), layer(inputs, training=True)
    assert (first != second).numpy().any()
    np.testing.assert_array_equal(again(inputs, training=True), first)
    np.testing.assert_array_equal(again(inputs, training=True), second)
    assert (other(inputs, training=True) != first).numpy().any()


def test_bfloat16():
    outputs = Dropout(0.5, seed=1, dtype="mixed_bfloat16")(np.ones((8, 8)), training=True)
    assert outputs.dtype == tf.bfloat16
    assert set(np.unique(tf.cast(outputs, "float32"))) == {0.0, 2.0}


def test_configuration():
    layer = Dropout.from_config(Dropout(0.25, seed=3).get_config())
    assert layer.rate == 0.25 and layer.seed == 3


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan"), "half", None])
def test_bad_rates(rate):
    with pytest.raises(
        InputError, match="rate must be a number of at least 0 and below 1"
    ) as caught:
        Dropout(rate)
    assert f"rate={rate!r}" in str(caught.value)
