"""Options of `GAN`: relativistic losses, R1, augmentation, other networks, two learning rates."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import smooth_pictures, train
from matrix import default_or_slow
from plain import assert_same_weights, copy_of, descend, sgd

from keras_genimg import GAN, InputError, distribution
from keras_genimg.core import VERSION
from keras_genimg.layers import MinibatchStandardDeviation, SpectralNormalization, diff_augment
from keras_genimg.losses import r1_penalty

SHAPE = (16, 16, 1)
RATE = 0.05
OPTIONS = {
    "relativistic": {"loss": "relativistic_average"},
    "r1": {"r1_weight": 2.0, "r1_interval": 1},
    "lazy_r1": {"r1_weight": 2.0, "r1_interval": 3},
    "lazy_r1_spectral": {"r1_weight": 2.0, "networks": "resnet"},
    "augmented": {"augment": "translation,color"},
    "spectral": {"spectral_normalization": True},
    "deviation": {"minibatch_standard_deviation": True},
}


def small(**arguments):
    return GAN(SHAPE, **{"latent_dim": 6, "seed": 3, **arguments})


def softplus_mean(values):
    return tf.reduce_mean(tf.math.softplus(values))


def relativistic(real, fake):
    """By its formula: each side against the other's mean."""
    real_mean, fake_mean = tf.reduce_mean(real), tf.reduce_mean(fake)
    return softplus_mean(-(real - fake_mean)) + softplus_mean(fake - real_mean)


@pytest.mark.parametrize("name", ["relativistic", "r1", "augmented"])
def test_a_step_is_that_of_a_plain_tape(name):
    keras.utils.set_random_seed(0)
    gan = small(**OPTIONS[name])
    gan.compile(**sgd(RATE))
    g, d = copy_of(gan.generator), copy_of(gan.discriminator)
    images = smooth_pictures(8)
    logs = gan.fit(images, batch_size=8, shuffle=False, verbose=0).history

    seeds, batch = keras.random.SeedGenerator(3), distribution.whole_batch(8)
    augmentation_seeds = keras.random.SeedGenerator(4)

    def seen(images):
        if name != "augmented":
            return images
        return diff_augment(images, batch, augmentation_seeds.next(), "translation,color")

    reals = seen(tf.constant(images))
    with tf.GradientTape() as tape_of_generator:
        noise = distribution.random_normal(batch, (6,), seeds.next())
        fakes = seen(g(noise, training=True))
    # 1. The discriminator.
    with tf.GradientTape() as tape:
        real, fake = d(reals, training=True), d(fakes, training=True)
        d_loss = relativistic(real, fake) if name == "relativistic" else (
            softplus_mean(-real) + softplus_mean(fake)
        )
        if name == "r1":
            with tf.GradientTape() as inner:
                inner.watch(reals)
                total = tf.reduce_sum(d(reals, training=True))
            slopes = inner.gradient(total, reals)
            d_loss += 2.0 * 0.5 * tf.reduce_mean(tf.reduce_sum(slopes**2, axis=(1, 2, 3)))
    descend(d, d_loss, tape, RATE)
    # 2. The generator, through the discriminator that has moved.
    with tape_of_generator:
        fake = d(fakes, training=True)
        g_loss = softplus_mean(-fake)
        if name == "relativistic":
            g_loss = relativistic(fake, d(reals, training=True))
    descend(g, g_loss, tape_of_generator, RATE)

    assert logs["d_loss"] == pytest.approx([float(d_loss)], rel=1e-4)
    assert logs["g_loss"] == pytest.approx([float(g_loss)], rel=1e-4)
    assert_same_weights(gan.discriminator, d, atol=2e-5)
    assert_same_weights(gan.generator, g, atol=2e-5)


# The layers of the others have a test of their own with two replicas, in tests/layers.
@pytest.mark.full
@pytest.mark.parametrize("name", OPTIONS)
def test_two_replicas_equal_one(name, mirrored, pictures):
    def made(strategy=None):  # with an uneven last batch
        return train(lambda: small(**OPTIONS[name]), pictures[:27], strategy)

    (one, history), (two, other) = made(), made(mirrored)
    for weight, its in zip(one, two):
        assert weight.dtype == np.float64
        np.testing.assert_allclose(its, weight, rtol=0, atol=1e-8)
    for log in history:
        np.testing.assert_allclose(other[log], history[log], rtol=1e-5)


@pytest.mark.parametrize("name", default_or_slow(OPTIONS, []))
def test_saved_and_loaded(name, tmp_path, pictures):
    gan = small(**OPTIONS[name])
    gan.compile()
    gan.fit(pictures, batch_size=16, verbose=0)
    gan.save(tmp_path / "gan.keras")
    again = keras.saving.load_model(tmp_path / "gan.keras")
    assert again.get_config() == gan.get_config()
    np.testing.assert_array_equal(again.generate(4, seed=1), gan.generate(4, seed=1))
    again.fit(pictures, batch_size=16, verbose=0)


@pytest.mark.parametrize("networks", default_or_slow(["dcgan5", "resnet"], []))
def test_networks_for_colour(networks, tmp_path):
    shape = (32, 32, 3)
    gan = GAN(shape, latent_dim=8, networks=networks, seed=0)
    gan.compile()
    images = smooth_pictures(8, size=32, channels=3)
    history = gan.fit(images, batch_size=8, verbose=0).history
    assert np.isfinite(history["d_loss"] + history["g_loss"]).all()
    assert gan.generate(2, seed=0).shape == (2, *shape)
    gan.export(tmp_path / "saved")
    served = tf.saved_model.load(tmp_path / "saved").signatures["serving_default"](
        num_images=tf.constant(2), seed=tf.constant(0, tf.int64)
    )["images"]
    assert served.shape == (2, *shape) and served.dtype == tf.uint8


def layers_of(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def test_the_discriminator_sees_float32_images_under_a_16_bit_policy():
    class Discriminator(keras.layers.Layer):
        """Notes what it is called with."""

        def build(self, shape):
            self.head = keras.layers.Dense(1, dtype="float32")
            self.head.build((None, 256))

        def call(self, images):
            seen.append(images.dtype)
            return self.head(tf.reshape(images, (-1, 256)))

    seen = []
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        gan = small(discriminator=Discriminator(dtype="float32", autocast=False))
    finally:
        keras.config.set_dtype_policy("float32")
    seen.clear()
    gan.compile(run_eagerly=True)
    gan.fit(smooth_pictures(8), batch_size=8, verbose=0)
    assert {tf.as_dtype(dtype) for dtype in seen} == {tf.float32}


def test_the_layers_of_each_option():
    plain = GAN((28, 28, 1), seed=0).discriminator
    assert not layers_of(plain, (SpectralNormalization, MinibatchStandardDeviation))
    both = GAN(
        (28, 28, 1), spectral_normalization=True, minibatch_standard_deviation=True
    ).discriminator
    assert len(layers_of(both, SpectralNormalization)) == 4  # three convolutions, one dense
    assert len(layers_of(both, MinibatchStandardDeviation)) == 1
    assert not layers_of(both, keras.layers.BatchNormalization)
    resnet = GAN((32, 32, 3), networks="resnet", spectral_normalization=False)
    assert not layers_of(resnet.discriminator, SpectralNormalization)
    assert layers_of(GAN((32, 32, 3), networks="resnet").discriminator, SpectralNormalization)


# --------------------------------------------------------- what the default networks depend on


@pytest.mark.parametrize(
    "given, networks, r1_weight",
    [
        ({"image_shape": SHAPE}, "dcgan", 0.0),
        ({"image_shape": (16, 16, 3)}, "fastgan", 0.1),
        ({"image_shape": (16, 16, 3), "normalization": True}, "fastgan", 0.0),
        ({"image_shape": (16, 16, 3), "spectral_normalization": True}, "fastgan", 0.0),
        ({"image_shape": (16, 16, 3), "r1_weight": 0.0}, "fastgan", 0.0),
        ({"image_shape": (16, 16, 3), "networks": "dcgan"}, "dcgan", 0.0),
        ({"image_shape": SHAPE, "networks": "fastgan"}, "fastgan", 0.1),
    ],
)
def test_default_networks_and_penalty(given, networks, r1_weight):
    gan = GAN(latent_dim=6, **given)
    assert (gan.networks, gan.r1_weight) == (networks, r1_weight)
    again = GAN.from_config(gan.get_config())
    assert (again.networks, again.r1_weight) == (networks, r1_weight)
    assert normalized(again) == normalized(gan)


def test_a_custom_discriminator_has_no_penalty_by_default():
    custom = GAN((16, 16, 3), 6, networks="dcgan").discriminator
    assert GAN((16, 16, 3), 6, discriminator=custom).r1_weight == 0.0


# ------------------------------------------------------------------------ R1 in some steps only


def test_r1_is_computed_in_every_third_step_three_times_as_strong():
    keras.utils.set_random_seed(0)
    gan = small(r1_weight=2.0, r1_interval=3)
    gan.compile(**sgd(0.0))  # D stays as it is
    images = smooth_pictures(8)
    penalty = 2.0 * float(r1_penalty(gan.discriminator, tf.constant(images)))
    found = []
    for _ in range(4):
        gan.fit(images, batch_size=8, verbose=0)
        found.append(float(gan.weighted_r1(tf.constant(images))))  # of the next step
    assert found == pytest.approx([0.0, 0.0, 3 * penalty, 0.0], rel=1e-4)


def test_logged_is_the_loss_with_the_penalty_of_the_step():
    logs = {}
    for weight in (0.0, 2.0):
        keras.utils.set_random_seed(0)
        gan = small(r1_weight=weight, r1_interval=2, normalization=False)
        gan.compile(**sgd(0.0))
        images = smooth_pictures(8)
        logs[weight] = gan.fit(images, batch_size=8, epochs=2, shuffle=False, verbose=0)
    penalty = 2.0 * float(r1_penalty(gan.discriminator, tf.constant(images)))
    first, second = np.subtract(logs[2.0].history["d_loss"], logs[0.0].history["d_loss"])
    assert first == pytest.approx(2 * penalty, rel=1e-3) and second == 0.0


def test_a_configuration_of_an_earlier_version_has_it_in_every_step():
    config = small(r1_weight=2.0).get_config()
    assert config.pop("r1_interval") == 16 and config.pop(VERSION)
    assert GAN.from_config(config).r1_interval == 1


# ------------------------------------------------ R1 and batch normalisation do not go together


def normalized(gan):
    return bool(layers_of(gan.discriminator, keras.layers.BatchNormalization))


@pytest.mark.parametrize("networks", ["dcgan", "dense_conv", "dcgan5", "mlp"])
def test_with_r1_the_default_discriminator_has_no_batch_normalisation(networks):
    shape = (32, 32, 1) if networks == "dcgan5" else SHAPE
    gan = GAN(shape, 6, networks=networks)
    assert normalized(gan) == ("dcgan" in networks)
    penalised = GAN(shape, 6, networks=networks, r1_weight=1.0)
    assert not normalized(penalised)
    penalised.r1_weight = 0.0  # changes the loss, not the network
    again = GAN.from_config(penalised.get_config())
    assert not normalized(again) and again.r1_weight == 0.0
    assert again.get_config() == penalised.get_config()


def test_with_r1_a_custom_discriminator_with_batch_normalisation_is_refused():
    custom = GAN(SHAPE, 6).discriminator
    with pytest.raises(InputError, match="of a GAN with r1_weight must have no batch") as caught:
        small(discriminator=custom, r1_weight=1.0)
    assert "\n" not in str(caught.value) and "LayerNormalization" in str(caught.value)
    with pytest.raises(InputError, match="must have no batch normalisation"):
        small(normalization=True, r1_weight=1.0)


@pytest.mark.parametrize("custom", [False, True])
def test_a_configuration_of_version_0_1_may_have_both(custom):
    config = small(discriminator=GAN(SHAPE, 6).discriminator if custom else None).get_config()
    del config["normalization"]
    config["r1_weight"] = 2.0
    gan = GAN.from_config(config)
    assert normalized(gan) and gan.r1_weight == 2.0
    again = GAN.from_config(gan.get_config())
    assert normalized(again) and again.get_config() == gan.get_config()


def test_a_weight_set_on_a_model_with_batch_normalisation_is_saved(tmp_path):
    gan = small()
    gan.compile()
    gan.r1_weight = 2.0
    gan.save(tmp_path / "gan.keras")
    again = keras.saving.load_model(tmp_path / "gan.keras")
    assert normalized(again) and again.r1_weight == 2.0


class Bare(GAN):
    """As users write them: without any option but those of Keras."""

    def __init__(self, name=None, trainable=True, dtype=None):
        super().__init__(SHAPE, 6, r1_weight=1.0, name=name, trainable=trainable, dtype=dtype)


def test_a_subclass_without_options_is_read_again():
    assert Bare.from_config(Bare().get_config()).r1_weight == 1.0


class Flat(GAN):
    """As users write them: the option passes through."""

    def __init__(self, r1_weight=1.0, **arguments):
        super().__init__(SHAPE, 6, r1_weight=r1_weight, **arguments)


def test_r1_in_a_subclass_without_the_option():
    again = Flat.from_config(Flat(2.0).get_config())
    assert not normalized(again) and again.r1_weight == 2.0


# ---------------------------------------------------------------- options without an effect


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"networks": "mlp", "spectral_normalization": True},
         "spectral_normalization is an option of the default discriminator of networks dcgan, "
         "fastgan, dense_conv, dcgan5, resnet. Received: spectral_normalization=True with "
         "networks='mlp'."),
        ({"networks": "mlp", "minibatch_standard_deviation": True}, "with networks='mlp'."),
        (
            {"networks": "mlp", "normalization": False},
            "networks dcgan, fastgan, dense_conv, dcgan5.",
        ),
        ({"networks": "resnet", "normalization": True}, "with networks='resnet'."),
        *(
            ({"networks": networks, "discriminator": 0, name: True},
             f"Received: {name}=True with a custom discriminator.")
            for networks in ("dcgan", "mlp")
            for name in (
                "normalization", "spectral_normalization", "minibatch_standard_deviation"
            )
        ),
    ],
    ids=range(10),
)  # fmt: skip
def test_options_without_an_effect(arguments, words):
    if "discriminator" in arguments:
        layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)]
        arguments = {**arguments, "discriminator": keras.Sequential(layers)}
    with pytest.raises(InputError) as caught:
        small(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_files_of_version_0_1_may_have_options_without_an_effect():
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)]
    config = small(discriminator=keras.Sequential(layers)).get_config()
    config |= {"spectral_normalization": True, "minibatch_standard_deviation": True}
    gan = GAN.from_config(config)
    assert GAN.from_config(gan.get_config()).is_custom("discriminator")


def test_rates_of_the_optimizers():
    def rates(**arguments):
        gan = GAN((32, 32, 1), **arguments)
        gan.compile()
        optimizer = gan.generator_optimizer
        return [round(float(value), 6) for value in (optimizer.learning_rate, optimizer.beta_1)]

    assert rates() == [1e-3, 0.5]
    assert rates(networks="mlp") == [2e-4, 0.5]
    assert rates(networks="resnet") == [2e-4, 0.0]


def test_truncation_at_sampling():
    gan = small(latent_dim=500)
    latents = gan.draw_latents(20, 1, truncation=0.5).numpy()
    assert 0.45 < np.abs(latents).max() <= 0.5
    # A normal density truncated there is nearly flat: standard deviation 0.2840.
    assert latents.std() == pytest.approx(0.2840, abs=0.01)
    assert gan.draw_latents(20, 1).numpy().std() == pytest.approx(1.0, abs=0.03)
    cut, whole = gan.generate(4, seed=1, truncation=0.5), gan.generate(4, seed=1)
    assert cut.shape == whole.shape and np.abs(cut - whole).max() > 1e-3
    for wrong in (0, -1.0, "much"):
        with pytest.raises(InputError, match="truncation"):
            gan.generate(4, truncation=wrong)
    with pytest.raises(InputError, match="noise='uniform'"):
        small(noise="uniform").generate(4, truncation=0.5)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"r1_weight": -1}, "r1_weight must be a finite number"),
        ({"r1_interval": 0}, "r1_interval must be a positive integer"),
        ({"augment": "flip"}, "policy must be"),
        ({"loss": "relativistic"}, "loss must be one of .*relativistic_average"),
    ],
)
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError, match=words):
        small(**arguments)


# -------------------------------------------------------------------- two time scales


def test_two_time_scales(tmp_path):
    gan = GAN(SHAPE, 4, seed=1)
    gan.compile(learning_rate=(1e-4, 4e-4))

    def rates(model):
        optimizers = model.generator_optimizer, model.discriminator_optimizer
        assert all(optimizer.beta_1 == 0.5 for optimizer in optimizers)
        return [float(optimizer.learning_rate) for optimizer in optimizers]

    assert rates(gan) == pytest.approx([1e-4, 4e-4])
    gan.fit(smooth_pictures(8), verbose=0)
    gan.save(tmp_path / "gan.keras")
    assert rates(keras.saving.load_model(tmp_path / "gan.keras")) == pytest.approx([1e-4, 4e-4])


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"learning_rate": (1e-4,)}, "learning_rate may be a pair"),
        (
            {"learning_rate": (1e-4, 1e-4), "generator_optimizer": "adam"},
            "with the default optimizers only",
        ),
        ({"learning_rate": (1e-4, "fast")}, "Received: learning_rate='fast'."),
    ],
    ids=range(3),
)
def test_invalid_rates(arguments, words):
    with pytest.raises(InputError) as caught:
        GAN(SHAPE, 4).compile(**arguments)
    assert words in str(caught.value)
