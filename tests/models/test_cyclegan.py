"""CycleGAN: steps against a plain GradientTape with a plain pool, both directions, and learning."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from plain import assert_same_weights, copy_of, moved, sgd

from keras_genimg import CycleGAN, InputError, distribution, networks
from keras_genimg.core import dtype_policy
from keras_genimg.optimizers import LinearDecay

RATE, COLOR = 2.0**-8, (16, 16, 3)  # a rate that float32 holds exactly
IMAGES_A = smooth_pictures(16)
IMAGES_B = -smooth_pictures(16, seed=1)
LOGS = {"g_loss", "d_loss", "cycle_loss", "identity_loss", "real_score", "fake_score"}
GENERATORS = ("generator_a_to_b", "generator_b_to_a")
DISCRIMINATORS = ("discriminator_a", "discriminator_b")


def small(**arguments):
    return CycleGAN(SHAPE, **{"seed": 3, **arguments})


def narrow(filters=4, **arguments):
    """The default networks with few filters and one residual block."""
    make = {
        **dict.fromkeys(GENERATORS, lambda: networks.residual_translator(SHAPE, SHAPE, filters, 1)),
        **dict.fromkeys(
            DISCRIMINATORS,
            lambda: networks.patchgan_discriminator(
                SHAPE, filters=filters, normalization="instance"
            ),
        ),
    }
    return small(**{name: function() for name, function in make.items()}, **arguments)


def least_squares(logits, target):
    return 0.5 * tf.reduce_mean((logits - target) ** 2)


def l1(images, others):
    return tf.reduce_mean(tf.abs(images - others))


class PlainPool:
    """A list of images, with the draws of the seed that a step passes."""

    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, images, seed):
        count = len(images)
        draws = distribution.random_uniform(
            distribution.whole_batch(max(self.size, count)), (2,), seed
        ).numpy()
        places, before, shown = np.argsort(draws[:, 0], kind="stable"), len(self.images), []
        for image, place, coin in zip(images.numpy(), places, draws[:, 1]):
            if len(self.images) < self.size:
                self.images.append(image)
            elif coin < 0.5 and place < before:
                image, self.images[place] = self.images[place], image
            shown.append(image)
        return tf.constant(np.stack(shown))


def plain_step(copies, pools, seeds, images_a, images_b, cycle_weight, identity_weight):
    g, f, d_a, d_b = copies
    a, b = tf.constant(images_a), tf.constant(images_b)

    def descend(networks, loss, tape):
        weights = [w for network in networks for w in network.trainable_weights]
        for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights])):
            weight.assign_sub(RATE * gradient)

    # 1. Both generators.
    with tf.GradientTape() as tape:
        fake_b, fake_a = g(a, training=True), f(b, training=True)
        cycle = l1(f(fake_b, training=True), a) + l1(g(fake_a, training=True), b)
        identity = l1(f(a, training=True), a) + l1(g(b, training=True), b)
        g_loss = least_squares(d_b(fake_b, training=True), 1.0)
        g_loss += least_squares(d_a(fake_a, training=True), 1.0)
        g_loss += cycle_weight * cycle + cycle_weight * identity_weight * identity
    descend((g, f), g_loss, tape)
    # 2. Both discriminators, on the translations or earlier ones.
    if pools:
        fake_a, fake_b = (pool.query(x, seeds.next()) for pool, x in zip(pools, (fake_a, fake_b)))
    with tf.GradientTape() as tape:
        pairs = ((d_a, a), (d_a, fake_a), (d_b, b), (d_b, fake_b))
        logits = [d(x, training=True) for d, x in pairs]
        targets = (1.0, 0.0, 1.0, 0.0)
        d_loss = sum(least_squares(x, target) for x, target in zip(logits, targets))
    descend((d_a, d_b), d_loss, tape)
    scores = [float(tf.reduce_mean(tf.sigmoid(x))) for x in logits]
    return {
        "g_loss": g_loss, "d_loss": d_loss, "cycle_loss": cycle,
        "identity_loss": identity if identity_weight else 0.0,
        "real_score": (scores[0] + scores[2]) / 2, "fake_score": (scores[1] + scores[3]) / 2,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("pool_size, identity_weight", [(4, 0.5), (0, 0.0)])
def test_steps_are_those_of_a_plain_tape(pool_size, identity_weight):
    """In float64: instance normalisation and absolute errors enlarge the rounding of float32."""
    keras.utils.set_random_seed(0)
    with dtype_policy("float64"):
        model = narrow(pool_size=pool_size, identity_weight=identity_weight, cycle_weight=4.0)
        names = GENERATORS + DISCRIMINATORS
        copies = [copy_of(getattr(model, name)) for name in names]
    model.compile(**sgd(RATE))
    start = [network.get_weights() for network in copies]
    pools = [PlainPool(pool_size), PlainPool(pool_size)] if pool_size else None
    seeds = keras.random.SeedGenerator(3)
    rng = np.random.default_rng(0)
    noisy = [0.7 * x + rng.uniform(-0.3, 0.3, x.shape) for x in (IMAGES_A, IMAGES_B)]
    for step in range(2):  # the pool is full after the first: the second reads it
        # Numbers that float32 holds: `fit` may pass arrays on in it.
        a, b = (x[4 * step : 4 * step + 4].astype("float32").astype("float64") for x in noisy)
        logs = model.fit(a, b, batch_size=4, shuffle=False, verbose=0).history
        expected = plain_step(copies, pools, seeds, a, b, 4.0, identity_weight)
        assert set(logs) == LOGS
        for name, value in expected.items():
            assert logs[name] == pytest.approx([float(value)], rel=1e-5), (step, name)
    for name, network, old in zip(names, copies, start):
        assert moved(network, old) > 1e-3, name
        assert_same_weights(getattr(model, name), network, atol=1e-10)
    if pool_size:
        for pool, plain in zip((model.pool_a, model.pool_b), pools):
            np.testing.assert_allclose(pool.images, plain.images, atol=1e-10)
    else:
        assert model.pool_a is None and model.pool_b is None


@pytest.mark.slow
def test_the_test_step_is_the_losses_of_fixed_networks():
    model = narrow(cycle_weight=3.0, identity_weight=0.25)
    model.compile(**sgd(RATE))
    logs = model.evaluate(IMAGES_A, IMAGES_B, batch_size=16, verbose=0, return_dict=True)
    fake_b, fake_a = model.translate(IMAGES_A), model.translate(IMAGES_B, reverse=True)
    cycle = np.abs(model.reconstruct(IMAGES_A) - IMAGES_A).mean()
    cycle += np.abs(model.reconstruct(IMAGES_B, reverse=True) - IMAGES_B).mean()
    identity = np.abs(model.translate(IMAGES_B) - IMAGES_B).mean()
    identity += np.abs(model.translate(IMAGES_A, reverse=True) - IMAGES_A).mean()
    d_a, d_b = model.discriminator_a, model.discriminator_b
    adversarial = float(least_squares(d_a(fake_a), 1.0) + least_squares(d_b(fake_b), 1.0))
    d_loss = least_squares(d_a(IMAGES_A), 1.0) + least_squares(d_a(fake_a), 0.0)
    d_loss += least_squares(d_b(IMAGES_B), 1.0) + least_squares(d_b(fake_b), 0.0)
    assert set(logs) == LOGS
    assert logs["cycle_loss"] == pytest.approx(cycle, rel=1e-4)
    assert logs["identity_loss"] == pytest.approx(identity, rel=1e-4)
    assert logs["d_loss"] == pytest.approx(float(d_loss), rel=1e-4)
    assert logs["g_loss"] == pytest.approx(adversarial + 3 * (cycle + identity / 4), rel=1e-4)
    np.testing.assert_array_equal(model.pool_a.images, 0)  # evaluation fills no pool


@pytest.mark.slow
def test_both_directions_and_cycles():
    model = small(identity_weight=0, image_shape_b=COLOR)
    a, b = IMAGES_A[:5], np.repeat(IMAGES_B[:5], 3, axis=3)
    fake_b, fake_a = model.translate(a), model.translate(b, reverse=True)
    np.testing.assert_allclose(fake_b, model.generator_a_to_b(a), atol=1e-5)
    np.testing.assert_allclose(fake_a, model.generator_b_to_a(b), atol=1e-5)
    back = model.translate(fake_b, reverse=True)
    np.testing.assert_allclose(model.reconstruct(a, batch_size=2), back, atol=1e-4)
    back = model.translate(fake_a)
    np.testing.assert_allclose(model.reconstruct(b, reverse=True), back, atol=1e-4)
    model.compile()
    assert np.isfinite([*model.fit(a, b, verbose=0).history.values()]).all()
    for method in (model.translate, model.reconstruct):
        for images, reverse, channels in ((a, True, 3), (b, False, 1)):
            with pytest.raises(InputError, match=rf"'batch', 16, 16, {channels}\)"):
                method(images, reverse=reverse)


def test_defaults():
    model = CycleGAN()
    assert model.image_shape == model.image_shape_b == (32, 32, 1)
    assert (model.cycle_weight, model.identity_weight, model.pool_size) == (10.0, 0.5, 50)
    assert model.arguments["loss"] == "least_squares"
    model.compile()
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.beta_1 == 0.5
        assert float(optimizer.learning_rate) == pytest.approx(2e-4)


def test_the_papers_decay_of_the_learning_rate(tmp_path):
    decay = LinearDecay(2e-4, constant_steps=100, decay_steps=100)
    config = {"initial_learning_rate": 2e-4, "constant_steps": 100, "decay_steps": 100}
    for rate in (decay, {"class_name": "LinearDecay", "config": config}):
        model = narrow()
        model.compile(learning_rate=rate)
        for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
            for step, expected in ((0, 2e-4), (100, 2e-4), (150, 1e-4), (200, 0.0)):
                optimizer.iterations.assign(step)
                assert float(optimizer.learning_rate) == pytest.approx(expected)
    model.generator_optimizer.iterations.assign(175)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert float(again.generator_optimizer.learning_rate) == pytest.approx(5e-5)


@pytest.mark.full
def test_it_learns_the_other_set_without_pairs():
    """A is dark with a bright bar, B bright with a dark one, of other bars."""
    keras.utils.set_random_seed(0)
    model = narrow(8, identity_weight=0.0, cycle_weight=2.0)
    model.compile(learning_rate=2e-3)
    model.fit(IMAGES_A, IMAGES_B, batch_size=16, epochs=60, verbose=0)
    assert IMAGES_A.mean() < -0.5 < 0.5 < IMAGES_B.mean()
    assert model.translate(IMAGES_A).mean() > 0.3
    assert model.translate(IMAGES_B, reverse=True).mean() < -0.3
    for images, reverse in ((IMAGES_A, False), (IMAGES_B, True)):
        back = model.reconstruct(images, reverse=reverse)
        flat = np.abs(images - np.median(images)).mean()  # the bar would be lost
        assert np.abs(back - images).mean() < 0.7 * flat


# -------------------------------------------------------------- custom networks


def convolution(takes, channels, name):
    inputs = keras.Input(takes)
    outputs = keras.layers.Conv2D(channels, 3, padding="same", name=name)(inputs)
    return keras.Model(inputs, outputs)


def test_custom_networks_of_any_size(tmp_path):
    a, b = (10, 13, 1), (10, 13, 2)
    own = {
        "generator_a_to_b": convolution(a, 2, "g"), "generator_b_to_a": convolution(b, 1, "f"),
        "discriminator_a": convolution(a, 1, "d_a"), "discriminator_b": convolution(b, 1, "d_b"),
    }  # fmt: skip
    model = CycleGAN(a, b, identity_weight=0, pool_size=3, loss="hinge", seed=1, **own)
    model.compile()
    images_a, images_b = np.full((4, *a), 0.5, "float32"), np.ones((4, *b), "float32")
    model.fit(images_a, images_b, verbose=0)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(again.translate(images_a), model.translate(images_a))
    np.testing.assert_array_equal(again.pool_b.images, model.pool_b.images)
    assert np.abs(again.pool_b.images).max() > 0 and again.discriminator_a.layers[-1].name == "d_a"
    again.fit(images_a, images_b, verbose=0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"image_shape_b": COLOR},
         "identity_weight must be 0 if the two sets have images of different shapes. "
         "Received: identity_weight=0.5 for (16, 16, 1) and (16, 16, 3)."),
        ({"image_shape_b": (16, 20, 1), "identity_weight": 0},
         "of the same height and width. Received: 16x16 and 16x20."),
        ({"image_shape_b": 3}, "image_shape_b must be (height, width, channels)"),
        ({"pool_size": -1}, "pool_size must be an integer of at least 0. Received: pool_size=-1."),
        ({"cycle_weight": -1}, "cycle_weight must be a finite number of at least 0."),
        ({"identity_weight": "no"}, "identity_weight must be a finite number of at least 0."),
        ({"loss": "cycle"}, "loss must be one of"),
        ({"generator_b_to_a": convolution(SHAPE, 2, "f")},
         "generator_b_to_a must map ('batch', 16, 16, 1) to ('batch', 16, 16, 1)."),
        ({"discriminator_b": convolution(SHAPE, 2, "d")}, "discriminator_b must map"),
    ],
    ids=range(9),
)  # fmt: skip
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_invalid_images():
    model = small()
    model.compile()
    for given, words in (
        ((IMAGES_A, None), "is trained on (images_a, images_b). Received: images_a alone."),
        ((IMAGES_A, IMAGES_B[:7]), "needs as many images_b as images_a."),
        ((IMAGES_A, np.repeat(IMAGES_B, 3, axis=3)), "('batch', 16, 16, 1)"),
    ):
        for method in (model.fit, model.evaluate):
            with pytest.raises(InputError) as caught:
                method(*given, verbose=0)
            assert words in str(caught.value)
