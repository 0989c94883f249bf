"""WGANGP: one step against plain tapes, the penalty, and critics that mix images."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from plain import assert_same_weights, copy_of, descend, moved, sgd

from keras_genimg import WGANGP, distribution
from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization

LATENT_DIM = 6
RATE = 0.01
LOGS = {"g_loss", "d_loss", "real_score", "fake_score", "gradient_penalty"}


def small_generator():
    return keras.Sequential(
        [
            keras.Input((LATENT_DIM,)),
            keras.layers.Dense(256, activation="tanh"),
            keras.layers.Reshape(SHAPE),
        ]
    )


def critic_with(*layers):
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="tanh"),
            *layers,
            keras.layers.Dense(1),
        ]
    )


def small(**arguments):
    networks = {"generator": small_generator(), "discriminator": critic_with()}
    return WGANGP(SHAPE, LATENT_DIM, **{**networks, "n_critic": 3, "seed": 3, **arguments})


def penalty_of(critic, real, fake, alpha):
    """Image by image, each with its own tape."""
    terms = []
    for x, y, a in zip(real, fake, np.ravel(alpha)):
        between = tf.convert_to_tensor(a * x + (1 - a) * y)[tf.newaxis]
        with tf.GradientTape() as tape:
            tape.watch(between)
            value = critic(between)
        terms.append((tf.norm(tape.gradient(value, between)) - 1.0) ** 2)
    return tf.add_n(terms) / len(terms)


@pytest.mark.parametrize("networks", ["small", "default"])
def test_a_step_is_that_of_plain_tapes(networks):
    keras.utils.set_random_seed(0)
    own = {"generator": None, "discriminator": None} if networks == "default" else {}
    model = small(gp_weight=4.0, **own)
    model.compile(**sgd(RATE))
    g, d = copy_of(model.generator), copy_of(model.discriminator)
    start = [g.get_weights(), d.get_weights()]
    images = smooth_pictures(12)
    logs = model.fit(images, batch_size=4, shuffle=False, verbose=0).history

    seeds = keras.random.SeedGenerator(3)
    batch = distribution.whole_batch(4)
    # 1. Three updates of the critic: on images 0, 3, 6, 9; on 1, 4, 7, 10; on 2, 5, 8, 11.
    penalties = []
    for update in range(3):
        noise = distribution.random_normal(batch, (LATENT_DIM,), seeds.next())
        alpha = distribution.random_uniform(batch, (1, 1, 1), seeds.next())
        reals, fakes = images[update::3], g(noise, training=True)
        with tf.GradientTape() as tape:
            real, fake = d(reals, training=True), d(fakes, training=True)
            penalties.append(penalty_of(d, reals, fakes, alpha))
            d_loss = tf.reduce_mean(fake) - tf.reduce_mean(real) + 4.0 * penalties[-1]
        descend(d, d_loss, tape, RATE)
    # 2. One generator update, on fresh noise.
    noise = distribution.random_normal(batch, (LATENT_DIM,), seeds.next())
    with tf.GradientTape() as tape:
        g_loss = -tf.reduce_mean(d(g(noise, training=True), training=True))
    descend(g, g_loss, tape, RATE)

    assert_same_weights(model.discriminator, d)
    assert_same_weights(model.generator, g)
    assert moved(g, start[0]) > 1e-4 and moved(d, start[1]) > 1e-3
    assert float(penalties[-1]) > 1e-3  # it takes part
    assert set(logs) == LOGS
    expected = {
        "d_loss": d_loss,
        "g_loss": g_loss,
        "real_score": tf.reduce_mean(real),
        "fake_score": tf.reduce_mean(fake),
        "gradient_penalty": penalties[-1],
    }
    for name, value in expected.items():
        assert logs[name] == pytest.approx([float(value)], rel=1e-3, abs=1e-5), name


def test_the_test_step_is_the_losses_of_fixed_networks():
    model = small(ema_decay=None, gp_weight=7.0)
    model.compile(**sgd(RATE))
    images = smooth_pictures(8)
    logs = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    seeds, batch = keras.random.SeedGenerator(3), distribution.whole_batch(8)
    fakes = model.generator(distribution.random_normal(batch, (LATENT_DIM,), seeds.next()))
    alpha = distribution.random_uniform(batch, (1, 1, 1), seeds.next())
    real, fake = [float(tf.reduce_mean(model.discriminator(x))) for x in (images, fakes)]
    penalty = float(penalty_of(model.discriminator, images, fakes, alpha))
    assert set(logs) == LOGS
    assert logs["gradient_penalty"] == pytest.approx(penalty, rel=1e-4)
    assert logs["d_loss"] == pytest.approx(fake - real + 7 * penalty, rel=1e-4)
    assert logs["g_loss"] == pytest.approx(-fake, rel=1e-4)
    assert logs["real_score"] == pytest.approx(real, rel=1e-4)
    assert logs["fake_score"] == pytest.approx(fake, rel=1e-4)


def test_alpha_is_uniform_one_per_image_and_fresh_each_time():
    model = small()
    batch = distribution.whole_batch(4000)
    draws = [model.sample_alpha(batch).numpy() for _ in range(2)]
    assert draws[0].shape == (4000, 1, 1, 1) and (draws[0] != draws[1]).mean() > 0.999
    assert 0 <= draws[0].min() < 0.01 and 0.99 < draws[0].max() < 1
    np.testing.assert_allclose(np.histogram(draws[0], 4, (0, 1))[0], 1000, atol=120)


def test_the_penalty_brings_the_gradient_to_one():
    keras.utils.set_random_seed(0)
    model = small(n_critic=1, gp_weight=10.0)
    model.compile(keras.optimizers.SGD(0.0), keras.optimizers.Adam(3e-3))
    history = model.fit(smooth_pictures(64), batch_size=32, epochs=60, verbose=0).history
    assert history["gradient_penalty"][0] > 3 * history["gradient_penalty"][-1]
    assert history["gradient_penalty"][-1] < 0.1
    assert history["real_score"][-1] - history["fake_score"][-1] > 1


def test_the_papers_optimizers():
    model = small()
    model.compile()
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert float(optimizer.learning_rate) == pytest.approx(1e-4)
        assert (optimizer.beta_1, optimizer.beta_2) == (0.0, 0.9)
    # The default networks have higher rates.
    default = small(generator=None, discriminator=None)
    default.compile()
    assert float(default.generator_optimizer.learning_rate) == pytest.approx(5e-4)
    model.compile(learning_rate=1e-3)
    assert float(model.discriminator_optimizer.learning_rate) == pytest.approx(1e-3)
    model.fit(smooth_pictures(6), batch_size=2, verbose=0)
    assert int(model.discriminator_optimizer.iterations) == 3
    assert int(model.generator_optimizer.iterations) == 1


def test_the_default_critic_has_no_batch_normalisation():
    layers = small(discriminator=None).discriminator.layers
    assert not [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("layer", [keras.layers.BatchNormalization, BatchNormalization])
def test_a_critic_that_mixes_images_is_refused(layer):
    nested = critic_with(keras.Sequential([layer(name="mixes")]))
    for critic in (critic_with(layer(name="mixes")), nested):
        with pytest.raises(InputError) as caught:
            small(discriminator=critic)
        message = str(caught.value)
        assert "must have no batch normalisation" in message and "'mixes'" in message
        assert "\n" not in message
    small(discriminator=critic_with(keras.layers.LayerNormalization()))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"n_critic": -1}, "n_critic must be a positive integer. Received: n_critic=-1."),
        ({"gp_weight": -1}, "gp_weight must be a finite number of at least 0."),
        ({"gp_weight": float("inf")}, "Received: gp_weight=inf."),
        ({"gp_weight": None}, "Received: gp_weight=None."),
        ({"ema_decay": 1}, "ema_decay must be"),
    ],
    ids=range(5),
)
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_settings_come_back_from_a_file(tmp_path):
    model = small(n_critic=4, gp_weight=0.5, noise="uniform", ema_decay=None)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert (again.n_critic, again.gp_weight, again.noise) == (4, 0.5, "uniform")
    assert again.ema_generator is None and len(again.generator.layers) == 2
