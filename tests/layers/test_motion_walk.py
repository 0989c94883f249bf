"""MotionWalk against the equations of the gated recurrent unit in NumPy."""

import keras
import numpy as np
import pytest

from keras_genimg.layers import MotionWalk


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def walked(layer, noise):
    """h^(1), h^(2), ... by Cho et al. (2014), with a bias for each of the two products."""
    kernel, recurrent, (bias, recurrent_bias) = [w.astype("float64") for w in layer.get_weights()]
    state, path = noise[:, 0].astype("float64"), []
    for step in np.moveaxis(noise[:, 1:], 1, 0):
        x = np.split(step @ kernel + bias, 3, axis=1)
        h = np.split(state @ recurrent + recurrent_bias, 3, axis=1)
        update, reset = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
        state = update * state + (1 - update) * np.tanh(x[2] + reset * h[2])
        path.append(state)
    return np.stack(path, axis=1)


@pytest.fixture
def layer():
    keras.utils.set_random_seed(0)
    layer = MotionWalk()
    layer.build((None, None, 4))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    return layer


def test_values(layer):
    noise = np.random.default_rng(2).normal(size=(5, 8, 4)).astype("float32")
    found = layer(noise)
    assert found.shape == (5, 7, 4)
    np.testing.assert_allclose(found, walked(layer, noise), atol=1e-5)
    np.testing.assert_allclose(layer(noise[:, :3]), found[:, :2], atol=1e-6)  # any length
    assert np.abs(found[:, -1] - layer(noise[:, ::-1])[:, -1]).max() > 0.1  # order matters


def test_saving_and_32_bits_under_every_policy(layer, tmp_path):
    noise = np.random.default_rng(2).normal(size=(2, 5, 4)).astype("float32")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((None, 4), dtype="float32")
        walk = MotionWalk()
        model = keras.Model(inputs, walk(inputs))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output_shape == (None, None, 4)
    walk.set_weights(layer.get_weights())
    np.testing.assert_array_equal(model(noise), layer(noise))
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    np.testing.assert_array_equal(again(noise), layer(noise))
