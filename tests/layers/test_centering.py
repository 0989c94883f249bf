"""Centering: a fixed mean is subtracted, saved and not trained."""

import keras
import numpy as np

from keras_genimg.layers import Centering


def test_it_subtracts_what_it_was_given(tmp_path):
    inputs = keras.Input((2, 3))
    model = keras.Model(inputs, Centering()(inputs))
    x = np.arange(12, dtype="float32").reshape(2, 2, 3)
    np.testing.assert_array_equal(model(x), x)
    mean = np.array([[1, 2, 3], [4, 5, 6]], "float32")
    model.layers[-1].mean.assign(mean)
    np.testing.assert_array_equal(model(x), x - mean)
    assert not model.trainable_weights
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), x - mean)
