"""The fused, synchronised batch normalisation equals Keras's own layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization

ARGUMENTS = [
    {},
    {"momentum": 0.7, "epsilon": 0.1},
    {"scale": False},
    {"center": False},
]


def pair(inputs, **arguments):
    """Ours and Keras's, with the same random weights."""
    ours, theirs = BatchNormalization(**arguments), keras.layers.BatchNormalization(**arguments)
    rng = np.random.default_rng(0)
    for layer in (ours, theirs):
        layer.build(inputs.shape)
    weights = [rng.uniform(0.5, 2, weight.shape) for weight in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def inputs_of(shape):
    return (3 * np.random.default_rng(1).normal(size=shape) + 2).astype("float32")


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 3), (4, 5, 6, 3)], ids=str)
def test_outputs_gradients_and_statistics(shape, arguments):
    inputs = tf.constant(inputs_of(shape))
    ours, theirs = pair(inputs, **arguments)
    arriving = inputs_of(shape)[::-1]
    results = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            total = tf.reduce_sum(outputs * arriving)
        sources = [inputs, *(weight.value for weight in layer.trainable_variables)]
        results.append([outputs, *tape.gradient(total, sources)])
    for mine, other in zip(*results):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)
    for mine, other in zip(ours.get_weights(), theirs.get_weights()):
        np.testing.assert_allclose(mine, other, rtol=1e-5)
    # With the statistics that the step has left.
    np.testing.assert_allclose(ours(inputs), theirs(inputs), rtol=1e-5, atol=1e-5)


def test_statistics_by_hand():
    layer = BatchNormalization(momentum=0.75)
    layer.build((None, 1))
    layer(np.array([[1.0], [3.0], [5.0], [7.0]], "float32"), training=True)
    # Mean 4 and the biased variance 5 of the batch, from 0 and 1.
    np.testing.assert_allclose(layer.moving_mean, [0.25 * 4], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.75 + 0.25 * 5], rtol=1e-6)


def test_without_training_nothing_moves():
    inputs = inputs_of((4, 5, 6, 3))
    ours, _ = pair(inputs)
    before = ours.get_weights()
    ours(inputs)
    ours.trainable = False
    ours(inputs, training=True)
    for weight, value in zip(ours.get_weights(), before):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("shape", [(64, 3), (4, 5, 6, 3)], ids=str)
def test_bfloat16(shape):
    inputs = inputs_of(shape)
    layer = BatchNormalization(momentum=0.5, dtype="mixed_bfloat16")
    outputs = layer(inputs, training=True)
    assert outputs.dtype == tf.bfloat16
    axes = tuple(range(len(shape) - 1))
    expected = (inputs - inputs.mean(axes)) / np.sqrt(inputs.var(axes) + layer.epsilon)
    np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, atol=0.05)
    for weight in layer.weights:
        assert weight.dtype == "float32"
    np.testing.assert_allclose(layer.moving_mean, 0.5 * inputs.mean(axes), rtol=1e-2)
    assert layer(inputs).dtype == tf.bfloat16


def test_in_a_functional_model_that_saves_and_loads(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 2)), BatchNormalization(momentum=0.5)])
    inputs = inputs_of((3, 4, 4, 2))
    model(inputs, training=True)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert type(again.layers[0]) is BatchNormalization and again.layers[0].momentum == 0.5
    np.testing.assert_array_equal(again(inputs), model(inputs))


def test_only_the_last_axis():
    with pytest.raises(InputError, match="last axis.*axis=1"):
        BatchNormalization(axis=1)(inputs_of((2, 3, 3, 4)), training=True)
