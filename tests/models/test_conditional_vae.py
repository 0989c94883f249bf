"""ConditionalVAE: one step against a plain tape, and what depends on the class."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from plain import assert_same_weights, copy_of, descend, moved

from keras_genimg import VAE, ConditionalVAE, distribution
from keras_genimg.errors import InputError
from keras_genimg.losses import bernoulli_log_likelihood, gaussian_kl

LATENT_DIM, CLASSES, RATE = 3, 4, 5e-4
LABELS = np.arange(8) % CLASSES


def small(**arguments):
    defaults = {"networks": "mlp", "seed": 3}
    return ConditionalVAE(SHAPE, CLASSES, LATENT_DIM, **{**defaults, **arguments})


@pytest.mark.parametrize("networks", ["mlp", "conv"])
def test_a_step_is_that_of_a_plain_tape(networks):
    keras.utils.set_random_seed(0)
    vae, images = small(networks=networks), smooth_pictures(8)
    vae.compile(keras.optimizers.SGD(RATE))
    encoder, decoder = copy_of(vae.encoder), copy_of(vae.decoder)
    start = decoder.get_weights()
    logs = vae.fit(images, LABELS, batch_size=8, shuffle=False, verbose=0).history

    noise = distribution.random_normal(
        distribution.whole_batch(8), (1, LATENT_DIM), keras.random.SeedGenerator(3).next()
    )[:, 0]
    images, labels = tf.constant(images), tf.constant(LABELS, tf.int32)
    with tf.GradientTape(persistent=True) as tape:
        z_mean, z_log_var = encoder([images, labels], training=True)
        z = z_mean + tf.exp(0.5 * z_log_var) * noise
        outputs = decoder([z, labels], training=True)
        kl = tf.reduce_mean(gaussian_kl(z_mean, z_log_var))
        loss = kl - tf.reduce_mean(bernoulli_log_likelihood(images, outputs))
    for network in (encoder, decoder):
        descend(network, loss, tape, RATE)
    assert moved(decoder, start) > 1e-4
    assert_same_weights(vae.encoder, encoder)
    assert_same_weights(vae.decoder, decoder)
    assert logs["loss"] == pytest.approx([float(loss)], rel=1e-5)
    assert logs["kl_loss"] == pytest.approx([float(kl)], rel=1e-4)


def test_both_networks_see_the_class():
    vae, images = small(), smooth_pictures(4)
    for labels in ([0] * 4, [1] * 4):
        apart = vae.encode(images, labels=labels) - vae.encode(images, labels=[2] * 4)
        assert np.abs(apart).max() > 1e-4
    z = np.ones((4, LATENT_DIM), "float32")
    made = vae.decode(z, labels=range(4))
    assert np.abs(made[1:] - made[:1]).max(axis=(1, 2, 3)).min() > 1e-4
    np.testing.assert_allclose(
        vae.reconstruct(images, labels=LABELS[:4]),
        vae.decode(vae.encode(images, labels=LABELS[:4]), labels=LABELS[:4]), atol=1e-5,
    )


@pytest.mark.full
def test_what_a_class_looks_like_is_learned():
    """Images of one grey value per class: they depend on the class alone."""
    keras.utils.set_random_seed(0)
    greys = np.array([-0.9, -0.3, 0.3, 0.9], "float32")
    images = np.broadcast_to(greys[np.arange(64) % CLASSES, None, None, None], (64, *SHAPE))
    vae = small(likelihood="gaussian")
    vae.compile(learning_rate=3e-3)
    vae.fit(images.copy(), np.arange(64) % CLASSES, batch_size=32, epochs=150, verbose=0)
    made = vae.generate(8, labels=LABELS, seed=1).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(made, greys[LABELS], atol=0.2)


def test_the_likelihood_is_that_given_the_class():
    vae = small()
    images = np.where(smooth_pictures(4) > 0, 1.0, -1.0).astype("float32")
    estimates = [
        vae.log_likelihood(images, [k] * 4, num_samples=20, block_size=7) for k in (0, 1)
    ]
    assert estimates[0].shape == (4,) and np.abs(estimates[0] - estimates[1]).min() > 1e-3
    # By hand, with the same draws.
    blocks = []
    for block, number in enumerate((7, 7, 7)):
        noise = distribution.random_normal(
            distribution.whole_batch(number), (4, LATENT_DIM), tf.constant([0, block], tf.int64)
        )
        labels = tf.zeros((4,), tf.int32)
        z_mean, z_log_var = vae.encoder([tf.constant(images), labels])
        z = (z_mean + tf.exp(0.5 * z_log_var) * noise).numpy()
        for draw, unit in zip(z, noise.numpy()):
            logits = vae.decoder([tf.constant(draw), labels])
            log_likelihood = bernoulli_log_likelihood(images, logits).numpy()
            log_p = -0.5 * (draw**2).sum(1)
            log_q = -0.5 * (unit**2).sum(1) - 0.5 * z_log_var.numpy().sum(1)
            blocks.append(log_likelihood + log_p - log_q)
    weights = np.array(blocks[:20], "float64")
    highest = weights.max(0)
    expected = highest + np.log(np.exp(weights - highest).mean(0))
    np.testing.assert_allclose(estimates[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda vae, x: vae.encode(x), "labels"),
        (lambda vae, x: vae.reconstruct(x, labels=[0, 9]), "labels"),
        (lambda vae, x: vae.generate(2, 9), "labels"),
        (lambda vae, x: vae.fit(x), "is trained on (images, labels)"),
        (lambda vae, x: ConditionalVAE(SHAPE, 1), "num_classes must be an integer of at least 2"),
    ],
    ids=range(5),
)
def test_invalid_calls(call, words):
    vae = small()
    vae.compile()
    with pytest.raises(InputError) as caught:
        call(vae, smooth_pictures(2))
    assert words in str(caught.value)


def test_it_takes_all_that_a_vae_takes():
    mine, others = (inspect.signature(each).parameters for each in (ConditionalVAE, VAE))
    assert set(others) < set(mine)
    assert all(mine[name].default == others[name].default for name in others)
