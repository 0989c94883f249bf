import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_genimg as kg
from keras_genimg.data.passes import without_autotuning


def with_autotuning(dataset, enabled):
    options = tf.data.Options()
    options.autotune.enabled = enabled
    return dataset.with_options(options)


def test_elements_are_unchanged():
    dataset = tf.data.Dataset.range(10).map(lambda n: n * n, tf.data.AUTOTUNE).batch(3)
    changed = without_autotuning(dataset)
    assert changed.options().autotune.enabled is False
    assert [list(b) for b in changed.as_numpy_iterator()] == [
        list(b) for b in dataset.as_numpy_iterator()
    ]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_choice_of_the_user_is_kept(enabled):
    dataset = with_autotuning(tf.data.Dataset.range(3), enabled)
    assert without_autotuning(dataset) is dataset


def test_other_options_are_kept():
    options = tf.data.Options()
    options.deterministic = False
    dataset = without_autotuning(tf.data.Dataset.range(3).with_options(options))
    assert dataset.options().deterministic is False


@pytest.mark.parametrize(
    "dataset",
    [
        lambda: kg.data.load("glyphs", batch_size=4),
        lambda: kg.data.binarized(kg.data.load("glyphs", batch_size=4), "dynamic", seed=0),
    ],
    ids=["load", "binarized"],
)
def test_our_datasets_come_without(dataset):
    assert dataset().options().autotune.enabled is False


@pytest.mark.parametrize("given", ["dataset", "array"])
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_models_read_without(method, given, monkeypatch):
    seen = []

    def note(self, x=None, *args, validation_data=None, **kwargs):
        seen.extend(d for d in (x, validation_data) if d is not None)
        return {}

    monkeypatch.setattr(keras.Model, method, note)
    model = kg.VAE(image_shape=(28, 28, 1), latent_dim=2, networks="mlp")
    model.compile()
    images = np.zeros((4, 28, 28, 1), np.float32)
    data = batches_of(images) if given == "dataset" else images
    more = {"validation_data": data} if method == "fit" else {}
    getattr(model, method)(data, **more)
    assert [d.options().autotune.enabled for d in seen] == [False] * (1 + len(more))


def batches_of(images):
    return tf.data.Dataset.from_tensor_slices(images).batch(2)
