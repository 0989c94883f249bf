"""ConditionalGAN: one step against a plain GradientTape, and that both networks see the class."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from plain import copy_of, descend, formulas, sgd

from keras_genimg import ConditionalGAN, InputError, distribution
from keras_genimg.layers import diff_augment

LATENT_DIM, CLASSES, RATE = 6, 3, 0.05
AUGMENT = "translation,color"
KINDS = ("projection", "concatenation")
LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 2])
GIVEN = tf.constant(LABELS)  # beside tensors, Keras takes tensors alone
LOGS = {"g_loss", "d_loss", "real_score", "fake_score"}


def small(**arguments):
    arguments = {"seed": 3, "classifier_weight": 0.0, **arguments}
    return ConditionalGAN(SHAPE, CLASSES, LATENT_DIM, **arguments)


def cross_entropy(class_logits):
    shares = tf.nn.softmax(class_logits)
    return -tf.reduce_mean(tf.math.log(tf.gather(shares, GIVEN, batch_dims=1)))


@pytest.mark.parametrize(
    "options, loss, weight",
    [
        ({"networks": "dcgan"}, "non_saturating", 0.0),
        ({"conditioning": "concatenation"}, "hinge", 0.0),
        ({"augment": AUGMENT}, "non_saturating", 0.7),
    ],
)
def test_a_step_is_that_of_a_plain_tape(options, loss, weight):
    keras.utils.set_random_seed(0)
    gan = small(loss=loss, classifier_weight=weight, **options)
    gan.compile(**sgd(RATE))
    g, d = copy_of(gan.generator), copy_of(gan.discriminator)
    start = [g.get_weights(), d.get_weights()]
    images = smooth_pictures(8)
    logs = gan.fit(images, LABELS, batch_size=8, shuffle=False, verbose=0).history

    generator_loss, discriminator_loss = formulas(loss)
    seeds = keras.random.SeedGenerator(3)
    batch = distribution.whole_batch(8)
    noise = distribution.random_normal(batch, (LATENT_DIM,), seeds.next())
    augmentation_seeds = keras.random.SeedGenerator(4)

    def seen(images):
        if "augment" not in options:
            return images
        return diff_augment(images, batch, augmentation_seeds.next(), AUGMENT)

    reals = seen(tf.constant(images))
    with tf.GradientTape() as tape_of_generator:
        fakes = seen(g([noise, GIVEN], training=True))
    # 1. The discriminator, on real and generated images of the same classes, and its class
    #    logits of the real ones.
    with tf.GradientTape() as tape:
        real_logits = d([reals, GIVEN], training=True)
        fake_logits = d([fakes, GIVEN], training=True)
        d_loss = 0.0
        if weight:
            (real_logits, classes), (fake_logits, _) = real_logits, fake_logits
            d_loss = weight * cross_entropy(classes)
        d_loss += discriminator_loss(real_logits, fake_logits)
    descend(d, d_loss, tape, RATE)
    # 2. The generator, on the same noise and through the discriminator that has moved.
    with tape_of_generator:
        logits, g_loss = d([fakes, GIVEN], training=True), 0.0
        if weight:
            logits, classes = logits
            g_loss = weight * cross_entropy(classes)
        g_loss += generator_loss(logits)
    descend(g, g_loss, tape_of_generator, RATE)

    for network, copy, old in zip((gan.generator, gan.discriminator), (g, d), start):
        assert len(network.weights) == len(copy.weights) > 0
        for mine, theirs in zip(network.weights, copy.weights):
            np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=mine.path)
        # The step that is compared is no standstill.
        assert max(np.abs(a - b).max() for a, b in zip(copy.get_weights(), old)) > 3e-4
    assert logs["d_loss"] == pytest.approx([float(d_loss)], rel=1e-4)
    assert logs["g_loss"] == pytest.approx([float(g_loss)], rel=1e-4)
    assert logs["real_score"] == pytest.approx([float(tf.reduce_mean(tf.sigmoid(real_logits)))])
    assert logs["fake_score"] == pytest.approx([float(tf.reduce_mean(tf.sigmoid(fake_logits)))])
    if weight:
        right = np.mean(np.argmax(classes, axis=1) == LABELS)
        assert logs["class_accuracy"] == pytest.approx([right])


@pytest.mark.parametrize("conditioning", KINDS)
def test_labels_reach_both_networks_in_training(conditioning):
    """The same images with other labels: another update of D, and another of G."""
    moved = []
    for labels in (LABELS, (LABELS + 1) % CLASSES):
        keras.utils.set_random_seed(0)
        gan = small(conditioning=conditioning)
        gan.compile(**sgd(RATE))
        gan.fit(smooth_pictures(8), labels, batch_size=8, shuffle=False, verbose=0)
        moved.append([gan.generator.get_weights(), gan.discriminator.get_weights()])
    for one, other in zip(*moved):
        assert max(np.abs(a - b).max() for a, b in zip(one, other)) > 1e-4


def test_the_test_step_is_the_losses_of_fixed_networks():
    gan = small(ema_decay=None)
    gan.compile(**sgd(RATE))
    gan.fit(smooth_pictures(8), LABELS, batch_size=4, verbose=0)  # so that classes differ
    gan.seed_generator.state.assign(keras.random.SeedGenerator(3).state)
    images = smooth_pictures(8, seed=1)
    logs = gan.evaluate(images, LABELS, batch_size=8, verbose=0, return_dict=True)
    seed = keras.random.SeedGenerator(3).next()
    noise = distribution.random_normal(distribution.whole_batch(8), (LATENT_DIM,), seed)
    fakes = gan.generator([noise, GIVEN])
    real_logits, fake_logits = (gan.discriminator([tf.constant(x), GIVEN]) for x in (images, fakes))
    generator_loss, discriminator_loss = formulas("non_saturating")
    assert set(logs) == LOGS
    assert logs["d_loss"] == pytest.approx(float(discriminator_loss(real_logits, fake_logits)))
    assert logs["g_loss"] == pytest.approx(float(generator_loss(fake_logits)))


@pytest.mark.slow
@pytest.mark.parametrize("conditioning", KINDS)
def test_it_learns_which_class_is_which(conditioning):
    """Class 0 is dark and class 1 is bright: a few steps of training tell them apart."""
    keras.utils.set_random_seed(0)
    labels = np.arange(64) % 2
    images = np.broadcast_to((labels * 1.6 - 0.8)[:, None, None, None], (64, *SHAPE))
    images = images + np.random.default_rng(0).uniform(-0.1, 0.1, images.shape)
    gan = ConditionalGAN(
        SHAPE, 2, LATENT_DIM, conditioning=conditioning, ema_decay=None, seed=0
    )
    gan.compile(learning_rate=2e-3)
    gan.fit(images.astype("float32"), labels, batch_size=32, epochs=25, verbose=0)
    dark, bright = (gan.generate(16, [label] * 16, seed=1).mean() for label in (0, 1))
    assert bright - dark > 0.8


def test_a_classifier_is_saved_exported_and_independent_of_the_label(tmp_path):
    gan = small(classifier_weight=1.0)
    gan.compile()
    gan.fit(smooth_pictures(8), LABELS, batch_size=4, verbose=0)
    logs = gan.evaluate(smooth_pictures(8), LABELS, batch_size=8, verbose=0, return_dict=True)
    assert set(logs) == LOGS | {"class_accuracy"} and 0 <= logs["class_accuracy"] <= 1
    images = tf.constant(smooth_pictures(8))
    logits, classes = gan.discriminate(images, GIVEN)
    _, with_other_labels = gan.discriminate(images, (GIVEN + 1) % CLASSES)
    assert classes.shape == (8, CLASSES)
    np.testing.assert_array_equal(classes, with_other_labels)
    gan.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert again.classifier_weight == 1.0
    np.testing.assert_allclose(again.discriminate(images, GIVEN)[1], classes, atol=1e-6)
    gan.export(tmp_path / "saved")
    discriminate = tf.saved_model.load(tmp_path / "saved").signatures["discriminate"]
    outputs = discriminate(images=images, labels=tf.cast(GIVEN, tf.int32))
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(outputs["class_logits"], classes, atol=1e-5)


@pytest.mark.slow
def test_generate_uses_the_ema_generator():
    for decay in (0.9, None):
        gan = small(ema_decay=decay)
        gan.compile(learning_rate=0.02)
        gan.fit(smooth_pictures(8), LABELS, batch_size=4, epochs=4, verbose=0)
        used = gan.ema_generator if decay else gan.generator
        labels = [2, 0, 0]
        latents = gan.draw_latents(3, 4)
        images = gan.generate(3, labels, seed=4)
        np.testing.assert_allclose(images, used([latents, tf.constant(labels)]), atol=1e-5)
        np.testing.assert_allclose(gan([latents, tf.constant(labels)]), images, atol=1e-5)
        # The seed fixes all but the class: another class gives another image of the same latents.
        other = gan.generate(3, [2, 0, 1], seed=4)
        np.testing.assert_allclose(other[:2], images[:2], atol=1e-5)
        assert np.abs(other[2] - images[2]).max() > 1e-3


@pytest.mark.parametrize(
    "loss", ["non_saturating", "minimax", "least_squares", "hinge", "wasserstein"]
)
def test_every_loss_trains(loss):
    gan = small(loss=loss)
    gan.compile()
    before = [gan.generator.get_weights(), gan.discriminator.get_weights()]
    history = gan.fit(smooth_pictures(8), LABELS, batch_size=4, verbose=0).history
    assert set(history) == LOGS and np.isfinite([*history.values()]).all()
    for network, weights in zip((gan.generator, gan.discriminator), before):
        for weight, old in zip(network.get_weights(), weights):
            if weight.ndim > 1:
                assert np.abs(weight - old).max() > 0


def test_the_default_classifier():
    default = small(classifier_weight=None)
    again = ConditionalGAN.from_config(default.get_config())
    assert default.classifier_weight == again.classifier_weight == 1.0
    shapes = [tuple(output.shape) for output in default.discriminator.outputs]
    assert shapes == [(None, 1), (None, CLASSES)]
    for arguments in ({"conditioning": "concatenation"}, {"discriminator": custom_discriminator()}):
        assert small(classifier_weight=None, **arguments).classifier_weight == 0.0


def test_the_default_optimizers():
    gan = small()
    gan.compile()
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.beta_1 == 0.5
        assert float(optimizer.learning_rate) == pytest.approx(1e-3)


# ---------------------------------------------------------------- custom networks


@keras.saving.register_keras_serializable(package="test_conditional_gan")
class CustomGenerator(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.classes = keras.layers.Embedding(CLASSES, LATENT_DIM)
        self.pixels = keras.layers.Dense(math.prod(SHAPE), activation="tanh")
        self.reshape = keras.layers.Reshape(SHAPE)

    def call(self, inputs, training=False):
        latents, labels = inputs
        return self.reshape(self.pixels(latents + self.classes(labels)))


def functional(shape, end):
    inputs, labels = keras.Input(shape), keras.Input((), dtype="int32")
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Concatenate()([x, keras.layers.Embedding(CLASSES, 4)(labels)])
    for layer in end:
        x = layer(x)
    return keras.Model([inputs, labels], x)


def custom_generator():
    pixels = keras.layers.Dense(math.prod(SHAPE), activation="tanh")
    return functional((LATENT_DIM,), [pixels, keras.layers.Reshape(SHAPE)])


def custom_discriminator(units=1):
    return functional(SHAPE, [keras.layers.Dense(units)])


@pytest.mark.parametrize("make", [custom_generator, CustomGenerator])
def test_custom_networks(make, tmp_path):
    gan = small(generator=make(), discriminator=custom_discriminator())
    gan.compile()
    before = gan.generator.get_weights()
    gan.fit(smooth_pictures(8), LABELS, verbose=0)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(gan.generator.get_weights(), before))
    images = gan.generate(2, [0, 2], seed=1)
    gan.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert type(again.generator) is type(gan.generator)
    np.testing.assert_array_equal(again.generate(2, [0, 2], seed=1), images)
    again.fit(smooth_pictures(8), LABELS, verbose=0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            {"generator": custom_discriminator()},
            "generator must take inputs of shape ('batch', 6) and ('batch',). Keras reports: ",
        ),
        (
            {"generator": keras.Sequential([keras.layers.Dense(7)])},
            "generator must take inputs of shape ('batch', 6) and ('batch',). Keras reports: ",
        ),
        (
            {"discriminator": custom_discriminator(2)},
            "discriminator must map ('batch', 16, 16, 1) and ('batch',) to ('batch', 1). "
            "Received: a network that returns ('batch', 2).",
        ),
        ({"generator": "dcgan"}, "generator must be a keras.Model or layer. Received: 'dcgan'."),
        (
            {"conditioning": "film"},
            "conditioning must be one of projection, concatenation. "
            "Received: conditioning='film'.",
        ),
        ({"loss": "hing"}, "loss must be one of"),
        (
            {"classifier_weight": -1},
            "classifier_weight must be a finite number of at least 0. "
            "Received: classifier_weight=-1.",
        ),
        (
            {"classifier_weight": 1, "conditioning": "concatenation"},
            'An auxiliary classifier needs conditioning="projection"; otherwise its features '
            "depend on the class that it predicts. Received: conditioning='concatenation'.",
        ),
        (
            {"classifier_weight": 1, "discriminator": custom_discriminator()},
            "discriminator must map ('batch', 16, 16, 1) and ('batch',) to ('batch', 1) and "
            "('batch', 3). Received: a network that returns ('batch', 1).",
        ),
        ({"noise": "pink"}, "noise must be one of normal, uniform, truncated_normal."),
        ({"ema_decay": 1}, "ema_decay must be a number of at least 0 and below 1, or None."),
    ],
    ids=range(11),
)
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [1, 0, -3, 2.0, True, None])
def test_an_invalid_number_of_classes(number):
    with pytest.raises(InputError) as caught:
        ConditionalGAN(SHAPE, number)
    words = f"num_classes must be an integer of at least 2. Received: num_classes={number!r}."
    assert str(caught.value) == words


IMAGES = smooth_pictures(8)


@pytest.mark.parametrize(
    "labels, words",
    [
        (None, "is trained on (images, labels), labels being integers of shape (batch,)."),
        (LABELS + 1, "labels must be integers from 0 to 2, of shape (n,). Received: 1 to 3."),
        (LABELS - 1, "Received: -1 to 1."),
        (LABELS / 2, "Received: 0 to 1."),
        (LABELS[:7], "There must be one label per image. Received: 7 labels for 8 images."),
        (np.eye(3)[LABELS], "takes labels of shape (batch,), one integer per image."),
    ],
    ids=range(6),
)
def test_invalid_labels(labels, words):
    gan = small()
    gan.compile()
    before = gan.get_weights()
    for method in (gan.fit, gan.evaluate):
        with pytest.raises(InputError) as caught:
            method(IMAGES, labels, verbose=0)
        assert words in str(caught.value) and "\n" not in str(caught.value)
    for weight, old in zip(gan.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
