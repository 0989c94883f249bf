"""The default networks fit every promised size, and have the widths of their papers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import GAN, VAE, VQVAE, CNNClassifier, networks
from keras_genimg.checks import check_code_shape, check_image_shape
from keras_genimg.errors import InputError
from keras_genimg.networks import initializers

SIZES = [
    (16, 16), (20, 20), (28, 28), (32, 32), (36, 36), (44, 44), (64, 64), (100, 100), (128, 128),
    (16, 64), (64, 20), (28, 32),
]  # fmt: skip


def output_shapes(network):
    return [output.shape for output in network.outputs]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_shapes(size, channels):
    shape = (*size, channels)
    narrow = {"units": (8,)}  # a default width times 128x128x3 pixels is all this test would do
    for build, arguments in (
        (networks.dcgan_generator, {}),
        (networks.mlp_generator, narrow),
        (networks.conv_decoder, {}),
        (networks.mlp_decoder, narrow),
    ):
        network = build(shape, 5, **arguments)
        assert network.input_shape == (None, 5)
        assert network.output_shape == (None, *shape), build.__name__
    for build, arguments in (
        (networks.dcgan_discriminator, {}),
        (networks.mlp_discriminator, narrow),
    ):
        network = build(shape, **arguments)
        assert network.input_shape == (None, *shape)
        assert network.output_shape == (None, 1), build.__name__
    for build, arguments in ((networks.conv_encoder, {}), (networks.mlp_encoder, narrow)):
        network = build(shape, 5, **arguments)
        assert network.input_shape == (None, *shape)
        assert output_shapes(network) == [(None, 5), (None, 5)], build.__name__
    assert networks.vq_encoder(shape, 6).output_shape == (None, size[0] // 4, size[1] // 4, 6)
    assert networks.vq_decoder(shape, 6).output_shape == (None, *shape)


def test_the_largest_size():
    shape = (256, 256, 3)
    assert networks.dcgan_generator(shape, 5).output_shape == (None, *shape)
    assert networks.dcgan_discriminator(shape).output_shape == (None, 1)
    assert output_shapes(networks.conv_encoder(shape, 5)) == [(None, 5), (None, 5)]
    assert networks.conv_decoder(shape, 5).output_shape == (None, *shape)
    assert networks.vq_encoder(shape, 6).output_shape == (None, 64, 64, 6)
    assert networks.vq_decoder(shape, 6).output_shape == (None, *shape)


@pytest.mark.parametrize("size", [(16, 64), (20, 20), (44, 36)], ids="{0[0]}x{0[1]}".format)
def test_outputs_have_the_declared_shapes(size):
    shape = (*size, 3)
    latents = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")
    images = networks.dcgan_generator(shape, 5)(latents).numpy()
    assert images.shape == (2, *shape) and images.dtype == np.float32
    assert np.abs(images).max() <= 1 and (images[0] != images[1]).any()
    assert networks.dcgan_discriminator(shape)(images).shape == (2, 1)
    assert networks.conv_decoder(shape, 5)(latents).shape == (2, *shape)
    codes = networks.vq_encoder(shape, 6)(images)
    assert networks.vq_decoder(shape, 6)(codes).shape == (2, *shape)


def test_every_part_of_an_image_is_made_and_seen():
    """Odd sides are cut: no row or column may be a constant, nor be ignored."""
    keras.utils.set_random_seed(0)
    shape = (44, 20, 1)
    latents = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    images = networks.dcgan_generator(shape, 5)(latents).numpy()
    assert images.std(0).min() > 0
    discriminator = networks.dcgan_discriminator(shape)
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = discriminator(images)
    assert np.abs(tape.gradient(logits, images)).max(0).min() > 0


@pytest.mark.parametrize("make", [GAN, VAE, VQVAE])
@pytest.mark.parametrize("size", [(16, 16), (20, 44), (16, 64)], ids="{0[0]}x{0[1]}".format)
def test_models_take_these_sizes(make, size):
    model = make((*size, 3))
    images = np.zeros((2, *size, 3), "float32")
    if make is GAN:
        assert model.generate(2, seed=0).shape == images.shape
        assert model.discriminator(images).shape == (2, 1)
    else:
        assert model.reconstruct(images).shape == images.shape


@pytest.mark.parametrize(
    "size, nearest",
    [
        ((30, 30), (32, 32)),
        ((8, 8), (16, 16)),
        ((300, 300), (256, 256)),
        ((28, 27), (28, 28)),
        ((33, 1), (32, 16)),
        ((18, 500), (16, 256)),
        ((254, 62), (256, 64)),
    ],
)
def test_other_sizes_are_refused_with_the_nearest(size, nearest):
    for make in (GAN, VAE, VQVAE, CNNClassifier):
        with pytest.raises(InputError) as caught:
            make((*size, 3))
        message = str(caught.value)
        assert "multiples of 4 from 16 to 256" in message
        assert f"the nearest that fits is {nearest[0]}x{nearest[1]} " in message
        assert f"Received: {size[0]}x{size[1]}." in message
    # What the message names really fits, and is as near as any that does.
    assert check_image_shape((*nearest, 3)) == (*nearest, 3)
    for side, found in zip(size, nearest):
        assert abs(side - found) == min(abs(side - fits) for fits in range(16, 257, 4))


@pytest.mark.parametrize(
    "shape",
    [(28, 28), (28, 28, 1, 1), (28.5, 28, 1), (28, 28, 0), (-28, 28, 1), 28, None, "28x28x1"],
)
def test_invalid_image_shapes(shape):
    with pytest.raises(InputError, match="must be .height, width, channels., three") as caught:
        check_image_shape(shape)
    assert f"image_shape={shape!r}" in str(caught.value)


def test_custom_networks_take_any_size():
    assert check_image_shape([30, 7, 2], default_networks=False) == (30, 7, 2)


def test_code_shapes():
    assert check_code_shape([7, 5]) == (7, 5)
    for shape in ((7,), (7, 7, 1), (7, 0), 7):
        with pytest.raises(InputError, match="code_shape must be .height, width., two positive"):
            check_code_shape(shape)


CODES = {"embedding_dim": 6}
LATENTS = {"latent_dim": 5}
CLASSES = {"num_classes": 3}


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("conditional_dcgan_discriminator", CLASSES),
        ("conditional_dcgan_generator", LATENTS | CLASSES),
        ("conv_decoder", LATENTS),
        ("conv_encoder", LATENTS),
        ("dcgan_discriminator", {}),
        ("dcgan_generator", LATENTS),
        ("mlp_decoder", LATENTS),
        ("mlp_discriminator", {}),
        ("mlp_encoder", LATENTS),
        ("mlp_generator", LATENTS),
        ("patchgan_discriminator", {}),
        ("residual_decoder", LATENTS),
        ("residual_encoder", LATENTS),
        ("resnet_discriminator", {}),
        ("resnet_generator", LATENTS),
        ("shift_generator", {"content_dim": 5, "motion_dim": 2}),
        ("super_resolution_generator", {"scale": 2}),
        ("two_level_decoder", CODES),
        ("two_level_encoder", CODES),
        ("video_discriminator", {"num_frames": 2}),
        ("vq_decoder", CODES),
        ("vq_encoder", CODES),
    ],
)
def test_every_default_network_checks_its_size(name, arguments):
    for shape in ((30, 30, 3), (12, 16, 3), (16, 260, 3)):
        with pytest.raises(InputError, match="multiples of 4 from 16 to 256") as caught:
            getattr(networks, name)(shape, **arguments)
        assert f"Received: {shape[0]}x{shape[1]}." in str(caught.value)
    with pytest.raises(InputError, match="three positive integers"):
        getattr(networks, name)((32, 32), **arguments)


@pytest.mark.parametrize("name", ["conv", "mlp", "residual"])
def test_networks_with_classes_check_the_size_too(name):
    for part, make in (
        ("encoder", networks.conditional_encoder),
        ("decoder", networks.conditional_decoder),
    ):
        with pytest.raises(InputError, match="multiples of 4 from 16 to 256"):
            make(getattr(networks, f"{name}_{part}"), (30, 30, 1), 5, num_classes=3)


# ---------------------------------------------------------------- initial weights


def test_initializers_are_fresh_objects():
    for make in (initializers.normal, initializers.glorot_uniform, initializers.he_normal):
        first, second = make(), make()
        assert first is not second
        assert np.abs(first((3, 4)) - second((3, 4))).max() > 0  # layers of one shape differ


@pytest.mark.parametrize(
    "make, variance",
    [
        (initializers.normal, 0.02**2),
        (initializers.glorot_uniform, 2 / (200 + 300)),
        (lambda: initializers.glorot_uniform(2.0), 4 / (200 + 300)),
        (initializers.he_normal, 2 / 200),
    ],
    ids=["normal", "glorot_uniform", "glorot_uniform_2", "he_normal"],
)
def test_variance_of_initializers(make, variance):
    keras.utils.set_random_seed(0)
    weights = np.array(make()((200, 300)))
    assert np.var(weights) == pytest.approx(variance, rel=0.03)
    assert abs(weights.mean()) < 0.02 * np.sqrt(variance)


# -------------------------------------------------------------- the papers' sizes


def dense_widths(network):
    return [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]


def convolutions(network):
    return [
        (layer.filters, layer.kernel_size, layer.strides)
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]


def test_mlp():
    gan = GAN((28, 28, 1), latent_dim=64, networks="mlp")
    assert dense_widths(gan.generator) == [128, 128, 1024, 1024, 784]
    assert dense_widths(gan.discriminator) == [1024, 1024, 1]
    assert not convolutions(gan.discriminator)


@pytest.mark.parametrize("size", [16, 28, 64])
def test_dense_conv(size):
    gan = GAN((size, size, 1), latent_dim=64, networks="dense_conv")
    assert dense_widths(gan.generator) == [128, 128, size * size]
    assert convolutions(gan.discriminator) == [
        (filters, (5, 5), (2, 2)) for filters in (64, 128, 256, 512)
    ]
    assert dense_widths(gan.discriminator) == [1]


def test_dcgan_has_the_papers_layers():
    """Section 3 of Radford et al.: no pooling, no hidden dense layer, normalised, N(0, 0.02)."""
    keras.utils.set_random_seed(0)
    gan = GAN((64, 64, 3), latent_dim=100, networks="dcgan")
    kinds = [type(layer).__name__ for layer in gan.generator.layers]
    assert kinds.count("Dense") == 1 and "BatchNormalization" in kinds
    assert not any("Pooling" in type(layer).__name__ for layer in gan.discriminator.layers)
    assert dense_widths(gan.discriminator) == [1]
    activations = [
        layer for layer in gan.discriminator.layers if "LeakyReLU" in type(layer).__name__
    ]
    assert activations and all(layer.negative_slope == pytest.approx(0.2) for layer in activations)
    kernels = [w for w in gan.generator.weights + gan.discriminator.weights if w.name == "kernel"]
    for kernel in kernels:
        if np.prod(kernel.shape) > 1000:
            assert np.std(kernel) == pytest.approx(0.02, rel=0.15), kernel.path
    normalised = [type(layer).__name__ for layer in gan.discriminator.layers]
    first_norm = normalised.index("BatchNormalization")
    assert normalised[:first_norm].count("Conv2D") == 2  # none right after the first


def test_dropout_of_the_discriminator():
    network = networks.dcgan_discriminator((16, 16, 1), dropout=0.5, normalization=False)
    images = np.ones((4, 16, 16, 1), "float32")
    assert np.ptp(network(images, training=False)) == pytest.approx(0, abs=1e-6)
    assert np.ptp(network(images, training=True)) > 1e-6


def test_cnn_classifier():
    classifier = CNNClassifier((28, 28, 1))
    kinds = [type(layer).__name__ for layer in classifier.backbone.layers]
    assert kinds == ["InputLayer", "Conv2D", "MaxPooling2D", "Flatten", "Activation"]
    assert convolutions(classifier.backbone) == [(32, (3, 3), (1, 1))]
    assert dense_widths(classifier.head) == [10]
    # 28 - 2 = 26, pooled to 13: 13 * 13 * 32 features.
    assert classifier.backbone.output_shape == (None, 5408)
    # 3*3*32 + 32 in the convolution, 5408*10 + 10 in the dense layer.
    assert sum(np.prod(w.shape) for w in classifier.trainable_weights) == 54_410
