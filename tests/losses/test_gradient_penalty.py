"""Penalties on gradients, against closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.losses import gradient_penalty, r1_penalty

SHAPE = (3, 2, 1)
W = np.array([[[0.5], [-1.0]], [[2.0], [0.25]], [[-0.75], [1.5]]], "float32")


def images_of(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype("float32")


def linear(images):
    """w . x + 3, whose gradient is w everywhere."""
    return tf.reduce_sum(images * W, axis=(1, 2)) + 3.0  # (n, 1)


def quadratic(images):
    """||x||^2 / 2, whose gradient is x."""
    return tf.reduce_sum(images**2, axis=(1, 2)) / 2.0


def norms(images):
    return np.sqrt((images.astype("float64") ** 2).sum(axis=(1, 2, 3)))


def test_a_linear_critic_has_one_gradient_everywhere():
    alpha = np.linspace(0, 1, 4, dtype="float32")
    found = gradient_penalty(linear, images_of(4), images_of(4, seed=1), alpha=alpha)
    assert found.shape == ()
    norm = np.sqrt((W.astype("float64") ** 2).sum())
    assert float(found) == pytest.approx((norm - 1) ** 2, rel=1e-6)
    assert float(r1_penalty(linear, images_of(4))) == pytest.approx(norm**2 / 2, rel=1e-6)


def test_a_gradient_of_norm_one_costs_nothing():
    def critic(images):
        return linear(images) / np.sqrt((W**2).sum())

    found = gradient_penalty(
        critic, images_of(3), images_of(3, 1), alpha=np.full(3, 0.5, "float32")
    )
    assert float(found) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1, 1)])
def test_each_example_has_its_own_alpha_and_its_own_norm(shape):
    real, fake = images_of(4), images_of(4, seed=1)
    alpha = np.array([0.0, 1.0, 0.25, 0.6], "float32")
    found = gradient_penalty(quadratic, real, fake, alpha=alpha.reshape(shape))
    each = [a * r + (1 - a) * f for a, r, f in zip(alpha, real, fake)]
    expected = np.mean((norms(np.array(each)) - 1) ** 2)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # One alpha for all, or an alpha of the fakes, would have given something else.
    for other in (np.full(4, alpha.mean(), "float32"), 1 - alpha):
        assert abs(float(gradient_penalty(quadratic, real, fake, alpha=other)) - expected) > 1e-3


def test_alpha_of_one_is_the_real_end():
    real, fake = images_of(5), images_of(5, seed=1)
    for alpha, end in ((1.0, real), (0.0, fake)):
        found = gradient_penalty(quadratic, real, fake, alpha=np.full(5, alpha, "float32"))
        assert float(found) == pytest.approx(np.mean((norms(end) - 1) ** 2), rel=1e-5)


def test_r1_is_half_the_mean_of_the_squared_norms_of_real_images():
    real = images_of(6)
    expected = np.mean(norms(real) ** 2) / 2
    assert float(r1_penalty(quadratic, real)) == pytest.approx(expected, rel=1e-6)


def test_sequences_have_norms_too():
    real = np.random.default_rng(0).normal(size=(3, 2, *SHAPE)).astype("float32")

    def critic(sequences):
        return tf.reduce_sum(sequences**2, axis=(1, 2, 3)) / 2.0

    found = gradient_penalty(critic, real, real, alpha=np.full(3, 0.5, "float32"))
    each = np.sqrt((real.astype("float64") ** 2).sum(axis=(1, 2, 3, 4)))
    assert float(found) == pytest.approx(np.mean((each - 1) ** 2), rel=1e-5)


@pytest.mark.parametrize("kind", ["scaled to zero", "constant"])
def test_a_gradient_of_zero_gives_numbers(kind):
    scale = tf.Variable(0.0)
    real, alpha = images_of(2), np.full(2, 0.5, "float32")

    def critic(images):
        if kind == "constant":
            return tf.ones((len(images), 1)) * scale
        return scale * linear(images)

    with tf.GradientTape() as tape:
        penalty = gradient_penalty(critic, real, images_of(2, 1), alpha=alpha)
    assert float(penalty) == pytest.approx(1.0, abs=1e-5)
    gradient = tape.gradient(penalty, scale, unconnected_gradients="zero")
    assert np.isfinite(float(gradient))
    with tf.GradientTape() as tape:
        penalty = r1_penalty(critic, real)
    assert float(penalty) == 0.0
    assert float(tape.gradient(penalty, scale, unconnected_gradients="zero")) == 0.0


def test_the_gradient_of_the_penalty_is_that_of_its_formula():
    """Critic s w.x: penalty (|s| ||w|| - 1)^2 and its slope by s; R1 s^2 ||w||^2 / 2."""
    scale, norm = tf.Variable(0.4), float(np.sqrt((W**2).sum()))
    real, alpha = images_of(3), np.full(3, 0.3, "float32")
    with tf.GradientTape(persistent=True) as tape:
        penalty = gradient_penalty(lambda x: scale * linear(x), real, images_of(3, 1), alpha=alpha)
        r1 = r1_penalty(lambda x: scale * linear(x), real)
    slope = 2 * (0.4 * norm - 1) * norm
    assert float(tape.gradient(penalty, scale)) == pytest.approx(slope, rel=1e-5)
    assert float(tape.gradient(r1, scale)) == pytest.approx(0.4 * norm**2, rel=1e-5)


def test_networks_and_traced_functions():
    """A convolutional critic inside tf.function, against differences of its outputs."""
    keras.utils.set_random_seed(0)
    critic = keras.Sequential(
        [
            keras.layers.Conv2D(3, 2, activation="tanh"),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    real = images_of(2)
    critic(real)
    slopes, step = np.zeros_like(real), 1e-2
    for place in np.ndindex(*SHAPE):
        up, down = real.copy(), real.copy()
        up[(slice(None), *place)] += step
        down[(slice(None), *place)] -= step
        rise = np.array(critic(up)) - np.array(critic(down))
        slopes[(slice(None), *place)] = rise[:, 0] / (2 * step)
    alpha = np.ones(2, "float32")
    traced = tf.function(
        lambda real, alpha: gradient_penalty(critic, real, -real, alpha=alpha),
        input_signature=[tf.TensorSpec((None, *SHAPE)), tf.TensorSpec((None,))],
    )
    expected = np.mean((norms(slopes) - 1) ** 2)
    assert float(traced(real, alpha)) == pytest.approx(expected, rel=1e-3)
    expected = np.mean(norms(slopes) ** 2) / 2
    assert float(r1_penalty(critic, real)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("shape", [(), (3,), (1,), (4, 3, 2, 1), (4, 1), (1, 4)])
def test_another_alpha_is_refused(shape):
    with pytest.raises(InputError) as caught:
        gradient_penalty(linear, images_of(4), images_of(4), alpha=np.zeros(shape, "float32"))
    message = str(caught.value)
    assert "alpha must hold one number per example, of shape (n,) or ('n', 1, 1, 1)" in message
    assert f"Received: shape {shape}." in message
