"""GAN: one step against a plain GradientTape, its losses, noise and EMA generator."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from plain import assert_same_weights, copy_of, formulas, sgd

from keras_genimg import GAN, distribution
from keras_genimg.errors import InputError

LATENT_DIM = 6
RATE = 0.05
LOGS = {"g_loss", "d_loss", "real_score", "fake_score"}


def small(**arguments):
    return GAN(SHAPE, LATENT_DIM, **{"networks": "mlp", "seed": 3, **arguments})


def one_fit_step(model, images):
    return model.fit(images, batch_size=len(images), shuffle=False, verbose=0).history


@pytest.mark.parametrize(
    "networks, loss", [("dcgan", "non_saturating"), ("mlp", "hinge")]
)
def test_a_step_is_that_of_a_plain_tape(networks, loss):
    keras.utils.set_random_seed(0)
    gan = small(networks=networks, loss=loss)
    gan.compile(**sgd(RATE))
    g, d = copy_of(gan.generator), copy_of(gan.discriminator)
    start = [g.get_weights(), d.get_weights()]
    images = smooth_pictures(8)
    logs = one_fit_step(gan, images)

    generator_loss, discriminator_loss = formulas(loss)
    seeds = keras.random.SeedGenerator(3)
    batch = distribution.whole_batch(8)
    noise = distribution.random_normal(batch, (LATENT_DIM,), seeds.next())
    with tf.GradientTape() as tape_of_generator:
        fakes = g(noise, training=True)
    # 1. The discriminator.
    with tf.GradientTape() as tape:
        real_logits, fake_logits = d(images, training=True), d(fakes, training=True)
        d_loss = discriminator_loss(real_logits, fake_logits)
    weights = d.trainable_weights
    for weight, gradient in zip(weights, tape.gradient(d_loss, [w.value for w in weights])):
        weight.assign_sub(RATE * gradient)
    # 2. The generator, on the same noise and through the discriminator that has moved.
    with tape_of_generator:
        g_loss = generator_loss(d(fakes, training=True))
    weights = g.trainable_weights
    gradients = tape_of_generator.gradient(g_loss, [w.value for w in weights])
    for weight, gradient in zip(weights, gradients):
        weight.assign_sub(RATE * gradient)

    assert_same_weights(gan.discriminator, d)
    assert_same_weights(gan.generator, g)
    for network, old in zip((g, d), start):  # the step that is compared is no standstill
        assert max(np.abs(a - b).max() for a, b in zip(network.get_weights(), old)) > 3e-4
    assert logs["d_loss"] == pytest.approx([float(d_loss)], rel=1e-4)
    assert logs["g_loss"] == pytest.approx([float(g_loss)], rel=1e-4)
    assert logs["real_score"] == pytest.approx([float(tf.reduce_mean(tf.sigmoid(real_logits)))])
    assert logs["fake_score"] == pytest.approx([float(tf.reduce_mean(tf.sigmoid(fake_logits)))])


def test_the_test_step_is_the_losses_of_fixed_networks():
    gan = small(ema_decay=None)
    gan.compile(**sgd(RATE))
    images = smooth_pictures(8)
    logs = gan.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    seed = keras.random.SeedGenerator(3).next()
    batch = distribution.whole_batch(8)
    fakes = gan.generator(distribution.random_normal(batch, (LATENT_DIM,), seed))
    real_logits, fake_logits = gan.discriminator(images), gan.discriminator(fakes)
    generator_loss, discriminator_loss = formulas("non_saturating")
    assert set(logs) == LOGS
    assert logs["d_loss"] == pytest.approx(float(discriminator_loss(real_logits, fake_logits)))
    assert logs["g_loss"] == pytest.approx(float(generator_loss(fake_logits)))


def test_what_is_logged():
    gan = small()
    gan.compile()
    history = gan.fit(smooth_pictures(8), batch_size=4, epochs=2, verbose=0).history
    assert set(history) == LOGS
    assert all(len(values) == 2 for values in history.values())
    assert all(0 < score < 1 for name in ("real_score", "fake_score") for score in history[name])


def test_logs_are_means_over_the_epoch_weighted_by_images():
    """With a rate of zero nothing moves, so that steps may be repeated one by one."""
    images = smooth_pictures(10)
    gan = small(ema_decay=None)
    gan.compile(**sgd(0.0))
    logs = gan.fit(images, batch_size=8, shuffle=False, verbose=0).history
    real = [tf.reduce_mean(tf.sigmoid(gan.discriminator(i))) for i in (images[:8], images[8:])]
    assert logs["real_score"] == pytest.approx([float(0.8 * real[0] + 0.2 * real[1])], rel=1e-5)


@pytest.mark.parametrize(
    "loss", ["non_saturating", "minimax", "least_squares", "hinge", "wasserstein"]
)
def test_every_loss_trains(loss):
    gan = small(loss=loss)
    gan.compile()
    before = [gan.generator.get_weights(), gan.discriminator.get_weights()]
    history = gan.fit(smooth_pictures(8), batch_size=4, verbose=0).history
    assert np.isfinite([*history.values()]).all()
    for network, weights in zip((gan.generator, gan.discriminator), before):
        for weight, old in zip(network.get_weights(), weights):
            if weight.ndim > 1:  # differences of logits do not depend on the last bias
                assert np.abs(weight - old).max() > 0


@keras.saving.register_keras_serializable(package="test_gan")
def cubic_generator_loss(fake_logits):
    return keras.ops.mean((fake_logits - 1) ** 2 * 3)


@keras.saving.register_keras_serializable(package="test_gan")
def cubic_discriminator_loss(real_logits, fake_logits):
    return keras.ops.mean((real_logits - 1) ** 2) + keras.ops.mean(fake_logits**2)


@pytest.mark.slow
def test_a_custom_loss(tmp_path):
    gan = small(loss=(cubic_generator_loss, cubic_discriminator_loss))
    gan.compile()
    history = gan.fit(smooth_pictures(4), verbose=0).history
    assert np.isfinite(history["g_loss"][0])
    gan.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert again.arguments["loss"] == [cubic_generator_loss, cubic_discriminator_loss]
    assert float(again.generator_loss(tf.zeros((2, 1)))) == 3.0
    again.fit(smooth_pictures(4), verbose=0)


def noise_of(kind, count=4000):
    return small(noise=kind).draw_latents(count, 5).numpy()


def test_normal_noise():
    noise = noise_of("normal")
    assert noise.shape == (4000, LATENT_DIM)
    assert noise.mean() == pytest.approx(0, abs=0.03) and noise.std() == pytest.approx(1, abs=0.03)
    assert np.abs(noise).max() > 3


def test_uniform_noise():
    noise = noise_of("uniform")
    assert noise.min() >= -1 and noise.max() < 1
    assert noise.min() < -0.99 and noise.max() > 0.99
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert noise.std() == pytest.approx(1 / np.sqrt(3), abs=0.01)


def test_truncated_normal_noise():
    noise = noise_of("truncated_normal")
    assert np.abs(noise).max() <= 2 and np.abs(noise).max() > 1.95
    assert noise.mean() == pytest.approx(0, abs=0.03)
    # Variance of N(0, 1) cut at +-2: 1 - 2 * 2 * phi(2) / (2 Phi(2) - 1).
    assert noise.std() == pytest.approx(np.sqrt(1 - 4 * 0.05399 / 0.9545), abs=0.02)


@pytest.mark.parametrize("kind", ["normal", "uniform", "truncated_normal"])
def test_the_noise_of_training_is_of_that_kind_and_fresh_each_step(kind):
    gan = small(noise=kind)
    batch = distribution.whole_batch(500)
    draws = [gan.sample_latents(batch).numpy() for _ in range(2)]
    assert (draws[0] != draws[1]).all()
    expected = {"normal": 1, "uniform": 0.577, "truncated_normal": 0.88}[kind]
    assert draws[0].std() == pytest.approx(expected, abs=0.05)


def test_the_ema_generator():
    keras.utils.set_random_seed(0)
    gan = small(networks="dcgan", ema_decay=0.3)
    gan.compile(**sgd(RATE))
    average = [w.astype("float64") for w in gan.ema_generator.get_weights()]
    for weight, mine in zip(gan.generator.get_weights(), average):
        np.testing.assert_array_equal(weight, mine)
    images = smooth_pictures(4)
    for step in (1, 2, 3, 4, 5):
        one_fit_step(gan, images)
        # (1 + t) / (10 + t) until that passes 0.3, after step 2.
        decay = min(0.3, (1 + step) / (10 + step))
        average = [
            decay * a + (1 - decay) * w for a, w in zip(average, gan.generator.get_weights())
        ]
        for found, expected in zip(gan.ema_generator.get_weights(), average):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_generate_uses_the_ema_generator_where_there_is_one():
    latents = np.random.default_rng(0).normal(size=(3, LATENT_DIM)).astype("float32")
    for decay in (0.9, None):
        gan = small(ema_decay=decay)
        gan.compile(**sgd(0.5))
        gan.fit(smooth_pictures(8), batch_size=4, verbose=0)
        used = gan.ema_generator if decay else gan.generator
        assert (gan.ema_generator is None) == (decay is None)
        images = gan.generate(3, seed=4)
        expected = used(gan.draw_latents(3, 4), training=False)
        np.testing.assert_allclose(images, expected, atol=1e-5)
        np.testing.assert_array_equal(gan(latents), used(latents, training=False))
        if decay:
            assert np.abs(images - gan.generator(gan.draw_latents(3, 4))).max() > 1e-3


def test_no_optimizer_updates_the_ema_generator():
    gan = small()
    gan.compile()
    averages = {id(w) for w in gan.ema_generator.weights}
    assert not averages & {id(w) for w in gan.trainable_variables}
    slots = gan.generator_optimizer.variables
    # Adam: iteration, learning rate, two moments per weight.
    assert len(slots) == 2 + 2 * len(gan.generator.trainable_weights)


def test_the_papers_optimizers():
    gan = small()
    gan.compile()
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert float(optimizer.learning_rate) == pytest.approx(2e-4) and optimizer.beta_1 == 0.5
    assert gan.generator_optimizer is not gan.discriminator_optimizer
    gan.compile(learning_rate=1e-3)
    assert float(gan.discriminator_optimizer.learning_rate) == pytest.approx(1e-3)
    gan.compile(generator_optimizer="sgd")
    assert type(gan.generator_optimizer) is keras.optimizers.SGD
    assert isinstance(gan.discriminator_optimizer, keras.optimizers.Adam)


# ---------------------------------------------------------------- custom networks


@keras.saving.register_keras_serializable(package="test_gan")
class CustomGenerator(keras.Model):
    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.hidden = keras.layers.Dense(width, activation="relu")
        self.pixels = keras.layers.Dense(math.prod(SHAPE), activation="tanh")
        self.reshape = keras.layers.Reshape(SHAPE)

    def call(self, latents, training=False):
        return self.reshape(self.pixels(self.hidden(latents)))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def custom_generator(kind):
    if kind == "subclass":
        return CustomGenerator()
    layers = [
        keras.layers.Dense(math.prod(SHAPE), activation="tanh"),
        keras.layers.BatchNormalization(),
        keras.layers.Reshape(SHAPE),
    ]
    if kind == "sequential_without_input":
        return keras.Sequential(layers)
    x = inputs = keras.Input((LATENT_DIM,))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def custom_discriminator(kind):
    layers = [keras.layers.Flatten(), keras.layers.Dropout(0.3, seed=1), keras.layers.Dense(1)]
    if kind == "functional":
        x = inputs = keras.Input(SHAPE)
        for layer in layers:
            x = layer(x)
        return keras.Model(inputs, x)
    return keras.Sequential(layers)


@pytest.mark.parametrize("kind", ["functional", "sequential_without_input", "subclass"])
def test_custom_networks(kind, tmp_path):
    gan = small(generator=custom_generator(kind), discriminator=custom_discriminator(kind))
    gan.compile()
    before = gan.generator.get_weights()
    assert len(before) > 0
    gan.fit(smooth_pictures(4), verbose=0)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(gan.generator.get_weights(), before))
    images = gan.generate(2, seed=1)
    gan.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert type(again.generator) is type(gan.generator)
    np.testing.assert_array_equal(again.generate(2, seed=1), images)


def test_custom_networks_need_no_default_size():
    shape = (10, 14, 2)
    generator = keras.Sequential(
        [keras.layers.Dense(math.prod(shape), "tanh"), keras.layers.Reshape(shape)]
    )
    discriminator = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    gan = GAN(shape, LATENT_DIM, generator=generator, discriminator=discriminator)
    gan.compile()
    gan.fit(np.zeros((4, *shape), "float32"), verbose=0)
    assert gan.generate(3).shape == (3, *shape)
    with pytest.raises(InputError, match="nearest that fits is 16x16"):
        GAN(shape, LATENT_DIM, generator=generator)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            {"generator": keras.Sequential([keras.layers.Dense(7)])},
            "generator must map ('batch', 6) to ('batch', 16, 16, 1). "
            "Received: a network that returns ('batch', 7).",
        ),
        (
            {"discriminator": keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])},
            "discriminator must map ('batch', 16, 16, 1) to ('batch', 1). "
            "Received: a network that returns ('batch', 2).",
        ),
        (
            {"generator": keras.Sequential([keras.Input((5,)), keras.layers.Dense(7)])},
            "generator must take inputs of shape ('batch', 6).",
        ),
        ({"generator": "dcgan"}, "generator must be a keras.Model or layer. Received: 'dcgan'."),
        ({"discriminator": len}, "discriminator must be a keras.Model or layer."),
        (
            {"networks": "unet"},
            "networks must be one of dcgan, fastgan, mlp, dense_conv, dcgan5, resnet.",
        ),
        ({"noise": "pink"}, "noise must be one of normal, uniform, truncated_normal."),
    ],
    ids=range(7),
)
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)
