"""Frozen layers: they stay frozen, in training and in files, and optimizers keep their state."""

import copy
import json
import pickle
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from matrix import python

from keras_genimg import GAN, VAE, VQVAE, CNNClassifier, InputError, PixelCNN
from keras_genimg.callbacks import Resume
from keras_genimg.core.layer_states import frozen_layers

IMAGES, LABELS = smooth_pictures(16), np.arange(16) % 3
FIT = {"batch_size": 8, "verbose": 0}


@keras.saving.register_keras_serializable(package="test_layer_states")
class Blocks(keras.layers.Layer):
    """A network written as a layer: its configuration does not name its layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [keras.layers.Dense(4), keras.layers.Dense(1)]

    def build(self, input_shape):
        self.blocks[0].build((None, 256))
        self.blocks[1].build((None, 4))

    def call(self, inputs):
        outputs = keras.ops.reshape(inputs, (-1, 256))
        for block in self.blocks:
            outputs = block(outputs)
        return outputs


def make_gan(**arguments):
    keras.utils.set_random_seed(1)
    generator = keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(256),
        keras.layers.Reshape(SHAPE),
    ])  # fmt: skip
    return GAN(SHAPE, 4, seed=1, **{"generator": generator, "discriminator": Blocks(), **arguments})


def make_vae():
    keras.utils.set_random_seed(1)
    return VAE(SHAPE, 2, networks="mlp", network_options={"units": (8, 4)}, seed=1)


def loaded(model, path):
    model.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # "Skipping variable loading for optimizer"
        return keras.saving.load_model(path)


def assert_same_optimizers(model, again):
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def stays(layer, train):
    """Whether training leaves the weights of a layer as they are."""
    before = layer.get_weights()
    train()
    return all((a == b).all() for a, b in zip(before, layer.get_weights()))


COPIES = {
    "file": loaded,
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, path: copy.deepcopy(model),
}


@pytest.mark.parametrize(
    "how, compiled",
    [
        ("file", "before"), ("deepcopy", "after"),
        *[pytest.param(how, when, marks=pytest.mark.slow) for how, when in (
            ("file", "after"), ("pickle", "before"), ("pickle", "after"), ("deepcopy", "before"),
        )],
    ],
)  # fmt: skip
def test_layers_stay_frozen(how, compiled, tmp_path):
    """Layers of custom networks, frozen before `compile` or after it."""
    gan = make_gan()
    if compiled == "after":
        gan.compile(run_eagerly=True)
        gan.fit(IMAGES, **FIT)
    gan.generator.layers[0].trainable = False
    gan.discriminator.blocks[1].trainable = False
    if compiled == "before":
        gan.compile(run_eagerly=True)
    for _ in range(2):
        assert stays(gan.generator.layers[0], lambda: gan.fit(IMAGES, **FIT))
    again = COPIES[how](gan, tmp_path / "x.keras")
    assert [layer.trainable for layer in again.generator.layers] == [False, True, True]
    assert [layer.trainable for layer in again.discriminator.blocks] == [True, False]
    assert again.get_config()["frozen_layers"] == gan.get_config()["frozen_layers"]
    assert_same_optimizers(gan, again)
    # Training goes on as in the model that was saved.
    for model in (gan, again):
        model.seed_generator.state.assign([0, 1])
        for layer in (model.generator.layers[0], model.discriminator.blocks[1]):
            assert stays(layer, lambda: model.fit(IMAGES, shuffle=False, **FIT))
    for one, other in zip(gan.get_weights(), again.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_default_networks_and_whole_ones(tmp_path):
    vae = make_vae()
    vae.encoder.trainable = False
    vae.decoder.trainable = False
    vae.decoder.trainable = True
    vae.decoder.layers[1].trainable = False
    vae.compile(run_eagerly=True)
    assert stays(vae.encoder, lambda: vae.fit(IMAGES, **FIT))
    again = loaded(vae, tmp_path / "x.keras")
    assert not again.encoder.trainable and not again.encoder.layers[-1].trainable
    assert [layer.trainable for layer in again.decoder.layers[:3]] == [True, False, True]
    assert_same_optimizers(vae, again)
    assert stays(again.encoder, lambda: again.fit(IMAGES, **FIT))
    configured = VAE.from_config(json.loads(json.dumps(vae.get_config())))
    assert frozen_layers(configured) == frozen_layers(vae) and not configured.compiled

    # The first layers frozen, in Keras's usual way for the last one to be trained.
    classifier = CNNClassifier(SHAPE, 3)
    classifier.backbone.trainable = False
    classifier.backbone.layers[-1].trainable = True
    again = loaded(classifier, tmp_path / "x.keras")
    assert [each.trainable for each in again.backbone._flatten_layers()] == [
        each.trainable for each in classifier.backbone._flatten_layers()
    ]


LOADER = """
import json, sys
import keras, keras_genimg
keras.layers.Dense(3), keras.layers.Conv2D(3, 3), keras_genimg.VAE()  # other numbers in names
vae = keras.saving.load_model(sys.argv[1])
states = [layer.trainable for layer in vae.encoder.layers]
print(json.dumps([states, int(vae.optimizer.iterations)]))
"""


@pytest.mark.slow
def test_another_process(tmp_path):
    vae = make_vae()
    vae.compile(run_eagerly=True)
    vae.encoder.layers[2].trainable = False
    vae.fit(IMAGES, **FIT)
    vae.save(tmp_path / "x.keras")
    states = [layer.trainable for layer in vae.encoder.layers]
    assert python(LOADER, tmp_path / "x.keras") == [states, 2] and not all(states)


def test_what_constructors_freeze_is_not_recorded(tmp_path):
    assert "frozen_layers" not in make_gan().get_config()  # the EMA generator is frozen
    prior = PixelCNN(code_shape=(4, 4), num_embeddings=16, filters=4, layers=1)
    prior.compile()
    model = VQVAE(SHAPE, 16, 8, prior=prior)
    assert "frozen_layers" not in model.get_config()
    again = loaded(model, tmp_path / "x.keras")
    assert not again.prior.network.trainable and len(again.prior.optimizer.variables) > 2


def test_a_model_frozen_as_a_whole(tmp_path):
    vae = make_vae()
    vae.compile(run_eagerly=True)
    vae.fit(IMAGES, **FIT)
    vae.trainable = False
    again = loaded(vae, tmp_path / "x.keras")
    assert not again.trainable and not again.encoder.layers[1].trainable
    assert_same_optimizers(vae, again)
    again.evaluate(IMAGES, **FIT)
    again.trainable = True
    again.fit(IMAGES, **FIT)
    assert int(again.optimizer.iterations) == 4


@pytest.mark.parametrize(
    "name, other", [("generator", "discriminator"), ("discriminator", "generator")]
)
@pytest.mark.parametrize("again", [False, True])
def test_a_network_frozen_as_a_whole_and_the_other_trains(again, name, other):
    gan = make_gan()
    gan.compile(run_eagerly=again or name == "discriminator")
    gan.fit(IMAGES, **FIT)
    getattr(gan, name).trainable = False
    if again:
        gan.compile(gan.generator_optimizer, gan.discriminator_optimizer, run_eagerly=True)
    before = getattr(gan, other).get_weights()
    assert stays(getattr(gan, name), lambda: gan.fit(IMAGES, **FIT))
    assert any((a != b).any() for a, b in zip(before, getattr(gan, other).get_weights()))
    # Steps are counted all the same: schedules, warm-ups and checkpoints depend on them.
    assert int(gan.generator_optimizer.iterations) == 4
    assert int(gan.discriminator_optimizer.iterations) == 4


@pytest.mark.slow
def test_a_frozen_network_on_two_replicas(mirrored):
    with mirrored.scope():
        gan = make_gan()
        gan.discriminator.trainable = False
        gan.compile()
    data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(8)
    assert stays(gan.discriminator, lambda: gan.fit(data, verbose=0))
    assert int(gan.discriminator_optimizer.iterations.numpy()) == 2


def test_nothing_to_train_or_unfrozen_later(tmp_path):
    classifier = CNNClassifier(SHAPE, 3)
    classifier.trainable = False
    classifier.compile(run_eagerly=True)
    classifier.evaluate(IMAGES, LABELS, **FIT)
    with pytest.raises(InputError, match="needs weights that are trained.*CNNClassifier, all of"):
        classifier.fit(IMAGES, LABELS, **FIT)
    classifier.trainable = True
    with pytest.raises(InputError, match=r"call compile\(\) again"):
        classifier.train_on_batch(IMAGES, LABELS)

    vae = make_vae()
    vae.compile(keras.optimizers.SGD(0.01, use_ema=True), run_eagerly=True)
    vae.encoder.trainable = False
    with pytest.raises(InputError, match=r"call compile\(\) again.*use_ema, frozen"):
        vae.fit(IMAGES, **FIT)
    assert_same_optimizers(vae, loaded(vae, tmp_path / "x.keras"))


def test_a_run_with_frozen_layers_is_resumed(tmp_path):
    def run(epochs):
        gan = make_gan()
        gan.compile(run_eagerly=True)
        gan.generator.layers[0].trainable = False
        frozen = gan.generator.layers[0].get_weights()
        gan.fit(IMAGES, epochs=epochs, shuffle=False, callbacks=[Resume(tmp_path)], **FIT)
        assert all((a == b).all() for a, b in zip(frozen, gan.generator.layers[0].get_weights()))
        return gan

    run(1)
    resumed = run(2)
    assert int(resumed.generator_optimizer.iterations) == 4


def test_lora_and_quantized_layers_are_refused(tmp_path):
    with_lora = make_gan()
    with_lora.compile(run_eagerly=True)
    with_lora.generator.layers[0].enable_lora(2)
    quantized = make_gan()
    quantized.compile(run_eagerly=True)
    quantized.generator.layers[0].quantize("int8")
    for model, words in ((with_lora, "without LoRA.*dense"), (quantized, "litert.*quantized kern")):
        for refused in (
            lambda model: model.compile(),
            lambda model: model.fit(IMAGES, **FIT),
            lambda model: model.save(tmp_path / "x.keras"),
            copy.deepcopy,
        ):
            with pytest.raises(InputError, match=words):
                refused(model)
    assert not (tmp_path / "x.keras").exists()
    with pytest.raises(InputError, match='export.format="litert", precision="int8"'):
        make_gan().quantize("int8")
