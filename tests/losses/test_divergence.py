"""The KL divergence against integration, Monte Carlo and hand values."""

import numpy as np
import tensorflow as tf

from keras_genimg.losses import gaussian_kl


def test_against_numerical_integration():
    x = np.linspace(-30, 30, 200_001)
    step = x[1] - x[0]
    log_prior = -0.5 * (x**2 + np.log(2 * np.pi))
    for mean, log_var in ((0.0, 0.0), (1.5, -1.0), (-2.0, 1.2), (0.3, -4.0)):
        log_q = -0.5 * ((x - mean) ** 2 / np.exp(log_var) + log_var + np.log(2 * np.pi))
        expected = np.sum(np.exp(log_q) * (log_q - log_prior)) * step
        found = gaussian_kl(np.array([[mean]], "float32"), np.array([[log_var]], "float32"))
        np.testing.assert_allclose(found, [expected], rtol=1e-4, atol=1e-6)


def test_against_monte_carlo_in_several_dimensions():
    rng = np.random.default_rng(0)
    mean, log_var = rng.normal(size=(2, 3, 5))
    z = mean[:, None] + np.exp(log_var / 2)[:, None] * rng.normal(size=(3, 100_000, 5))
    log_q = -0.5 * ((z - mean[:, None]) ** 2 / np.exp(log_var)[:, None] + log_var[:, None])
    expected = np.mean(np.sum(log_q + 0.5 * z**2, -1), -1)  # (3,)
    found = gaussian_kl(mean.astype("float32"), log_var.astype("float32"))
    assert found.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_sums_over_every_latent_axis():
    # A standard deviation of 1 and a mean of 2 cost 2 nats each.
    mean, log_var = np.full((2, 3, 4, 5), 2, "float32"), np.zeros((2, 3, 4, 5), "float32")
    np.testing.assert_allclose(gaussian_kl(mean, log_var), [120.0, 120.0])


def test_gradient():
    mean, log_var = tf.constant([[0.5, -1.0]]), tf.constant([[-30.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch((mean, log_var))
        loss = gaussian_kl(mean, log_var)
    by_mean, by_log_var = tape.gradient(loss, (mean, log_var))
    np.testing.assert_allclose(by_mean, mean)
    np.testing.assert_allclose(by_log_var, (np.exp([[-30.0, 2.0]]) - 1) / 2, rtol=1e-5)
