"""Pix2Pix: a step against a plain GradientTape, pairs, and the same network by regression alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from plain import assert_same_weights, copy_of, descend, formulas, moved, sgd

from keras_genimg import InputError, Pix2Pix

COLOR, RATE = (16, 16, 3), 0.02
INPUTS = smooth_pictures(8)
TARGETS = -np.repeat(INPUTS, 3, axis=3) * np.float32([1.0, 0.5, -0.5])
LOGS = {"g_loss", "d_loss", "l1_loss", "real_score", "fake_score"}


def small(**arguments):
    return Pix2Pix(COLOR, SHAPE, **{"seed": 3, **arguments})


def one_fit_step(model):
    return model.fit(INPUTS, TARGETS, batch_size=8, shuffle=False, verbose=0).history


@pytest.mark.parametrize(
    "loss, weights",
    [("non_saturating", (100.0, 1.0)), ("hinge", (3.0, 0.5)), ("hinge", (3.0, 0.0))],
)
def test_a_step_is_that_of_a_plain_tape(loss, weights):
    keras.utils.set_random_seed(0)
    l1_weight, adversarial_weight = weights
    model = small(loss=loss, l1_weight=l1_weight, adversarial_weight=adversarial_weight)
    rate = RATE / l1_weight
    model.compile(**sgd(rate))
    g, d = copy_of(model.generator), copy_of(model.discriminator)  # dropout of the same seed
    start = [g.get_weights(), d.get_weights()]
    logs = one_fit_step(model)

    generator_loss, discriminator_loss = formulas(loss)
    x, y = tf.constant(INPUTS), tf.constant(TARGETS)
    with tf.GradientTape() as g_tape:
        made = g(x, training=True)
        # 1. The discriminator, on the pairs and on the translations of their inputs.
        with tf.GradientTape() as d_tape:
            real_logits = d([x, y], training=True)
            fake_logits = d([x, tf.stop_gradient(made)], training=True)
            d_loss = discriminator_loss(real_logits, fake_logits)
        if adversarial_weight:
            descend(d, d_loss, d_tape, rate)
        # 2. The generator, through the updated discriminator.
        l1_loss = tf.reduce_mean(tf.abs(made - y))
        g_loss = l1_weight * l1_loss
        if adversarial_weight:
            g_loss += adversarial_weight * generator_loss(d([x, made], training=True))
    descend(g, g_loss, g_tape, rate)

    assert_same_weights(model.generator, g)
    assert moved(g, start[0]) > 3e-4
    assert logs["g_loss"] == pytest.approx([float(g_loss)], rel=1e-4)
    assert logs["l1_loss"] == pytest.approx([float(l1_loss)], rel=1e-4)
    if not adversarial_weight:  # the discriminator is unchanged and logs nothing
        assert set(logs) == {"g_loss", "l1_loss"}
        for weight, old in zip(model.discriminator.get_weights(), start[1]):
            np.testing.assert_array_equal(weight, old)
        return
    assert_same_weights(model.discriminator, d)
    assert moved(d, start[1]) > 1e-5
    assert set(logs) == LOGS
    assert logs["d_loss"] == pytest.approx([float(d_loss)], rel=1e-4)
    assert logs["real_score"] == pytest.approx([float(tf.reduce_mean(tf.sigmoid(real_logits)))])
    assert logs["fake_score"] == pytest.approx([float(tf.reduce_mean(tf.sigmoid(fake_logits)))])


def test_the_test_step_is_the_losses_of_fixed_networks():
    model = small(l1_weight=7.0)
    model.compile(**sgd(RATE))
    logs = model.evaluate(INPUTS, TARGETS, batch_size=8, verbose=0, return_dict=True)
    made = model.translate(INPUTS)
    generator_loss, discriminator_loss = formulas("non_saturating")
    real_logits = model.discriminator([INPUTS, TARGETS])
    fake_logits = model.discriminator([INPUTS, made])
    l1_loss = np.abs(made - TARGETS).mean()
    assert set(logs) == LOGS
    assert logs["l1_loss"] == pytest.approx(l1_loss, rel=1e-5)
    assert logs["d_loss"] == pytest.approx(float(discriminator_loss(real_logits, fake_logits)))
    g_loss = float(generator_loss(fake_logits)) + 7.0 * l1_loss
    assert logs["g_loss"] == pytest.approx(g_loss, rel=1e-5)


def test_defaults():
    model = Pix2Pix()
    assert model.image_shape == model.source_shape == (32, 32, 3)
    assert model.l1_weight == 100.0 and model.adversarial_weight == 1.0
    model.compile()
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.beta_1 == 0.5
        assert float(optimizer.learning_rate) == pytest.approx(2e-4)


def test_translations_use_moving_moments_and_no_dropout():
    model = small()
    whole, moments = model.translate(INPUTS), model.generator.non_trainable_weights
    np.testing.assert_allclose(model.translate(INPUTS[:1]), whole[:1], atol=1e-5)
    before = [np.array(weight) for weight in moments]
    np.testing.assert_array_equal(model.translate(INPUTS), whole)
    assert all((weight == old).numpy().all() for weight, old in zip(moments, before))
    # The paper's way is in reach: with dropout, and with the moments of these images, which count.
    first, second = (model(INPUTS, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3 and np.abs(first - whole).max() > 1e-3
    changed = [(np.array(weight) != old).any() for weight, old in zip(moments, before)]
    assert sum(changed) == len(changed)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_it_learns_to_translate_inputs_into_targets(weight):
    keras.utils.set_random_seed(0)
    model = small(adversarial_weight=weight)
    model.compile(learning_rate=2e-3)
    inputs, targets = np.tile(INPUTS, (4, 1, 1, 1)), np.tile(TARGETS, (4, 1, 1, 1))
    logs = model.fit(inputs, targets, batch_size=16, epochs=25, verbose=0).history
    assert logs["l1_loss"][-1] < 0.5 * logs["l1_loss"][0]
    # Better than the best output that ignores the input.
    blind = np.abs(TARGETS - np.median(TARGETS, axis=0)).mean()
    assert np.abs(model.translate(INPUTS) - TARGETS).mean() < 0.7 * blind


# -------------------------------------------------------------- custom networks


def network(takes, makes, name):
    inputs = [keras.Input(shape) for shape in takes]
    x = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    outputs = keras.layers.Conv2D(makes[-1], 3, padding="same", name=name)(x)
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


def test_custom_networks_of_any_size(tmp_path):
    color, grey = (10, 13, 3), (10, 13, 1)
    model = Pix2Pix(
        color, grey, generator=network([grey], color, "g"),
        discriminator=network([grey, color], (1,), "d"), loss="least_squares", seed=1,
    )
    model.compile()
    inputs, targets = np.zeros((4, *grey), "float32"), np.ones((4, *color), "float32")
    model.fit(inputs, targets, verbose=0)
    made = model.translate(inputs)
    assert made.shape == (4, *color)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(again.translate(inputs), made)
    assert again.arguments["loss"] == "least_squares" and again.generator.layers[-1].name == "g"
    again.fit(inputs, targets, verbose=0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"generator": network([SHAPE], SHAPE, "g")},
         "generator must map ('batch', 16, 16, 1) to ('batch', 16, 16, 3). "
         "Received: a network that returns ('batch', 16, 16, 1)."),
        ({"discriminator": network([COLOR], (1,), "d")},
         "discriminator must take inputs of shape ('batch', 16, 16, 1) and ('batch', 16, 16, 3)."),
        ({"discriminator": network([SHAPE, COLOR], (2,), "d")},
         "to ('batch', 'rows', 'columns', 1). "
         "Received: a network that returns ('batch', 16, 16, 2)."),
        ({"l1_weight": -1}, "l1_weight must be a finite number of at least 0."),
        ({"adversarial_weight": float("nan")}, "adversarial_weight must be a finite number"),
        ({"loss": "l2"}, "loss must be one of"),
        ({"source_shape": (16, 32, 1)}, "of the same height and width. Received: 16x32 and 16x16."),
        ({"source_shape": (15, 16, 1)}, "the nearest that fits is 16x16"),
        ({"source_shape": 16}, "source_shape must be (height, width, channels)"),
    ],
    ids=range(9),
)  # fmt: skip
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        Pix2Pix(**{"image_shape": COLOR, "source_shape": SHAPE, **arguments})
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given, words",
    [
        ((INPUTS, None), "Pix2Pix is trained on (inputs, targets). Received: inputs alone."),
        ((INPUTS, INPUTS), "images of shape ('batch', 16, 16, 3)"),
        ((TARGETS, TARGETS), "images of shape ('batch', 16, 16, 1)"),
        ((INPUTS, TARGETS[:7]), "as many targets as inputs. Received: 8 inputs and 7 targets."),
        ((INPUTS, 9 * TARGETS), "takes images in [-1, 1]."),
        ((INPUTS, np.arange(8)), "floating-point"),
    ],
    ids=range(6),
)
def test_invalid_pairs(given, words):
    model = small()
    model.compile()
    for method in (model.fit, model.evaluate):
        with pytest.raises(InputError) as caught:
            method(*given, verbose=0)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_invalid_images_to_translate():
    for images, words in ((TARGETS, "('batch', 16, 16, 1)"), (2 * INPUTS, "[-1, 1]")):
        with pytest.raises(InputError) as caught:
            small().translate(images)
        assert words in str(caught.value)
