"""Generator and discriminator on two logical CPUs: equal weights, work on the right device."""

import functools

import cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures, train
from matrix import default_or_slow

from keras_genimg import GAN, WGANGP, ConditionalGAN, InputError
from keras_genimg.core import Clips, Labels, dtype_policy
from keras_genimg.placement import on_devices

PLACES = "generator must be placed on one of CPU:0, CPU:1."
CPUS = {"generator": "CPU:0", "discriminator": "CPU:1"}
LABELS = np.arange(8) % 3
MODELS = {
    "gan": lambda: GAN(SHAPE, 6, seed=3, spectral_normalization=True),
    "r1": lambda: GAN(SHAPE, 6, seed=3, r1_weight=1.0),
    "wgan_gp": lambda: WGANGP(SHAPE, 6, seed=3, n_critic=2),
    "conditional_gan": lambda: ConditionalGAN(SHAPE, 3, 6, seed=3, classifier_weight=1.0),
}


def trained(name, eagerly=False):
    """In float64, where a difference is no rounding."""
    keras.utils.set_random_seed(0)
    with dtype_policy("float64"):
        model = MODELS[name]()
    model.compile(run_eagerly=eagerly)
    labels = LABELS if model.data.part(Labels) else None
    model.fit(smooth_pictures(8), labels, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return model


def assert_same(weights, expected):
    for mine, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-8)


@functools.cache
def alone(name):
    """A model trained without placement, once for all tests that only read it."""
    return trained(name)


@functools.cache
def placed(name):
    with on_devices(**CPUS):
        return trained(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_placement_changes_no_weight(name):
    weights = alone(name).get_weights()
    assert {weight.dtype.name for weight in weights} == {"float64"}
    assert_same(placed(name).get_weights(), weights)


def test_placement_changes_no_weight_line_by_line():
    with on_devices(**CPUS):
        eager = trained("r1", eagerly=True)
    assert_same(eager.get_weights(), alone("r1").get_weights())


SEVERAL = [
    name for name, case in cases.MODELS.items()
    if case.makes == "translations" or case.data.part(Clips)
]


@pytest.mark.parametrize("name", default_or_slow(SEVERAL, []))
def test_models_of_several_networks_and_of_pairs_are_placed_likewise(name):
    places = []

    class Places(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            for layer in (layer for layer in self.model.layers if layer.weights):
                side = "generator" if "generator" in layer.name or "walk" in layer.name else None
                side = "discriminator" if "discriminator" in layer.name else side
                places.extend(
                    (side, short(weight.value.device)) for weight in layer.weights if side
                )

    expected, _ = train(name, smooth_pictures(8), batch_size=4, epochs=1)
    with on_devices(**CPUS):
        found, _ = train(name, smooth_pictures(8), batch_size=4, epochs=1, callbacks=[Places()])
    assert_same(found, expected)
    assert set(places) == set(CPUS.items())


def short(device):
    return device[-5:]


def test_weights_slots_and_ema_weights_are_on_their_device():
    gan = placed("gan")
    for network, device in (
        (gan.generator, "CPU:0"),
        (gan.ema_generator, "CPU:0"),
        (gan.discriminator, "CPU:1"),
    ):
        assert {short(weight.value.device) for weight in network.weights} == {device}
    slots = gan.discriminator_optimizer._momentums + gan.discriminator_optimizer._velocities
    assert len(slots) > 0 and {short(slot.value.device) for slot in slots} == {"CPU:1"}


def convolutions(graph):
    """(name, device) of all convolutions in a graph, forward and both ways back."""
    return [
        (operation.type, operation.device)
        for operation in graph.get_operations()
        if operation.type.startswith("Conv2D")
    ]


@pytest.mark.slow
def test_every_convolution_forward_and_back_is_on_the_device_of_its_network():
    with on_devices(generator="CPU:1", discriminator="CPU:1"):
        gan = trained("gan")
    step = tf.function(gan.train_step, autograph=False).get_concrete_function(
        tf.constant(smooth_pictures(4))
    )
    found = convolutions(step.graph)
    assert {name for name, _ in found} == {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"}
    assert {short(device) for _, device in found} == {"CPU:1"}

    gan = placed("gan")
    step = tf.function(gan.train_step, autograph=False).get_concrete_function(
        tf.constant(smooth_pictures(4))
    )
    counts = [short(device) for _, device in convolutions(step.graph)]
    assert len(counts) == len(found) and 0 < counts.count("CPU:1") < len(counts)
    assert counts.count("CPU:0") + counts.count("CPU:1") == len(counts)


@pytest.mark.slow
def test_a_placed_model_is_saved_loaded_exported_and_resumes_elsewhere(tmp_path):
    gan = placed("gan")
    images = gan.generate(3, seed=1)
    gan.save(tmp_path / "gan.keras")
    again = keras.saving.load_model(tmp_path / "gan.keras")
    np.testing.assert_allclose(again.generate(3, seed=1), images, atol=1e-6)
    assert {short(w.value.device) for w in again.discriminator.weights} == {"CPU:0"}
    with on_devices(**CPUS):
        moved = keras.saving.load_model(tmp_path / "gan.keras")
    assert {short(w.value.device) for w in moved.discriminator.weights} == {"CPU:1"}
    for model in (again, moved):
        model.fit(smooth_pictures(8), batch_size=4, shuffle=False, verbose=0)
    assert_same(moved.get_weights(), again.get_weights())

    gan.export(tmp_path / "saved_model")
    signature = tf.saved_model.load(tmp_path / "saved_model").signatures["discriminate"]
    functions = signature.graph.as_graph_def().library.function
    nodes = [node for function in functions for node in function.node_def if node.op == "Conv2D"]
    assert nodes and not any(node.device for node in nodes)


@pytest.mark.parametrize(
    "devices, words",
    [
        ({}, "on_devices takes generator and discriminator. Received: nothing."),
        ({"critic": "CPU:0"}, "on_devices takes generator and discriminator. Received: critic."),
        ({"generator": "GPU:7"}, f"{PLACES} Received: 'GPU:7'."),
        ({"generator": 1}, f"{PLACES} Received: 1."),
    ],
    ids=range(4),
)
def test_what_does_not_fit(devices, words):
    with pytest.raises(InputError) as caught, on_devices(**devices):
        pass
    assert str(caught.value) == words


def test_replicas_and_placement_do_not_go_together(mirrored):
    with pytest.raises(InputError, match="use one of the two"), mirrored.scope():
        with on_devices(**CPUS):
            pass
