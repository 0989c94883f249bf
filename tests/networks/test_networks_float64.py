"""Under the policy float64 every network computes in float64 throughout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import networks

SHAPE = (16, 16, 1)
WIDTHS = {"filters": 4, "widest": 8}
QUANTIZED = {"embedding_dim": 6, "filters": 8, "residual_filters": 4, "blocks": 1}

# Name of the function, positional arguments, keyword arguments.
NETWORKS = [
    ("attention_decoder", (SHAPE, 6), {"filters": 4, "blocks": 1, "downsampling": 8}),
    ("attention_encoder", (SHAPE, 6), {"filters": 4, "blocks": 1, "downsampling": 8}),
    ("conditional_dcgan_discriminator", (SHAPE, 3), WIDTHS | {"classifies": True}),
    ("conditional_dcgan_discriminator", (SHAPE, 3, "concatenation"), WIDTHS),
    ("conditional_dcgan_generator", (SHAPE, 5, 3), WIDTHS),
    ("conditional_dcgan_generator", (SHAPE, 5, 3, "concatenation"), WIDTHS),
    ("conditional_decoder", (networks.conv_decoder, SHAPE, 5, 3), WIDTHS),
    ("conditional_encoder", (networks.conv_encoder, SHAPE, 5, 3), WIDTHS),
    ("conditional_fastgan_generator", (SHAPE, 5, 3), WIDTHS),
    ("conv_decoder", (SHAPE, 5), WIDTHS),
    ("conv_encoder", (SHAPE, 5), WIDTHS),
    ("dcgan5_discriminator", ((32, 32, 1),), {"filters": 4}),
    ("dcgan5_generator", ((32, 32, 1), 5), {"filters": 4}),
    ("dcgan_discriminator", (SHAPE,), WIDTHS | {"dropout": 0.5}),
    ("dcgan_discriminator", (SHAPE,), WIDTHS | {"spectral_normalization": True}),
    ("dcgan_discriminator", (SHAPE,), WIDTHS | {"minibatch_standard_deviation": True}),
    ("dcgan_generator", (SHAPE, 5), WIDTHS),
    ("fastgan_generator", (SHAPE, 5), WIDTHS),
    ("mlp_decoder", (SHAPE, 5), {"units": (8,)}),
    ("mlp_discriminator", (SHAPE,), {"units": (8,)}),
    ("mlp_encoder", (SHAPE, 5), {"units": (8,)}),
    ("mlp_generator", (SHAPE, 5), {"units": (8,)}),
    ("patchgan_discriminator", (SHAPE, SHAPE), WIDTHS),
    ("patchgan_discriminator", (SHAPE,), WIDTHS | {"normalization": "instance"}),
    ("projected_discriminator", ([(8, 8, 3), (4, 4, 5)],), {"filters": 4}),
    ("projected_discriminator", ([(8, 8, 3)],), {"filters": 4, "num_classes": 3}),
    ("residual_decoder", (SHAPE, 5), WIDTHS | {"units": 8}),
    ("residual_encoder", (SHAPE, 5), WIDTHS | {"units": 8}),
    ("residual_translator", (SHAPE, SHAPE), {"filters": 4, "blocks": 1}),
    ("resnet_discriminator", (SHAPE,), {"filters": 4}),
    ("resnet_generator", (SHAPE, 5), {"filters": 4}),
    ("shift_generator", (SHAPE, 5, 2), WIDTHS | {"maps": 4}),
    ("super_resolution_generator", (SHAPE, 2), {"filters": 4, "blocks": 1}),
    ("two_level_decoder", (SHAPE,), QUANTIZED),
    ("two_level_encoder", (SHAPE,), QUANTIZED),
    ("two_level_join", ((2, 2, 6), (4, 4, 8)), {"filters": 8, "residual_filters": 4}),
    ("unet", (SHAPE, SHAPE), WIDTHS),
    ("video_discriminator", (SHAPE, 3), WIDTHS),
    ("vq_decoder", (SHAPE,), QUANTIZED),
    ("vq_encoder", (SHAPE,), QUANTIZED | {"normalized": True}),
    ("vq_encoder", (SHAPE,), QUANTIZED | {"local": True}),
]
AUTOREGRESSIVE = [
    ("CausalTransformer", ((3, 4, 1), 7), {"features": 8, "num_heads": 2, "num_classes": 3}),
    ("GatedPixelCNN", ((3, 4, 3), 7), {"filters": 6, "num_layers": 2}),
    (
        "GatedPixelCNN",
        ((3, 4, 1), 7),
        {"embedded": True, "filters": 8, "num_layers": 2, "num_classes": 3, "dropout": 0.2}
        | {"condition_shape": (2, 2), "condition_embeddings": 5},
    ),
]


@pytest.fixture
def float64():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)


def float_weights(network):
    return [weight for weight in network.weights if "int" not in str(weight.dtype)]


def inputs_of(network):
    """Float64 inputs that float32 does not hold exactly, and classes."""
    rng = np.random.default_rng(0)
    inputs = [
        rng.integers(0, 3, 2) if x.dtype == "int32" else rng.uniform(-1, 1, (2, *x.shape[1:]))
        for x in network.inputs
    ]
    return inputs if len(inputs) > 1 else inputs[0]


def test_every_public_network_is_here():
    made = {name for name, *_ in NETWORKS + AUTOREGRESSIVE}
    # See test_frozen_features.py and tests/models/test_projected_gan.py.
    others = {"application_network", "feature_maps", "random_projector"}
    assert made == set(networks.__all__) - {"check_scale"} - others


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "name, arguments, options", NETWORKS, ids=[f"{i}-{case[0]}" for i, case in enumerate(NETWORKS)]
)
def test_float64(float64, name, arguments, options, training):
    network = getattr(networks, name)(*arguments, **options)
    weights = float_weights(network)
    assert weights and {str(weight.dtype) for weight in weights} == {"float64"}
    for x in (*network.inputs, *network.outputs):
        assert x.dtype in ("float64", "int32")
    inputs = inputs_of(network)
    outputs = tf.nest.flatten(network(inputs, training=training))
    assert {output.dtype for output in outputs} == {tf.float64}
    if not training:  # the last layers did not round: hardly an output is a float32
        for output in map(np.array, outputs):
            output = output[(output != 0) & (np.abs(output) != 1)]  # as ReLU and clipping give
            assert np.mean(output == output.astype("float32")) < 0.1


@pytest.mark.parametrize("name", ["dcgan_discriminator", "conv_encoder", "vq_encoder"])
def test_nothing_is_rounded_to_float32(float64, name):
    """A change of an input by 1e-12, which float32 loses, reaches the output in proportion."""
    options = {"dcgan_discriminator": {}, "conv_encoder": {"latent_dim": 5}}
    network = getattr(networks, name)(SHAPE, **options.get(name, {"embedding_dim": 6}))
    images = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE))
    direction = np.random.default_rng(1).normal(size=images.shape)

    def change(step):
        near, far = (tf.nest.flatten(network(images + s * direction))[0] for s in (-step, step))
        return np.array(far - near) / step

    np.testing.assert_allclose(change(1e-9), change(1e-8), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name, arguments, options",
    AUTOREGRESSIVE,
    ids=["CausalTransformer", "GatedPixelCNN", "GatedPixelCNN-codes"],
)
def test_float64_of_autoregressive_networks(float64, name, arguments, options):
    network = getattr(networks, name)(*arguments, **options)
    weights = float_weights(network)
    assert weights and {str(weight.dtype) for weight in weights} == {"float64"}
    (height, width, channels), levels = arguments
    rng = np.random.default_rng(0)
    given = {}
    if "num_classes" in options:
        given["labels"] = np.array([0, 2])
    if "condition_shape" in options:
        given["condition"] = rng.integers(0, 5, (2, 2, 2))
    noise = tf.constant(rng.gumbel(size=(height, 2, width, channels, levels)))
    values = network.sample(lambda row: noise[row], 2, **given)
    logits = network(values, **given)
    assert logits.dtype == tf.float64
    # One pass and the cached steps agree to float64's precision: each draw is the argmax.
    scores = logits + tf.transpose(noise, (1, 0, 2, 3, 4))
    np.testing.assert_array_equal(values, tf.argmax(scores, axis=-1))
    again = network.sample(lambda row: tf.cast(noise[row], tf.float32), 2, **given)
    assert again.shape == values.shape  # noise of another precision is accepted
