"""Options of the default networks, and learning rates that change from step to step."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, SHAPE, smooth_pictures

from keras_genimg import VAE, VQGAN, VQVAE, ConditionalVAE
from keras_genimg.errors import InputError

BURDA = {"networks": "mlp", "network_options": {"units": [200, 200], "activation": "tanh"}}
COSINE = {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 8}}


def dense_layers(network):
    return [(layer.units, layer.activation.__name__) for layer in network.layers
            if isinstance(layer, keras.layers.Dense)]


def test_the_network_of_burda():
    vae = VAE((28, 28, 1), 50, **BURDA)
    hidden = [(200, "tanh"), (200, "tanh")]
    assert dense_layers(vae.encoder) == [*hidden, (50, "linear"), (50, "linear")]
    assert dense_layers(vae.decoder) == [*hidden, (784, "linear")]


def test_the_decoder_has_the_widths_in_reverse():
    vae = VAE(SHAPE, 4, networks="mlp", network_options={"units": (30, 20, 10)})
    assert [units for units, _ in dense_layers(vae.encoder)] == [30, 20, 10, 4, 4]
    assert [units for units, _ in dense_layers(vae.decoder)] == [10, 20, 30, 256]
    conditional = ConditionalVAE(SHAPE, 3, 4, networks="mlp", network_options={"units": (30, 20)})
    inner = [layer for layer in conditional.decoder.layers if isinstance(layer, keras.Model)]
    assert [units for units, _ in dense_layers(inner[0])] == [20, 30, 256]


def test_options_of_convolutions_reach_both_networks():
    options = {"filters": 12, "residual_filters": 5, "blocks": 1}
    vq_vae = VQVAE(SHAPE, 16, 8, network_options=options)
    widths = [6, 12, 12, 5, 12, 8], [12, 5, 12, 6, 1]
    for network, expected in zip((vq_vae.encoder, vq_vae.decoder), widths):
        found = [layer.filters for layer in network.layers if hasattr(layer, "filters")]
        assert found == expected
    local = VQVAE(SHAPE, 16, 8, networks="local", network_options={"filters": 12, "blocks": 1})
    for network, widths in ((local.encoder, [6, 12, 8]), (local.decoder, [12, 32, 12, 6, 1])):
        assert [layer.filters for layer in network.layers if hasattr(layer, "filters")] == widths
    assert VAE(SHAPE, 4, network_options={"filters": 3}).encoder.layers[1].filters == 3
    options = {"filters": 3, "blocks": 2, "units": 9}
    residual = VAE(SHAPE, 4, networks="residual", network_options=options)
    for network in (residual.encoder, residual.decoder):
        assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == 4


@pytest.mark.parametrize("networks, sides", [("local", (7, 7)), ("residual", (16, 16))])
def test_receptive_field_of_a_code(networks, sides):
    model = VQVAE(SHAPE, 16, 8, networks=networks)
    images = tf.random.stateless_uniform((1, *SHAPE), (1, 2), -1.0, 1.0)
    with tf.GradientTape() as tape:
        tape.watch(images)
        middle = tf.reduce_sum(model.encoder(images)[0, 1, 1] ** 2)
    seen = np.nonzero(tape.gradient(middle, images)[0, ..., 0].numpy())
    assert tuple(np.ptp(axis) + 1 for axis in seen) == sides


@pytest.mark.parametrize("make", [
    lambda: VAE(SHAPE, 4, **BURDA),
    lambda: ConditionalVAE(SHAPE, 3, 4, networks="mlp", network_options={"units": (9,)}),
    lambda: VQVAE(SHAPE, 16, 8, network_options={"filters": 8}),
    lambda: VQVAE(SHAPE, levels=(4, 4), network_options={"filters": 8}),
    lambda: VQVAE(SHAPE, 16, 8, networks="local", network_options={"filters": 8}),
    lambda: VQGAN(SHAPE, 16, 8, networks="local", network_options={"filters": 8}),
], ids=range(6))
def test_they_are_saved(make, tmp_path):
    model = make()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for mine, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    options = loaded.get_config()["network_options"]
    assert json.dumps(options) == json.dumps(model.get_config()["network_options"]) != "null"


MLP = VAE(SHAPE, 4, networks="mlp", network_options={"units": (3,)})


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: VAE(SHAPE, network_options={"units": [9]}),
         "must be a dict of some of filters, kernel_size, widest. "
         "Received: network_options={'units': [9]}."),
        (lambda: VAE(SHAPE, network_options=[9]), "Received: network_options=[9]."),
        (lambda: VAE(SHAPE, networks="mlp", network_options={"units": 9}),
         "Received: {'units': 9}"),
        (lambda: VAE(SHAPE, networks="mlp", network_options={"units": [0]}),
         "units must be a positive integer. Received: units=0."),
        (lambda: VAE(SHAPE, networks="mlp", network_options={"activation": "tan"}), "'tan'"),
        (lambda: VQVAE(SHAPE, network_options={"normalized": True}),
         "must be a dict of some of blocks, filters, residual_filters."),
        (lambda: VAE(SHAPE, 4, encoder=MLP.encoder, decoder=MLP.decoder,
                     network_options={"filters": 9}), "not for custom ones"),
        (lambda: VQVAE(SHAPE, networks="narrow"),
         "networks must be one of residual, local, attention. Received: networks='narrow'."),
        (lambda: VQVAE(SHAPE, networks=["local"]),
         "networks must be one of residual, local, attention. Received: networks=['local']."),
    ],
    ids=range(9),
)  # fmt: skip
def test_invalid_options(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)


# ------------------------------------------------------------- learning rates


def test_a_schedule_gives_each_step_its_rate():
    """Adam's first steps are as long as its rate: a weight tells which rate it was."""
    images = smooth_pictures(8)
    for rate in (COSINE, keras.optimizers.schedules.deserialize(COSINE)):
        keras.utils.set_random_seed(0)
        vae = VAE(SHAPE, 4, networks="mlp", network_options={"units": (4,)})
        vae.compile(learning_rate=rate)
        assert type(vae.optimizer).__module__ == "keras_genimg.optimizers"
        for step in range(3):
            expected = 0.1 * (1 + math.cos(math.pi * step / 8)) / 2
            assert float(vae.optimizer.learning_rate) == pytest.approx(expected, rel=1e-5)
            before = vae.decoder.get_weights()[-1]
            vae.fit(images, batch_size=8, verbose=0)
            if step == 0:
                moved = np.abs(vae.decoder.get_weights()[-1] - before)
                assert np.median(moved) == pytest.approx(0.1, rel=1e-3)


def test_a_schedule_is_saved_and_resumes(tmp_path):
    vae = VAE(SHAPE, 4, networks="mlp", network_options={"units": (4,)})
    vae.compile(learning_rate=COSINE)
    vae.fit(smooth_pictures(16), batch_size=8, verbose=0)
    vae.save(tmp_path / "vae.keras")
    json.dumps(vae.get_compile_config())
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert isinstance(loaded.optimizer._learning_rate, keras.optimizers.schedules.CosineDecay)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(
        0.1 * (1 + math.cos(math.pi * 2 / 8)) / 2, rel=1e-5
    )


def test_two_optimizers_have_a_schedule_or_two():
    gan = MODELS["gan"]()
    gan.compile(learning_rate=COSINE)
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert optimizer._learning_rate.decay_steps == 8
    gan.compile(learning_rate=(0.5, COSINE))
    assert float(gan.generator_optimizer.learning_rate) == 0.5
    assert gan.discriminator_optimizer._learning_rate.decay_steps == 8


@pytest.mark.parametrize(
    "rate, words",
    [
        ({"class_name": "Cosine", "config": {}}, "of one of CosineDecay,"),
        ({"initial_learning_rate": 0.1}, "Received: learning_rate={'initial_learning_rate': 0.1}."),
        ({"class_name": "CosineDecay", "config": {"decay": 3}},
         "must be the arguments of CosineDecay"),
        ({**COSINE, "config": {"initial_learning_rate": -1.0, "decay_steps": 8}},
         "starts with -1.0"),
        (math.nan, "finite"),
        ([0.1, 0.2], "finite"),
    ],
    ids=range(6),
)  # fmt: skip
def test_invalid_rates(rate, words):
    with pytest.raises(InputError) as caught:
        MLP.compile(learning_rate=rate)
    assert words in str(caught.value) and "\n" not in str(caught.value)
