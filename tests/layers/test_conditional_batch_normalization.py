"""Conditional batch normalisation against NumPy, alone and over replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import ConditionalBatchNormalization

SHAPE = (6, 4, 5, 3)
LABELS = np.array([0, 2, 2, 1, 0, 2], "int32")


def inputs_of(shape=SHAPE):
    return (3 * np.random.default_rng(1).normal(size=shape) + 2).astype("float32")


def random_layer(**arguments):
    """A layer of three classes whose tables are random."""
    layer = ConditionalBatchNormalization(3, **arguments)
    layer.build([SHAPE, (SHAPE[0],)])
    rng = np.random.default_rng(0)
    layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.get_weights()])
    return layer


def by_numpy(inputs, labels, gamma, beta, mean, variance, epsilon):
    outputs = np.empty_like(inputs)
    for row, label in enumerate(labels):
        normalized = (inputs[row] - mean) / np.sqrt(variance + epsilon)
        outputs[row] = gamma[label] * normalized + beta[label]
    return outputs


def test_training_takes_the_moments_of_the_whole_batch():
    inputs, layer = inputs_of(), random_layer(momentum=0.75, epsilon=0.01)
    before = [
        np.array(v) for v in (layer.normalization.moving_mean, layer.normalization.moving_variance)
    ]
    outputs = layer([inputs, LABELS], training=True)
    mean, variance = inputs.mean((0, 1, 2)), inputs.var((0, 1, 2))  # of all classes
    expected = by_numpy(
        inputs, LABELS, np.array(layer.gamma), np.array(layer.beta), mean, variance, 0.01
    )
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    moving = layer.normalization.moving_mean, layer.normalization.moving_variance
    for found, old, new in zip(moving, before, (mean, variance)):
        np.testing.assert_allclose(found, 0.75 * old + 0.25 * new, rtol=1e-4)


def test_without_training_the_moving_moments():
    inputs, layer = inputs_of(), random_layer()
    mean, variance = layer.normalization.moving_mean, layer.normalization.moving_variance
    expected = by_numpy(
        inputs, LABELS, np.array(layer.gamma), np.array(layer.beta),
        np.array(mean), np.array(variance), 1e-3,
    )  # fmt: skip
    np.testing.assert_allclose(layer([inputs, LABELS]), expected, atol=1e-4)


def test_classes_start_alike():
    layer = ConditionalBatchNormalization(num_classes=3)
    outputs = np.array(layer([inputs_of(), LABELS], training=True))
    np.testing.assert_array_equal(layer.gamma, np.ones((3, 3)))
    np.testing.assert_array_equal(layer.beta, np.zeros((3, 3)))
    np.testing.assert_allclose(outputs.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std((0, 1, 2)), 1, atol=1e-3)
    # Four variables, two of them trained: the inner layer has no scale and offset of its own.
    assert len(layer.weights) == 4 and len(layer.trainable_weights) == 2


def test_gradients_reach_the_rows_of_the_classes_in_the_batch():
    layer = random_layer()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer([inputs_of(), np.array([0, 2, 2, 0, 0, 2])], training=True))
    gamma, beta = (
        np.array(tf.convert_to_tensor(gradient))
        for gradient in tape.gradient(total, [layer.gamma.value, layer.beta.value])
    )
    np.testing.assert_allclose(beta, [[60.0] * 3, [0.0] * 3, [60.0] * 3])  # 3 images of 4 x 5
    assert np.abs(gamma[0]).min() > 0 and np.abs(gamma[2]).min() > 0
    np.testing.assert_array_equal(gamma[1], 0)


def test_two_replicas_take_the_moments_of_the_global_batch(mirrored):
    inputs = inputs_of((8, 4, 5, 3))
    inputs[4:] += 5.0  # the replicas' own moments are far apart
    labels = np.arange(8, dtype="int32") % 3
    expected = ConditionalBatchNormalization(3, momentum=0.5)
    outputs = expected([inputs, labels], training=True)
    with mirrored.scope():
        layer = ConditionalBatchNormalization(3, momentum=0.5)
        layer.build([inputs.shape, labels.shape])
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(8)

    @tf.function
    def step(*pair):
        return mirrored.run(lambda x, y: layer([x, y], training=True), pair)

    batch = next(iter(mirrored.experimental_distribute_dataset(data)))
    parts = mirrored.experimental_local_results(step(*batch))
    assert len(parts) == 2
    np.testing.assert_allclose(tf.concat(parts, 0), outputs, atol=1e-4)
    for found, wanted in zip(layer.get_weights(), expected.get_weights()):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_bfloat16():
    layer = ConditionalBatchNormalization(3, dtype="mixed_bfloat16")
    outputs = layer([inputs_of(), LABELS], training=True)
    assert outputs.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    inputs = inputs_of()
    expected = (inputs - inputs.mean((0, 1, 2))) / inputs.std((0, 1, 2))
    np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, atol=0.05)


def test_in_a_functional_model_that_saves_and_loads(tmp_path):
    inputs, labels = keras.Input(SHAPE[1:]), keras.Input((), dtype="int32")
    layer = ConditionalBatchNormalization(3, momentum=0.5, epsilon=0.25, name="norm")
    model = keras.Model([inputs, labels], layer([inputs, labels]))
    assert model.output_shape == (None, *SHAPE[1:])
    layer.gamma.assign(np.arange(9).reshape(3, 3))
    model([inputs_of(), LABELS], training=True)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert again.get_layer("norm").get_config() == layer.get_config()
    np.testing.assert_array_equal(again([inputs_of(), LABELS]), model([inputs_of(), LABELS]))


@pytest.mark.parametrize("shapes", [SHAPE, [SHAPE], [(6, 3), (6,)], [SHAPE, (6, 3)]], ids=str)
def test_what_it_does_not_take(shapes):
    with pytest.raises(InputError, match="takes .inputs, labels. of shapes") as caught:
        ConditionalBatchNormalization(3).build(shapes)
    assert str(shapes) in str(caught.value)
