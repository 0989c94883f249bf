"""The conditional networks: shapes, where the class enters, and the projection by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import networks
from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization, ConditionalBatchNormalization

KINDS = ("projection", "concatenation")
CLASSES = 3


def generator(kind, shape=(16, 16, 1), **arguments):
    return networks.conditional_dcgan_generator(shape, 5, CLASSES, kind, **arguments)


def discriminator(kind, shape=(16, 16, 1), **arguments):
    return networks.conditional_dcgan_discriminator(shape, CLASSES, kind, **arguments)


def randomize(network):
    """Weights far from their start, so that classes differ."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        noise = rng.normal(0, 0.3, weight.shape)
        weight.assign(np.abs(noise) + 0.5 if "variance" in weight.path else weight + noise)
    return network


def images_of(shape, count=2):
    return np.random.default_rng(1).uniform(-1, 1, (count, *shape)).astype("float32")


def latents_of(count=2):
    return np.random.default_rng(2).normal(size=(count, 5)).astype("float32")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(16, 16, 1), (28, 28, 3), (44, 20, 3), (16, 64, 1)], ids=str)
def test_shapes(kind, shape):
    makes, judges = generator(kind, shape), discriminator(kind, shape)
    assert makes.output_shape == (None, *shape) and judges.output_shape == (None, 1)
    labels = np.array([0, 2], "int32")
    images = makes([latents_of(), labels]).numpy()
    assert images.shape == (2, *shape) and images.dtype == np.float32
    assert np.abs(images).max() <= 1
    logits = judges([images, labels])
    assert logits.shape == (2, 1) and logits.dtype == tf.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_the_class_changes_image_and_logit(kind, training):
    makes, judges = randomize(generator(kind)), randomize(discriminator(kind))
    latents = np.repeat(latents_of(1), 3, axis=0)
    images = np.repeat(images_of((16, 16, 1), 1), 3, axis=0)
    labels = np.array([0, 1, 1], "int32")
    generated = makes([latents, labels], training=training).numpy()
    logits = judges([images, labels], training=training).numpy()
    for outputs in (generated, logits):  # the same class twice is the same output
        assert np.abs(outputs[0] - outputs[1]).max() > 1e-2
        np.testing.assert_allclose(outputs[1], outputs[2], atol=1e-5)


def test_every_normalisation_of_the_projection_generator_depends_on_the_class():
    network = generator("projection", (64, 64, 3))
    kinds = [type(layer) for layer in network.layers]
    # 64 -> 32 -> 16 -> 8 -> 4: the smallest grid and three on the way.
    assert kinds.count(ConditionalBatchNormalization) == 4 and BatchNormalization not in kinds
    # At the start all classes are alike.
    latents = np.repeat(latents_of(1), 2, axis=0)
    images = network([latents, np.array([0, 1])]).numpy()
    np.testing.assert_allclose(images[0], images[1], atol=1e-6)


@pytest.mark.parametrize("normalization", [True, False])
def test_the_projection_is_an_inner_product_with_the_features(normalization):
    """Eq. 3 of Miyato and Koyama: psi(phi(x)) + <e_y, phi(x)>, taken apart in NumPy."""
    network = randomize(discriminator("projection", normalization=normalization))
    images, labels = images_of((16, 16, 1), 4), np.array([2, 0, 1, 2])
    flatten = next(layer for layer in network.layers if isinstance(layer, keras.layers.Flatten))
    features = np.array(keras.Model(network.inputs[0], flatten.output)(images))
    psi = next(layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
    weights, bias = psi.get_weights()
    (directions,) = network.get_layer("class_directions").get_weights()
    assert directions.shape == (CLASSES, features.shape[1])
    expected = features @ weights[:, 0] + bias + (features * directions[labels]).sum(-1)
    np.testing.assert_allclose(network([images, labels])[:, 0], expected, rtol=1e-4, atol=1e-3)


def test_concatenation_is_the_plain_network_on_a_longer_input():
    makes, judges = randomize(generator("concatenation")), randomize(discriminator("concatenation"))
    labels = np.array([2, 0])
    one_hot = np.eye(CLASSES, dtype="float32")[labels]
    latents, images = latents_of(), images_of((16, 16, 1))
    plain = networks.dcgan_generator((16, 16, 1), 5 + CLASSES)
    plain.set_weights(makes.get_weights())
    np.testing.assert_allclose(
        makes([latents, labels]), plain(np.concatenate([latents, one_hot], -1)), atol=1e-5
    )
    plain = networks.dcgan_discriminator((16, 16, 1 + CLASSES))
    plain.set_weights(judges.get_weights())
    planes = np.broadcast_to(one_hot[:, None, None, :], (2, 16, 16, CLASSES))
    np.testing.assert_allclose(
        judges([images, labels]), plain(np.concatenate([images, planes], -1)), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_reach_the_networks(kind):
    assert generator(kind, widest=8).count_params() < generator(kind).count_params() / 4
    network = discriminator(kind, dropout=0.5, normalization=False)
    inputs = [np.ones((4, 16, 16, 1), "float32"), np.zeros(4, "int32")]
    assert np.ptp(network(inputs, training=False)) == pytest.approx(0, abs=1e-6)
    assert np.ptp(network(inputs, training=True)) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load(kind, tmp_path):
    labels = np.array([1, 2])
    for network, inputs in (
        (randomize(generator(kind)), [latents_of(), labels]),
        (randomize(discriminator(kind)), [images_of((16, 16, 1)), labels]),
    ):
        network.save(tmp_path / "x.keras")
        again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
        np.testing.assert_array_equal(again(inputs), network(inputs))


@pytest.mark.parametrize("kind", ["projektion", None, ["projection"]])
def test_an_unknown_conditioning(kind):
    for make in (generator, discriminator):
        with pytest.raises(InputError) as caught:
            make(kind)
        assert str(caught.value) == (
            "conditioning must be one of projection, concatenation. "
            f"Received: conditioning={kind!r}."
        )
