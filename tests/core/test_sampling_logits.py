"""Temperature, top-k and top-p: as Hugging Face's generate defines them, in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from plain import warped

from keras_genimg import CodeTransformer, PixelCNN
from keras_genimg.core.sampling import filter_logits
from keras_genimg.errors import InputError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_k": 7}, {"top_k": 99}, {"top_p": 0.0}, {"top_p": 0.6}, {"top_p": 1.0},
     {"top_k": 9, "top_p": 0.6}],
    ids=str,
)  # fmt: skip
def test_what_is_excluded_is_what_the_definition_excludes(temperature, options):
    logits = (2.0 * RNG.normal(size=(6, 20))).astype("float32")
    found = filter_logits(tf.constant(logits), temperature, **options).numpy()
    expected = warped(logits, temperature, **options)
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    np.testing.assert_array_equal(found[~np.isinf(found)], logits[~np.isinf(found)])


def test_by_hand():
    logits = tf.math.log([[0.4, 0.3, 0.2, 0.1]])
    for options, kept in (
        ({"top_k": 2}, [1, 1, 0, 0]),
        ({"top_p": 0.65}, [1, 1, 0, 0]),  # 0.4 + 0.3
        ({"top_p": 0.75}, [1, 1, 1, 0]),
        ({"top_k": 3, "top_p": 0.75}, [1, 1, 0, 0]),  # of the three, (0.4 + 0.3) / 0.9 = 0.78
        ({"top_p": 0.75, "temperature": 0.5}, [1, 1, 0, 0]),  # (0.16 + 0.09) / 0.3 = 0.83
        ({"top_p": 0.5, "temperature": 0.0}, [1, 0, 0, 0]),
        ({}, [1, 1, 1, 1]),
    ):
        found = filter_logits(logits, **options)
        np.testing.assert_array_equal(np.isfinite(found)[0], np.array(kept, bool), str(options))


@pytest.mark.parametrize(
    "model",
    [PixelCNN((4, 4, 3), 8, filters=6, layers=1), CodeTransformer((2, 3), 8, features=8, layers=1)],
    ids=["images", "codes"],
)
def test_one_value_left_is_the_likeliest(model):
    for index, weight in enumerate(model.trainable_variables):  # no two logits are equal
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, (index, 0)))
    make = model.generate_codes if model.code_shape else model.generate
    likeliest = make(2, seed=1, temperature=0.0)
    for options in ({"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-6, "temperature": 2.0}):
        np.testing.assert_array_equal(make(2, seed=1, **options), likeliest)
    free = make(2, seed=1)
    np.testing.assert_array_equal(make(2, seed=1, top_k=8, top_p=1.0), free)
    assert (free != likeliest).any()


def test_invalid_values():
    model = CodeTransformer((2, 3), 8, features=8, layers=1)
    for options, words in (
        ({"top_k": 0}, "top_k must be a positive integer. Received: top_k=0."),
        ({"top_p": 1.5}, "top_p must be a finite number from 0 to 1. Received: top_p=1.5."),
        ({"temperature": -1}, "temperature must be a finite number of at least 0."),
    ):
        with pytest.raises(InputError) as caught:
            model.generate_codes(2, **options)
        assert words in str(caught.value)
