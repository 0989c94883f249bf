"""The reparameterisation trick: moments, gradients and seeds."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.layers import Sampling


def test_moments():
    mean = np.tile(np.array([[-1.0, 0.0, 3.0]], "float32"), (20_000, 1))
    log_var = np.tile(np.log(np.array([[0.25, 1.0, 4.0]], "float32")), (20_000, 1))
    z = Sampling(seed=1)(mean, log_var).numpy()
    assert z.shape == mean.shape
    np.testing.assert_allclose(z.mean(0), [-1, 0, 3], atol=0.06)
    np.testing.assert_allclose(z.std(0), [0.5, 1, 2], rtol=0.03)
    assert np.abs(np.corrcoef(z.T) - np.eye(3)).max() < 0.03
    fourth = (((z - z.mean(0)) / z.std(0)) ** 4).mean(0)
    np.testing.assert_allclose(fourth, [3, 3, 3], rtol=0.1)  # that of a Gaussian


def test_gradients():
    mean, log_var = tf.constant([[0.5, -2.0]]), tf.constant([[1.0, -1.0]])
    with tf.GradientTape() as tape:
        tape.watch((mean, log_var))
        z = Sampling(seed=1)(mean, log_var)
    by_mean, by_log_var = tape.gradient(z, (mean, log_var))
    np.testing.assert_array_equal(by_mean, [[1, 1]])
    # dz / d log_var = exp(log_var / 2) epsilon / 2 = (z - mean) / 2
    np.testing.assert_allclose(by_log_var, (z - mean) / 2, rtol=1e-5)


def test_seeds():
    zeros = np.zeros((4, 3), "float32")
    layer, again = Sampling(seed=1), Sampling(seed=1)
    first, second = layer(zeros, zeros), layer(zeros, zeros)
    assert np.abs(first - second).min() > 0
    np.testing.assert_array_equal(again(zeros, zeros), first)
    assert (Sampling(seed=2)(zeros, zeros) != first).numpy().any()
    assert Sampling.from_config(Sampling(seed=5).get_config()).seed == 5


def test_a_pair_is_taken_too():
    zeros = np.zeros((4, 3), "float32")
    np.testing.assert_array_equal(Sampling(seed=1)([zeros, zeros]), Sampling(seed=1)(zeros, zeros))


def test_in_a_functional_model():
    mean, log_var = keras.Input((3,)), keras.Input((3,))
    for outputs in (Sampling()(mean, log_var), Sampling()([mean, log_var])):
        model = keras.Model([mean, log_var], outputs)
        assert model.output_shape == (None, 3)
        assert model([np.zeros((5, 3)), np.zeros((5, 3))]).shape == (5, 3)


def test_a_variance_of_zero_gives_the_mean():
    mean = np.array([[1.0, 2.0]], "float32")
    np.testing.assert_allclose(Sampling()(mean, np.full((1, 2), -200, "float32")), mean)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dtype(dtype):
    z = Sampling(dtype=dtype)(np.zeros((2, 2)), np.zeros((2, 2)))
    assert z.dtype == ("bfloat16" if "bfloat16" in dtype else "float32")
