"""check_train_step: it accepts steps that keep the promises, and names what others break."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, SHAPE, array_of, smooth_pictures
from matrix import default_or_slow, python

import keras_genimg as kg
from keras_genimg import InputError
from keras_genimg.core import ImageModel, dtype_policy
from keras_genimg.testing import check_train_step

IMAGES = smooth_pictures(20)  # a batch of 16, and one of 3


class Lines(ImageModel):
    """The smallest model: each row of an image from a noisy copy of it.

    Its subclasses break one promise each.
    """

    makes = "reconstructions"

    def __init__(self, image_shape=SHAPE, *, noise=0.1, **kwargs):
        super().__init__(image_shape, **kwargs)
        self.noise = noise
        self.decoder = keras.Sequential([keras.Input(image_shape), keras.layers.Dense(1)])
        self.built = True

    def train_step(self, data):
        images, _, batch = self.unpack(data)
        noisy = images + self.noise * self.noise_for(images, batch)
        with tf.GradientTape() as tape:
            loss = self.loss_of(images, self.decoder(noisy, training=True))
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, self.share_of(batch))
        self.optimizer.apply_gradients(zip(gradients, weights))
        return self.log(batch, loss=loss)

    def noise_for(self, images, batch):
        seed = self.seed_generator.next()
        return kg.distribution.random_normal(batch, images.shape[1:], seed, images.dtype)

    def loss_of(self, images, outputs):
        return tf.reduce_mean((images - outputs) ** 2)

    def share_of(self, batch):
        return batch.share

    def call(self, images, training=False):
        return self.decoder(images, training=training)

    def signatures(self):
        return {"serving_default": (lambda images: {"images": self(images)}, [self.images_spec()])}


class UnseededNoise(Lines):
    def noise_for(self, images, batch):
        return tf.random.normal(tf.shape(images), dtype=images.dtype)


class SameNoiseOnEveryReplica(Lines):
    def noise_for(self, images, batch):
        return tf.random.stateless_normal(tf.shape(images), self.seed_generator.next())


class NoShare(Lines):
    def share_of(self, batch):
        return None


class OwnStatistics(Lines):
    def loss_of(self, images, outputs):
        return tf.reduce_sum(tf.reduce_mean(images - outputs, axis=0) ** 2)


class OwnLogs(Lines):
    def train_step(self, data):
        super().train_step(data)
        return {"brightness": tf.reduce_max(tf.cast(data, tf.float32)[:, 8])}


class UntrackedState(Lines):
    """A loss whose weight rises with the steps."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.steps = tf.Variable(0.0)

    def loss_of(self, images, outputs):
        self.steps.assign_add(1.0)
        return super().loss_of(images, outputs) * tf.cast(self.steps, outputs.dtype)


class ChangedArgument(Lines):
    def __init__(self, *args, noise=0.1, **kwargs):
        super().__init__(*args, noise=2 * noise, **kwargs)


class CallsPython(Lines):
    def call(self, images, training=False):
        return tf.numpy_function(np.abs, [self.decoder(images)], images.dtype)


def with_an_attribute(model_class=Lines):
    model = model_class()
    model.sharpness = 2.0
    return model


BROKEN = {
    UnseededNoise: "resume", UntrackedState: "resume", with_an_attribute: "save",
    ChangedArgument: "save", NoShare: "replicas", OwnStatistics: "replicas", OwnLogs: "replicas",
    CallsPython: "export",
}
DEFAULT = (UntrackedState, with_an_attribute)


def test_a_step_that_keeps_the_promises():
    found = check_train_step(Lines, IMAGES)
    assert list(found) == ["resume", "save", "replicas", "export"]
    assert max(found.values()) < 1e-12


@pytest.mark.parametrize("make", default_or_slow(BROKEN, DEFAULT))
def test_a_broken_promise_is_named(make):
    with pytest.raises(AssertionError, match="The usual causes: ") as caught:
        check_train_step(make, IMAGES)
    assert str(caught.value).startswith(kg.testing.PROMISES[BROKEN[make]])


@pytest.mark.slow
def test_the_message_has_the_promise_the_difference_the_precision_and_the_causes():
    with pytest.raises(AssertionError) as caught:
        check_train_step(SameNoiseOnEveryReplica, IMAGES)
    assert re.fullmatch(
        r"Two replicas must end like one\. Received: a difference of 4\.\de-04 of the largest "
        r"value \(rounding is below 2e-05\) in gradients of optimizer, .*dense.*\. "
        r"\(In float32, because in float64 it raises: Input 'y' of 'AddV2'.*\) "
        r"The usual causes: noise drawn with tf.random instead of .*\.",
        str(caught.value),
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param("gan", marks=pytest.mark.slow),
     *(pytest.param(name, marks=pytest.mark.full)
       for name in ("wgan_gp", "conditional_vae", "vq_vae", "pix2pix"))],
)  # fmt: skip
def test_models_of_the_package_by_their_configuration(name):
    """Instances, also with labels, in pairs, and with two batches per step."""
    model = MODELS[name]()
    before = model.get_weights()
    arrays = [array_of(smooth_pictures(48), part, model) for part in model.data.parts]
    found = check_train_step(model, arrays[0] if len(arrays) == 1 else tuple(arrays))
    assert max(found.values()) < 1e-10
    for weight, other in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, other)


def test_the_configuration_of_a_model_of_any_policy_becomes_float64():
    with dtype_policy("mixed_bfloat16"):
        model = MODELS["vae"]()
    copy = kg.testing._maker(model)("float64")
    assert {weight.dtype for weight in copy.weights} == {"float64"}
    assert {layer.compute_dtype for layer in copy._flatten_layers()} == {"float64"}


def test_batches_are_few_and_the_last_is_shared_unequally():
    def sizes(data, n_critic=1):
        return [len(keras.tree.flatten(each)[0]) for each in kg.testing._batches(data, n_critic)]

    assert sizes(np.zeros(1000)) == [16, 16, 15]
    assert sizes(np.zeros(33)) == [16, 15]
    assert sizes((np.zeros(3), np.zeros(3))) == [3]
    assert sizes(tf.data.Dataset.range(1000).batch(6)) == [6, 6, 5]
    assert sizes(tf.data.Dataset.range(1000).batch(5).repeat()) == [5, 5, 5]
    assert sizes(tf.data.Dataset.range(1000).batch(4), n_critic=2) == [4, 4, 4, 4, 4, 3]


def test_invalid_arguments_are_refused(monkeypatch):
    one = Lines()
    for model, words in [
        (3, "takes a model of this package.* Received: 3."),
        (keras.Sequential(), "takes a model of this package"),
        (keras.Sequential, "must make a new model of this package.*Received: Sequential."),
        (lambda: one, "at each call. Received: Lines a second time."),
    ]:
        with pytest.raises(InputError, match=words):
            check_train_step(model, IMAGES)
    with pytest.raises(InputError, match="three images or more.*Received: 2 in batches of 16."):
        check_train_step(Lines, IMAGES[:2])
    with pytest.raises(InputError, match="Received: 0 in batches of 0."):
        check_train_step(Lines, tf.data.Dataset.from_tensor_slices(IMAGES).take(0).batch(4))
    with pytest.raises(InputError, match="floating-point images"):
        check_train_step(Lines, np.zeros((8, *SHAPE), "uint8"))

    def raises(*arguments):
        raise RuntimeError("Virtual devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "get_logical_device_configuration", lambda device: None)
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", raises)
    with pytest.raises(InputError, match="begin the program with tf.config.set_logical_device_"):
        check_train_step(Lines, IMAGES)


@pytest.mark.slow
def test_it_configures_the_devices_of_a_program_that_begins_with_it():
    """As in a script or in a file of tests, where no conftest.py does it."""
    script = """
import json
import keras_genimg as kg
from test_testing import IMAGES, Lines
print(json.dumps(kg.testing.check_train_step(Lines, IMAGES)))
"""
    assert set(python(script)) == set(kg.testing.PROMISES)
