"""The adversarial losses against their papers' formulas, written out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import losses
from keras_genimg.distribution import global_batch
from keras_genimg.errors import InputError

REAL = np.array([[2.0], [-1.0], [0.5], [0.0]], "float32")
FAKE = np.array([[-3.0], [0.25], [1.5], [-0.5]], "float32")
NAMES = ("minimax", "non_saturating", "least_squares", "hinge", "wasserstein")


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def discriminator_formula(name, real, fake):
    real, fake = real.astype("float64"), fake.astype("float64")
    if name in ("minimax", "non_saturating"):
        return -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    if name == "least_squares":
        return ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2
    if name == "hinge":
        return np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    return fake.mean() - real.mean()


def generator_formula(name, fake):
    fake = fake.astype("float64")
    return {
        "minimax": np.log(1 - sigmoid(fake)).mean(),
        "non_saturating": -np.log(sigmoid(fake)).mean(),
        "least_squares": ((fake - 1) ** 2).mean() / 2,
        "hinge": -fake.mean(),
        "wasserstein": -fake.mean(),
    }[name]


@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    generator_loss, discriminator_loss = losses.get_adversarial_loss(name)
    for function in (discriminator_loss, getattr(losses, f"{name}_discriminator_loss")):
        found = function(REAL, FAKE)
        assert found.shape == ()
        np.testing.assert_allclose(found, discriminator_formula(name, REAL, FAKE), rtol=1e-5)
    expected = generator_formula(name, FAKE)
    np.testing.assert_allclose(generator_loss(FAKE), expected, rtol=1e-5)
    np.testing.assert_allclose(generator_loss(FAKE, REAL), expected, rtol=1e-5)  # of no effect
    public = getattr(losses, f"{name}_generator_loss")
    np.testing.assert_allclose(public(FAKE), expected, rtol=1e-5)


def test_values_by_hand():
    # One real logit of 0 and one fake logit of 0: both probabilities are one half.
    zero = np.zeros((1, 1), "float32")
    assert float(losses.minimax_discriminator_loss(zero, zero)) == pytest.approx(2 * np.log(2))
    assert float(losses.minimax_generator_loss(zero)) == pytest.approx(-np.log(2))
    assert float(losses.non_saturating_generator_loss(zero)) == pytest.approx(np.log(2))
    assert float(losses.least_squares_discriminator_loss(zero, zero)) == 0.5
    assert float(losses.least_squares_generator_loss(zero)) == 0.5
    assert float(losses.hinge_discriminator_loss(zero, zero)) == 2.0
    # 2 on a real image is beyond the margin, -0.5 on a fake one lacks half of it.
    two, half = np.full((1, 1), 2, "float32"), np.full((1, 1), -0.5, "float32")
    assert float(losses.hinge_discriminator_loss(two, half)) == 0.5
    assert float(losses.wasserstein_discriminator_loss(two, half)) == -2.5


def test_the_mean_is_over_all_elements_of_any_shape():
    patches = np.arange(12, dtype="float32").reshape(2, 2, 3, 1) / 6 - 1
    for name in NAMES:
        generator_loss, discriminator_loss = losses.get_adversarial_loss(name)
        found = generator_loss(patches)
        assert found.shape == ()
        np.testing.assert_allclose(found, generator_formula(name, patches), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            discriminator_loss(patches, -patches),
            discriminator_formula(name, patches, -patches),
            rtol=1e-5,
        )


def test_relativistic_average():
    real, fake = REAL.astype("float64"), FAKE.astype("float64")
    expected = (
        -np.log(sigmoid(real - fake.mean())).mean() - np.log(1 - sigmoid(fake - real.mean())).mean()
    )
    found = losses.relativistic_average_discriminator_loss(REAL, FAKE)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    expected = (
        -np.log(sigmoid(fake - real.mean())).mean() - np.log(1 - sigmoid(real - fake.mean())).mean()
    )
    found = losses.relativistic_average_generator_loss(REAL, FAKE)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_relativistic_losses_of_one_signature():
    generator_loss, discriminator_loss = losses.get_adversarial_loss("relativistic_average", True)
    found = generator_loss(FAKE, REAL)
    np.testing.assert_allclose(found, losses.relativistic_average_generator_loss(REAL, FAKE))
    assert discriminator_loss is losses.relativistic_average_discriminator_loss
    with pytest.raises(TypeError, match="real_logits"):
        generator_loss(FAKE)


def relativistic_step(real, fake):
    """Both losses times the replica's share, and their gradients."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((real, fake))
        share = global_batch(real).share
        generator_loss, discriminator_loss = losses.get_adversarial_loss(
            "relativistic_average", relativistic=True
        )
        d_loss, g_loss = discriminator_loss(real, fake) * share, generator_loss(fake, real) * share
    gradients = [
        tape.gradient(loss, logits) for loss in (d_loss, g_loss) for logits in (real, fake)
    ]
    return [d_loss, g_loss], gradients


@pytest.mark.parametrize("count", [4, 3])  # equal parts and unequal ones
def test_relativistic_means_are_those_of_the_global_batch(mirrored, count):
    real, fake = tf.constant(REAL[:count]), tf.constant(FAKE[:count])
    one, one_gradients = relativistic_step(real, fake)
    data = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices((real, fake)).batch(count)
    )
    run = tf.function(lambda *parts: mirrored.run(relativistic_step, parts))
    two, two_gradients = run(*next(iter(data)))
    for expected, found in zip(one, two):
        parts = mirrored.experimental_local_results(found)
        np.testing.assert_allclose(sum(parts), expected, rtol=1e-5)
    for expected, found in zip(one_gradients, two_gradients):
        rows = tf.concat(mirrored.experimental_local_results(found), 0)
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)


def test_relativistic_average_ignores_a_common_shift():
    for function in (
        losses.relativistic_average_discriminator_loss,
        losses.relativistic_average_generator_loss,
    ):
        np.testing.assert_allclose(function(REAL + 7, FAKE + 7), function(REAL, FAKE), rtol=1e-4)


def test_extreme_logits_give_the_limit_and_finite_gradients():
    # -log(sigmoid(-1e4)) is 1e4, where a logarithm of a rounded sigmoid would be infinite.
    large = np.array([[1e4], [-1e4]], "float32")
    assert float(losses.minimax_discriminator_loss(-large, large)) == pytest.approx(1e4)
    assert float(losses.non_saturating_generator_loss(large)) == pytest.approx(5e3)
    assert float(losses.minimax_generator_loss(large)) == pytest.approx(-5e3)
    for name in NAMES:
        generator_loss, discriminator_loss = losses.get_adversarial_loss(name)
        real, fake = tf.constant(-large), tf.constant(large)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch((real, fake))
            d_loss, g_loss = discriminator_loss(real, fake), generator_loss(fake)
        for gradient in (*tape.gradient(d_loss, (real, fake)), tape.gradient(g_loss, fake)):
            assert np.isfinite(gradient).all()


def test_gradients_where_the_discriminator_is_sure():
    """Section 3 of Goodfellow et al.: one form vanishes there, the other does not."""
    fake = tf.constant([[-20.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(fake)
        saturating = losses.minimax_generator_loss(fake)
        non_saturating = losses.non_saturating_generator_loss(fake)
    # d/dl log(1 - sigmoid(l)) = -sigmoid(l); d/dl -log sigmoid(l) = sigmoid(l) - 1.
    np.testing.assert_allclose(tape.gradient(saturating, fake), -sigmoid([[-20]]), rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(non_saturating, fake), [[-1.0]], rtol=1e-5)


def test_a_pair_of_functions_is_a_loss():
    def generator_loss(fake_logits):
        return keras.ops.mean(fake_logits)

    def discriminator_loss(real_logits, fake_logits):
        return keras.ops.mean(real_logits)

    pair = (generator_loss, discriminator_loss)
    saved = [keras.saving.serialize_keras_object(function) for function in ("x", *pair)][1:]
    with keras.saving.custom_object_scope({function.__name__: function for function in pair}):
        for given in (pair, list(pair), saved):
            by_fakes, by_both = losses.get_adversarial_loss(given)
            assert float(by_fakes(FAKE)) == float(by_fakes(FAKE, REAL)) == FAKE.mean()
            assert by_both is discriminator_loss


@pytest.mark.parametrize(
    "bad", ["hinges", "relativistic_average", None, ("hinge", "hinge"), (np.mean,), 3]
)
def test_something_else_is_refused(bad):
    with pytest.raises(InputError, match="loss must be one of minimax, non_saturating") as caught:
        losses.get_adversarial_loss(bad)
    assert repr(bad) in str(caught.value)
