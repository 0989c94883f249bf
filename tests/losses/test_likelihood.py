"""The likelihoods against direct formulas in float64, and as probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.losses import (
    bernoulli_log_likelihood,
    discretized_logistic_log_likelihood,
    gaussian_log_likelihood,
)

LEVELS = np.arange(256)
ALL_VALUES = (LEVELS / 127.5 - 1).astype("float32")  # the 256 grey values in [-1, 1]


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (3, 4, 5, 2)) / 127.5 - 1).astype("float32")
    return images, rng.normal(size=images.shape).astype("float32")


def test_bernoulli_against_the_direct_formula(batch):
    images, logits = batch
    x, p = (images.astype("float64") + 1) / 2, sigmoid(logits)
    expected = np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=(1, 2, 3))
    found = bernoulli_log_likelihood(images, logits)
    assert found.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bernoulli_probabilities_of_black_and_white_add_up_to_one():
    logits = np.linspace(-5, 5, 11, dtype="float32")[:, None]
    ones = np.ones_like(logits)
    total = np.exp(bernoulli_log_likelihood(ones, logits)) + np.exp(
        bernoulli_log_likelihood(-ones, logits)
    )
    np.testing.assert_allclose(total, np.ones(11), rtol=1e-5)


def test_bernoulli_at_extreme_logits():
    images = np.array([[1.0], [1.0], [-1.0], [-1.0], [0.0]], "float32")
    logits = tf.constant([[1e4], [-1e4], [1e4], [-1e4], [1e4]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = bernoulli_log_likelihood(images, logits)
    np.testing.assert_allclose(found, [0, -1e4, -1e4, 0, -5e3])
    # d/dl = x - sigmoid(l)
    np.testing.assert_allclose(tape.gradient(found, logits), [[0], [1], [-1], [0], [-0.5]])


def test_gaussian_against_the_density(batch):
    images, mean = batch
    log_var = np.array([-1.5, 0.5], "float32")  # one per channel
    variance = np.exp(log_var.astype("float64"))
    density = np.exp(-((images - mean).astype("float64") ** 2) / (2 * variance))
    density /= np.sqrt(2 * np.pi * variance)
    found = gaussian_log_likelihood(images, mean, log_var)
    assert found.shape == (3,)
    np.testing.assert_allclose(found, np.log(density).sum((1, 2, 3)), rtol=1e-5)
    # A scalar counts once a pixel, not once.
    np.testing.assert_allclose(
        gaussian_log_likelihood(images, images, 0.0), [-20 * np.log(2 * np.pi)] * 3, rtol=1e-5
    )


def test_discretized_logistic_against_the_direct_formula(batch):
    images, mean = batch
    log_scale = np.array([-2.0, -1.0], "float32")
    scale = np.exp(log_scale.astype("float64"))
    x = np.round((images + 1) * 127.5) / 127.5 - 1
    upper = np.where(x > 1 - 1e-3, 1.0, sigmoid((x + 1 / 255 - mean) / scale))
    lower = np.where(x < -1 + 1e-3, 0.0, sigmoid((x - 1 / 255 - mean) / scale))
    found = discretized_logistic_log_likelihood(images, mean, log_scale)
    assert found.shape == (3,)
    np.testing.assert_allclose(found, np.log(upper - lower).sum((1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 0.0, 3.0])
@pytest.mark.parametrize("mean", [-1.5, -1.0, 0.1, 0.999])
def test_discretized_logistic_probabilities_add_up_to_one(mean, log_scale):
    means = np.full((256, 1), mean, "float32")
    found = discretized_logistic_log_likelihood(
        ALL_VALUES[:, None], means, np.float32(log_scale)
    ).numpy()
    assert found.shape == (256,) and (found <= 0).all()
    assert np.exp(found.astype("float64")).sum() == pytest.approx(1.0, abs=2e-4)
    if log_scale < 0:  # a wide one has most of its mass in the two open bins
        assert LEVELS[found.argmax()] == np.clip(np.round((mean + 1) * 127.5), 0, 255)


def test_discretized_logistic_far_from_the_mean():
    """exp(-600) is no float32, its logarithm is."""
    images = np.array([[0.0], [0.0], [-1.0], [1.0]], "float32")
    mean = tf.constant([[3.0], [-3.0], [2.0], [-2.0]])
    log_scale = tf.constant(np.log(0.005), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch((mean, log_scale))
        found = discretized_logistic_log_likelihood(images, mean, log_scale)
    # log(sigmoid(u) - sigmoid(l)) with both far below zero is l + log(exp(u - l) - 1).
    upper, lower = (-3 + 1 / 255) / 0.005, (-3 - 1 / 255) / 0.005
    inside = lower + np.log(np.expm1(upper - lower))
    edge = (-3 + 1 / 255) / 0.005  # log sigmoid(u) = u
    np.testing.assert_allclose(found, [inside, inside, edge, edge], rtol=1e-4)
    for gradient in tape.gradient(found, (mean, log_scale)):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("log_scale", [-12.0, 12.0])
def test_discretized_logistic_gradients_at_extreme_scales(log_scale):
    images = tf.constant(ALL_VALUES[:, None])
    mean, log_scale = tf.zeros((256, 1)), tf.constant(log_scale)
    with tf.GradientTape() as tape:
        tape.watch((mean, log_scale))
        found = discretized_logistic_log_likelihood(images, mean, log_scale)
    assert np.isfinite(found).all()
    for gradient in tape.gradient(found, (mean, log_scale)):
        assert np.isfinite(gradient).all()
