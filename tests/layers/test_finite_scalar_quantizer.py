"""FiniteScalarQuantizer: levels, indices and gradients against NumPy."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import FiniteScalarQuantizer
from keras_genimg.metrics import codebook_perplexity


def bounded(values, levels):
    """Appendix A.1 of Mentzer et al. (2023), channel by channel, in float64; 2 without a shift."""
    columns = []
    for channel, count in enumerate(levels):
        reach = (count - 1) * (1 + 1e-3) / 2
        offset = 0.5 if count % 2 == 0 else 0.0
        shift = np.arctanh(offset / reach) if count > 2 else 0.0
        columns.append(np.tanh(values[..., channel] + shift) * reach - offset)
    return np.stack(columns, -1)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2,), (3, 2)], ids=str)
def test_levels_indices_and_vectors(levels):
    values = np.random.default_rng(0).normal(size=(4, 3, 3, len(levels)), scale=2).astype("float32")
    layer = FiniteScalarQuantizer(levels)
    quantized, indices, loss = layer(values)

    rounded = np.round(bounded(values.astype("float64"), levels))
    halves = np.array([count // 2 for count in levels])
    expected = np.zeros(values.shape[:-1], int)
    for channel in reversed(range(len(levels))):  # first channel fastest
        expected = expected * levels[channel] + (rounded + halves)[..., channel].astype(int)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(quantized, rounded / halves, atol=1e-6)
    np.testing.assert_allclose(layer.decode(indices), quantized, atol=1e-6)
    assert indices.dtype == tf.int32 and float(loss) == 0.0
    assert len(np.unique(indices)) > 0.3 * min(layer.num_embeddings, expected.size)


def by_the_paper_s_code(values, levels, epsilon=1e-3):
    """`bound` and `quantize` of appendix A.1, before the division: int codes per channel."""
    levels = np.array(levels)
    half_l = (levels - 1) * (1 - epsilon) / 2
    offset = np.where(levels % 2 == 1, 0.0, 0.5)
    bound = np.tanh(values + np.tan(offset / half_l)) * half_l - offset
    return (np.round(bound) + levels // 2).astype(int)


def test_two_levels_are_used_alike():
    levels = (2, 2, 2, 2)
    values = np.random.default_rng(0).normal(size=(20_000, 4)).astype("float32")
    _, indices, _ = FiniteScalarQuantizer(levels)(values)
    in_paper = by_the_paper_s_code(values, levels) @ [1, 2, 4, 8]
    assert codebook_perplexity(in_paper, 16) == pytest.approx(2.46, abs=0.05)
    assert codebook_perplexity(indices.numpy(), 16) > 15.9


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (4, 3), (8, 6, 5)], ids=str)
def test_from_three_levels_on_codes_are_those_of_the_paper_s_code(levels):
    values = np.random.default_rng(0).normal(size=(20_000, len(levels))).astype("float32")
    _, indices, _ = FiniteScalarQuantizer(levels)(values)
    basis = np.cumprod([1, *levels[:-1]])
    same = by_the_paper_s_code(values, levels) @ basis == indices.numpy()
    assert same.mean() > 0.98  # all but vectors within 0.003 of a boundary


def test_every_code_can_be_reached_and_read_back():
    layer = FiniteScalarQuantizer((4, 3))
    corners = np.array(list(itertools.product(np.linspace(-9, 9, 60), repeat=2)), "float32")
    _, indices, _ = layer(corners)
    assert set(indices.numpy()) == set(range(12)) and layer.num_embeddings == 12
    vectors = layer.decode(tf.range(12)).numpy()
    assert len(np.unique(vectors, axis=0)) == 12
    assert vectors.min() == -1.0 and vectors.max() == 1.0
    np.testing.assert_allclose(vectors[1] - vectors[0], [0.5, 0.0])  # the first channel is fastest


def test_the_gradient_is_that_of_the_bounded_value():
    levels = (5, 4)
    values = tf.constant([[0.3, -0.7], [1.2, 0.1]])
    layer = FiniteScalarQuantizer(levels)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(layer(values, training=True)[0] * [[1.0, 2.0], [3.0, 4.0]])
    step = 1e-6
    high, low = (
        bounded(values.numpy().astype("float64") + sign * step, levels) for sign in (1, -1)
    )
    slope = (high - low) / (2 * step) / [2, 2] * [[1.0, 2.0], [3.0, 4.0]]
    np.testing.assert_allclose(tape.gradient(total, values), slope, rtol=1e-4)


def test_it_is_saved_with_its_levels():
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(FiniteScalarQuantizer((8, 6, 5)))
    )
    assert layer.levels == (8, 6, 5) and layer.num_embeddings == 240


@pytest.mark.parametrize("levels", [(), (1, 5), (2.0,), 8, (True, 2), (2**16, 2**16)], ids=str)
def test_levels_that_do_not_fit(levels):
    with pytest.raises(InputError, match="levels must be integers of at least 2"):
        FiniteScalarQuantizer(levels)


def test_another_number_of_channels():
    with pytest.raises(InputError, match="must be 2, one channel for each of levels="):
        FiniteScalarQuantizer((3, 3))(np.zeros((1, 3), "float32"))
