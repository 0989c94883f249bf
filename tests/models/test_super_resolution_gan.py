"""SuperResolutionGAN: a step against plain tapes, and the details that it learns to add."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from PIL import Image
from plain import assert_same_weights, copy_of, descend, formulas, moved, sgd

from keras_genimg import SuperResolutionGAN
from keras_genimg.errors import InputError
from keras_genimg.layers import BicubicResize
from keras_genimg.networks import super_resolution_generator

LOW, RATE = (8, 8, 1), 0.05
CONTENT_LOGS = {"g_loss", "content_loss", "psnr"}
DEFAULT_NETWORKS = {"generator": None, "discriminator": None}
LOGS = CONTENT_LOGS | {"d_loss", "real_score", "fake_score"}


def small_generator():
    network = super_resolution_generator(SHAPE, 2, filters=4, blocks=1)
    last = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    # Not the zeros it starts from: gradients reach every layer from the first step on.
    kernel = np.random.default_rng(0).normal(0, 0.1, last.kernel.shape)
    last.kernel.assign(kernel.astype("float32"))
    return network


def small_discriminator(shape=SHAPE, units=1):
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, "tanh"), keras.layers.Dense(units)]
    return keras.Sequential([keras.Input(shape), *layers])


def two_feature_maps():
    """A content network with two feature maps."""
    images = keras.Input(SHAPE)
    x = keras.layers.Conv2D(3, 3, activation="tanh")(images)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(images, [x, keras.layers.Flatten()(images)])


def small(**arguments):
    networks = {"generator": small_generator(), "discriminator": small_discriminator()}
    return SuperResolutionGAN(SHAPE, 2, **{**networks, "seed": 3, **arguments})


def bicubic(images, size):
    """Resized by Pillow, one image after the other."""
    made = [Image.fromarray(i[..., 0], "F").resize(size, Image.Resampling.BICUBIC) for i in images]
    return np.clip(np.stack(made), -1, 1)[..., None].astype("float32")


def ratio(images, made):
    errors = np.mean((images - np.asarray(made)) ** 2, axis=(1, 2, 3))
    return np.mean(10 * np.log10(4 / errors))


@pytest.mark.parametrize(
    "loss, weight, features",
    [("non_saturating", 0.3, False), ("hinge", 0.3, True), ("non_saturating", 0.0, False)],
)
def test_a_step_is_that_of_plain_tapes(loss, weight, features):
    keras.utils.set_random_seed(0)
    network = two_feature_maps() if features else None
    model = small(loss=loss, adversarial_weight=weight, content_network=network)
    model.compile(**sgd(RATE))
    g, d = copy_of(model.generator), copy_of(model.discriminator)
    start = [g.get_weights(), d.get_weights()]
    images = smooth_pictures(6)
    logs = model.fit(images, batch_size=6, shuffle=False, verbose=0).history

    generator_loss, discriminator_loss = formulas(loss)
    low = bicubic(images, LOW[:2])
    # 1. The generator, through the discriminator before its update.
    with tf.GradientTape() as tape:
        made = g(low, training=True)
        content = tf.reduce_mean((made - images) ** 2)
        if features:
            maps = zip(network(images, training=False), network(made, training=False))
            content = sum(tf.reduce_mean((a - b) ** 2) for a, b in maps) / 2
        g_loss = content + weight * generator_loss(d(made, training=True))
    descend(g, g_loss, tape, RATE)
    # 2. The discriminator, on the outputs from before that update.
    with tf.GradientTape() as tape:
        real_logits, fake_logits = d(images, training=True), d(made, training=True)
        d_loss = discriminator_loss(real_logits, fake_logits)
    if weight:
        descend(d, d_loss, tape, RATE)

    assert_same_weights(model.generator, g)
    assert_same_weights(model.discriminator, d)
    assert moved(g, start[0]) > 3e-4
    assert (moved(d, start[1]) > 1e-3) == bool(weight)  # by content alone it is unchanged
    expected = {
        "g_loss": g_loss,
        "content_loss": content,
        "psnr": ratio(images, made),
        "d_loss": d_loss,
        "real_score": tf.reduce_mean(tf.sigmoid(real_logits)),
        "fake_score": tf.reduce_mean(tf.sigmoid(fake_logits)),
    }
    assert set(logs) == (LOGS if weight else CONTENT_LOGS)
    for name in logs:
        assert logs[name] == pytest.approx([float(expected[name])], rel=1e-4), name


@pytest.mark.parametrize("weight", [0.3, 0.0])
def test_the_test_step_is_the_losses_of_fixed_networks(weight):
    model = small(adversarial_weight=weight)
    model.compile(**sgd(RATE))
    images = smooth_pictures(8)
    logs = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    generator_loss, discriminator_loss = formulas("non_saturating")
    made = model.generator(bicubic(images, LOW[:2]))
    real_logits, fake_logits = model.discriminator(images), model.discriminator(made)
    content = float(tf.reduce_mean((made - images) ** 2))
    assert set(logs) == (LOGS if weight else CONTENT_LOGS)
    assert logs["content_loss"] == pytest.approx(content, rel=1e-4)
    assert logs["psnr"] == pytest.approx(ratio(images, made), rel=1e-4)
    assert logs["g_loss"] == pytest.approx(
        content + weight * float(generator_loss(fake_logits)), rel=1e-4
    )
    if weight:
        assert logs["d_loss"] == pytest.approx(float(discriminator_loss(real_logits, fake_logits)))


def test_low_resolution_is_that_of_pillow():
    model = small()
    images = smooth_pictures(5)
    low = model.downsample(images, batch_size=2)
    # Other batches may be rounded otherwise.
    np.testing.assert_allclose(model.sources_of(images), low, atol=1e-6)
    assert low.shape == (5, *LOW) and low.dtype == np.float32
    np.testing.assert_allclose(low, bicubic(images, LOW[:2]), atol=1e-6)
    with pytest.raises(InputError, match=r"made for images of shape \('batch', 16, 16, 1\)"):
        model.downsample(low)


def test_untrained_it_is_bicubic_interpolation():
    for scale in (2, 4):
        model = SuperResolutionGAN(SHAPE, scale)
        low = model.downsample(smooth_pictures(3))
        assert low.shape == (3, 16 // scale, 16 // scale, 1)
        np.testing.assert_allclose(model.translate(low), BicubicResize(16, 16)(low), atol=1e-5)


@pytest.mark.parametrize("weight", [pytest.param(0.0, marks=pytest.mark.slow), 1e-3])
def test_it_learns_what_interpolation_cannot(weight):
    keras.utils.set_random_seed(0)
    images = np.sign(smooth_pictures(32, seed=1))  # bars with sharp edges
    model = SuperResolutionGAN(
        SHAPE, 2, generator=super_resolution_generator(SHAPE, 2, filters=8, blocks=1),
        discriminator=small_discriminator(), adversarial_weight=weight,
    )
    model.compile(learning_rate=3e-3)
    history = model.fit(images, batch_size=32, epochs=40, verbose=0).history
    low = model.downsample(images)
    assert ratio(images, model.translate(low)) > ratio(images, BicubicResize(16, 16)(low)) + 1.5
    assert history["psnr"][-1] > history["psnr"][0] + 1.5


def test_images_without_any_error_do_not_stop_training():
    """Black stays black: an infinite ratio, which counts as 100 dB."""
    model = small(generator=super_resolution_generator(SHAPE, 2, filters=4, blocks=1))
    model.compile(**sgd(0.0))
    logs = model.fit(np.full((4, *SHAPE), -1.0, "float32"), batch_size=4, verbose=0).history
    assert logs["psnr"] == [100.0] and logs["content_loss"][0] < 1e-12


def test_the_content_network_is_frozen_saved_and_unchanged(tmp_path):
    network = two_feature_maps()
    before = network.get_weights()
    model = small(content_network=network)
    model.compile()
    images = smooth_pictures(8)
    model.fit(images, batch_size=4, epochs=2, verbose=0)
    for weight, old in zip(network.get_weights(), before):  # the moments of its normalisation too
        np.testing.assert_array_equal(weight, old)
    assert network.trainable_weights == []
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    for weight, old in zip(again.content_network.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
    logs = [m.evaluate(images, verbose=0, return_dict=True) for m in (model, again)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)
    # And content is not compared in pixels.
    pixels = np.mean((model.translate(model.downsample(images)) - images) ** 2)
    assert abs(logs[0]["content_loss"] - pixels) > 1e-3 * pixels
    assert type(again.content_network) is type(network)


def test_a_loss_and_custom_networks_are_saved(tmp_path):
    pixels = keras.layers.Conv2D(1, 3, padding="same", activation="tanh")
    generator = keras.Sequential([keras.Input(LOW), keras.layers.UpSampling2D(), pixels])
    model = small(generator=generator, loss="least_squares", adversarial_weight=0.5)
    model.compile()
    model.fit(smooth_pictures(4), verbose=0)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    low = model.downsample(smooth_pictures(3))
    np.testing.assert_array_equal(again.translate(low), model.translate(low))
    assert (again.arguments["loss"], again.adversarial_weight) == ("least_squares", 0.5)


def test_the_papers_optimizers():
    model = small()
    model.compile()
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.beta_1 == 0.9
        assert float(optimizer.learning_rate) == pytest.approx(1e-4)
    default = SuperResolutionGAN(SHAPE)  # our own networks have a higher rate
    default.compile()
    assert float(default.generator_optimizer.learning_rate) == pytest.approx(5e-4)


def test_it_does_not_generate_from_noise():
    with pytest.raises(InputError, match="use translate.images. instead of generate"):
        small().generate(3)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"scale": 3}, "scale must be 2 or 4. Received: scale=3."),
        ({"image_shape": (18, 18, 1), **DEFAULT_NETWORKS}, "the nearest that fits is 16x16"),
        ({"image_shape": 16}, "image_shape must be (height, width, channels)"),
        ({"image_shape": (18, 18, 1), "scale": 4}, "multiples of the scale, 4. Received: 18x18."),
        ({"adversarial_weight": -1}, "adversarial_weight must be a finite number of at least 0."),
        ({"loss": "relativistic_average"}, "loss must be one of minimax, non_saturating"),
        (
            {"generator": small_discriminator()},
            "generator must take inputs of shape ('batch', 8, 8, 1).",
        ),
        (
            {"generator": small_discriminator(LOW)},
            "generator must map ('batch', 8, 8, 1) to ('batch', 16, 16, 1). "
            "Received: a network that returns ('batch', 1).",
        ),
        (
            {"discriminator": small_discriminator(units=2)},
            "discriminator must map ('batch', 16, 16, 1) to ('batch', 1).",
        ),
        ({"content_network": len}, "content_network must be a keras.Model or layer."),
        (
            {"content_network": small_discriminator((7, 7, 1))},
            "content_network must take inputs of shape ('batch', 16, 16, 1).",
        ),
        ({"seed": 1.5}, "seed must be a 64-bit integer or None."),
    ],
    ids=range(12),
)
def test_invalid_arguments(arguments, words):
    networks = {"generator": small_generator(), "discriminator": small_discriminator()}
    with pytest.raises(InputError) as caught:
        SuperResolutionGAN(**{"image_shape": SHAPE, **networks, **arguments})
    assert words in str(caught.value) and "\n" not in str(caught.value)
