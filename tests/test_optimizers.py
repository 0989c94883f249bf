"""Adam's fused kernel against the formula in NumPy, and against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import InputError
from keras_genimg.optimizers import Adam, LinearDecay


def minimise(optimizer, steps=20):
    """Weights after some steps on a fixed sequence of gradients."""
    numbers = np.random.default_rng(0)
    weights = [keras.Variable(numbers.normal(size=shape)) for shape in ((5, 3), (3,))]
    optimizer.build(weights)

    @tf.function
    def step(gradients):
        optimizer.apply_gradients(zip(gradients, weights))

    for _ in range(steps):
        step([tf.constant(numbers.normal(size=w.shape), tf.float32) for w in weights])
    return [w.numpy() for w in weights]


def test_one_step_by_hand():
    weight = keras.Variable([1.0, -2.0])
    optimizer = Adam(0.1, beta_1=0.5, beta_2=0.9, epsilon=1e-7)
    optimizer.build([weight])
    gradient = np.array([0.5, -4.0])
    optimizer.apply_gradients([(tf.constant(gradient, tf.float32), weight)])
    m, v = 0.5 * gradient, 0.1 * gradient**2
    rate = 0.1 * np.sqrt(1 - 0.9) / (1 - 0.5)
    np.testing.assert_allclose(
        weight.numpy(), [1.0, -2.0] - rate * m / (np.sqrt(v) + 1e-7), rtol=1e-6
    )
    np.testing.assert_allclose(optimizer._momentums[0].numpy(), m, rtol=1e-6)
    np.testing.assert_allclose(optimizer._velocities[0].numpy(), v, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"beta_1": 0.5},
        {"amsgrad": True},
        {"weight_decay": 0.1},
        {"clipnorm": 0.1},
        {"use_ema": True},
    ],
)
def test_agrees_with_keras(arguments):
    ours, theirs = (
        minimise(Adam(0.01, **arguments)),
        minimise(keras.optimizers.Adam(0.01, **arguments)),
    )
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_sparse_gradients_agree_with_keras():
    results = []
    for make in (Adam, keras.optimizers.Adam):
        table = keras.Variable(np.ones((4, 2)))
        optimizer = make(0.1)
        optimizer.build([table])
        slices = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), tf.constant([4, 2]))
        optimizer.apply_gradients([(slices, table)])
        results.append(table.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_one_and_two_replicas_agree(mirrored):
    results = []
    for scope in (tf.distribute.get_strategy(), mirrored):
        with scope.scope():
            weight = keras.Variable([1.0, -2.0])
            optimizer = Adam(0.1)
            optimizer.build([weight])

        @tf.function
        def step():
            share = 1.0 / tf.distribute.get_replica_context().num_replicas_in_sync
            optimizer.apply_gradients([(tf.constant([0.5, -4.0]) * share, weight)])

        for _ in range(3):
            scope.run(step)
        results.append(weight.numpy())
        assert int(optimizer.iterations.numpy()) == 3
    np.testing.assert_allclose(*results, rtol=1e-6)


# ------------------------------------------------------------------- a linear decay of the rate


def test_the_rate_is_constant_then_falls_to_zero():
    rate = LinearDecay(0.5, constant_steps=4, decay_steps=8)
    found = [float(rate(step)) for step in range(16)]
    assert found == [0.5] * 5 + [0.5 * left / 8 for left in range(7, 0, -1)] + [0.0] * 4
    assert float(LinearDecay(0.5, 0, 2)(tf.constant(1, tf.int64))) == 0.25
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert type(again) is LinearDecay and again.get_config() == rate.get_config()


@pytest.mark.parametrize(
    "arguments, words",
    [((-1.0, 1, 1), "initial_learning_rate"), ((1.0, -1, 1), "constant_steps=-1"),
     ((1.0, 1, 0), "decay_steps=0")],
)  # fmt: skip
def test_an_invalid_decay(arguments, words):
    with pytest.raises(InputError, match=words):
        LinearDecay(*arguments)
