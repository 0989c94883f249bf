"""IWAE: one step against a plain GradientTape, its bound, and how version 0.1 made it."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures, train
from plain import assert_same_weights, copy_of, descend

from keras_genimg import VAE, ConditionalVAE, distribution
from keras_genimg.errors import InputError
from keras_genimg.losses import importance_weighted_bound
from keras_genimg.models import IWAE

LATENT_DIM, RATE = 4, 1e-3


def small(**arguments):
    defaults = {"importance_samples": 3, "networks": "mlp", "seed": 3}
    return IWAE(SHAPE, LATENT_DIM, **{**defaults, **arguments})


def fit(model, images):
    return model.fit(images, batch_size=len(images), shuffle=False, verbose=0).history


def log_likelihood(images, logits):
    """Of a Bernoulli, in other words than the package's: `(batch,)`."""
    labels = (images + 1) / 2
    terms = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    return -tf.reduce_sum(terms, [1, 2, 3])


def log_weight(images, logits, z, mean, log_var):
    """log p(x|z) + log p(z) - log q(z|x); the halves of log 2 pi cancel."""
    scale = tf.exp(log_var / 2)
    log_q = tf.reduce_sum(-(((z - mean) / scale) ** 2) / 2 - tf.math.log(scale), axis=1)
    return log_likelihood(images, logits) - tf.reduce_sum(z**2 / 2, axis=1) - log_q


def test_a_step_is_that_of_a_plain_tape():
    """Eq. 8 of Burda et al. with k = 3, each draw decoded by itself."""
    keras.utils.set_random_seed(0)
    model, images = small(), smooth_pictures(8)
    model.compile(keras.optimizers.SGD(RATE))
    encoder, decoder = copy_of(model.encoder), copy_of(model.decoder)
    logs = fit(model, images)

    seed = keras.random.SeedGenerator(3).next()
    noise = distribution.random_normal(distribution.whole_batch(8), (3, LATENT_DIM), seed)
    with tf.GradientTape(persistent=True) as tape:
        mean, log_var = encoder(images, training=True)
        weights, likelihoods = [], []
        for draw in range(3):
            z = mean + tf.exp(log_var / 2) * noise[:, draw]
            logits = decoder(z, training=True)
            weights.append(log_weight(images, logits, z, mean, log_var))
            likelihoods.append(log_likelihood(images, logits))
        loss = -tf.reduce_mean(tf.reduce_logsumexp(weights, axis=0) - tf.math.log(3.0))
    for network in (encoder, decoder):
        descend(network, loss, tape, RATE)
    assert_same_weights(model.encoder, encoder, atol=2e-5)
    assert_same_weights(model.decoder, decoder, atol=2e-5)
    kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_var) - 1 - log_var, axis=1)
    assert set(logs) == {"loss", "reconstruction_loss", "kl_loss", "elbo"}
    assert logs["loss"] == pytest.approx([float(loss)], rel=1e-5)
    assert logs["elbo"] == pytest.approx([-float(loss)], rel=1e-5)
    assert logs["reconstruction_loss"] == pytest.approx([-np.mean(likelihoods)], rel=1e-5)
    assert logs["kl_loss"] == pytest.approx([np.mean(kl)], rel=1e-4)
    # More draws, a higher bound than the mean of the single ones.
    assert logs["elbo"][0] > -logs["reconstruction_loss"][0] - logs["kl_loss"][0]


def test_evaluation_gives_the_bound():
    model, images = small(seed=5), smooth_pictures(8)
    model.compile()
    logs = model.evaluate(images, verbose=0, return_dict=True)
    seed = keras.random.SeedGenerator(5).next()
    noise = distribution.random_normal(distribution.whole_batch(8), (3, LATENT_DIM), seed)
    mean, log_var = model.encoder(images)
    weights = []
    for draw in range(3):
        z = mean + tf.exp(log_var / 2) * noise[:, draw]
        weights.append(log_weight(images, model.decoder(z), z, mean, log_var))
    bound = tf.reduce_mean(tf.reduce_logsumexp(weights, axis=0) - tf.math.log(3.0))
    assert logs["elbo"] == -logs["loss"] == pytest.approx(float(bound), rel=1e-5)


def test_bits_per_dim_are_those_of_the_bound():
    model = small(likelihood="discretized_logistic")
    model.compile(keras.optimizers.SGD(1e-6))
    logs = fit(model, smooth_pictures(8))
    assert logs["bits_per_dim"] == pytest.approx([-logs["elbo"][0] / (256 * np.log(2))], rel=1e-5)


def test_two_replicas_equal_one(mirrored):
    one, two = (
        train(small, smooth_pictures(27), strategy, epochs=1, rate=1e-4)
        for strategy in (None, mirrored)
    )
    for weight, other in zip(one[0], two[0]):
        np.testing.assert_allclose(other, weight, atol=2e-5)
    for name, values in one[1].items():
        np.testing.assert_allclose(two[1][name], values, rtol=1e-4)


def test_importance_weighted_bound_by_hand():
    log_weights = np.log([[1.0, 2.0], [3.0, 2.0]]).astype("float32")
    bound = importance_weighted_bound(log_weights)
    np.testing.assert_allclose(bound, np.log([2.0, 2.0]), rtol=1e-6)
    # Far below what exp can hold.
    np.testing.assert_allclose(importance_weighted_bound(log_weights - 900), np.log([2, 2]) - 900)


def test_a_vae_with_importance_samples_is_an_iwae(tmp_path):
    """As version 0.1 made it, also with the neutral values of what goes with one draw alone."""
    old = {"beta": 1.0, "kl_warmup_steps": 0, "free_bits": 0.0}
    model = VAE(SHAPE, LATENT_DIM, importance_samples=3, networks="mlp", seed=3, **old)
    assert type(model) is IWAE and model.importance_samples == 3
    assert not set(old) & set(model.get_config())
    keras.utils.set_random_seed(0)
    mine, images = small(), smooth_pictures(4)
    model.set_weights(mine.get_weights())
    for each in (model, mine):
        each.compile(keras.optimizers.SGD(RATE))
    assert fit(model, images) == fit(mine, images)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert type(again) is IWAE and again.importance_samples == 3
    assert fit(again, images) == fit(model, images)

    one = VAE(SHAPE, LATENT_DIM, importance_samples=1, networks="mlp")
    assert list(inspect.signature(VAE).parameters)[:2] == ["image_shape", "latent_dim"]
    assert type(one) is VAE and "importance_samples" not in one.get_config()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: small(importance_samples=0), "importance_samples must be a positive integer."),
        (lambda: VAE(SHAPE, importance_samples=True), "Received: importance_samples=True."),
        (lambda: VAE(SHAPE, importance_samples=0), "Received: importance_samples=0."),
        (lambda: VAE(SHAPE, importance_samples=2, beta=4.0), "Received: beta=4.0, kl_"),
        (lambda: small(beta=4.0), "is trained on its bound alone, without beta, kl_warmup_steps"),
        (lambda: small(kl_warmup_steps=10), "kl_warmup_steps=10, free_bits=0.0."),
        (lambda: small(free_bits=0.1), "free_bits=0.1."),
        (lambda: ConditionalVAE(SHAPE, 4, importance_samples=2),
         "Received: importance_samples=2 for ConditionalVAE."),
    ],
    ids=range(8),
)  # fmt: skip
def test_invalid_arguments(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)
