"""InstanceNormalization against NumPy, and its gradient against that which TensorFlow derives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import InstanceNormalization


def example(dtype="float32"):
    rng = np.random.default_rng(0)
    layer = InstanceNormalization(epsilon=0.01)
    layer.build((None, 5, 4, 3))
    layer.gamma.assign([1.0, -2.0, 0.5])
    layer.beta.assign([0.0, 1.0, -1.0])
    return layer, rng.normal(2, 3, (6, 5, 4, 3)).astype(dtype)


@pytest.mark.parametrize("training", [True, False])
def test_each_channel_of_each_image_by_itself(training):
    layer, inputs = example()
    mean, variance = inputs.mean((1, 2), keepdims=True), inputs.var((1, 2), keepdims=True)
    expected = (inputs - mean) / np.sqrt(variance + 0.01) * [1, -2, 0.5] + [0, 1, -1]
    np.testing.assert_allclose(layer(inputs, training=training), expected, atol=1e-5)


def test_the_gradient_is_the_derived_one():
    layer, inputs = example()
    inputs = tf.constant(inputs)
    weights = np.random.default_rng(1).normal(size=inputs.shape).astype("float32")

    def gradients(training):
        with tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = layer(inputs, training=training)
                loss = tf.reduce_sum(weights * outputs + 0.1 * outputs**3)
            first = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
            penalty = tf.reduce_sum(first[0] ** 2)
        return [*first, outer.gradient(penalty, inputs)]  # as a gradient penalty takes it

    for found, expected in zip(gradients(True), gradients(False)):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_it_is_keras_normalisation_with_one_group_per_channel():
    layer, inputs = example()
    other = keras.layers.GroupNormalization(groups=-1, epsilon=0.01)
    other.build(inputs.shape)
    other.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(inputs), other(inputs), atol=1e-5)


def test_16_bits_go_through_32():
    layer, inputs = example()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = InstanceNormalization(epsilon=0.01)
        half.build(inputs.shape)
    finally:
        keras.config.set_dtype_policy(policy)
    outputs = half(inputs + 100.0, training=True)  # moments in 16 bits would know two digits of 102
    assert outputs.dtype == "bfloat16" and half.gamma.dtype == "float32"
    rounded = tf.cast(tf.cast(inputs + 100.0, tf.bfloat16), tf.float32)
    expected = InstanceNormalization(epsilon=0.01)(rounded)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.02)


def test_only_images_are_taken():
    with pytest.raises(InputError, match=r"takes inputs of shape .* Received: \(3, 4\)"):
        InstanceNormalization()(np.zeros((3, 4), "float32"))
