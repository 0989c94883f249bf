"""CausalSelfAttention against NumPy, and step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import CausalSelfAttention

HEADS, WIDTH = 2, 6
RNG = np.random.default_rng(0)


def made():
    keras.utils.set_random_seed(0)
    layer = CausalSelfAttention(HEADS)
    layer.build((None, 5, WIDTH))
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


def test_it_is_the_paper_s_formula_head_by_head():
    layer, x = made(), RNG.normal(size=(3, 5, WIDTH)).astype("float32")
    (kernel, bias), (mix, mix_bias) = (
        [w.numpy().astype("float64") for w in dense.trainable_variables]
        for dense in (layer.project, layer.mix)
    )
    size = WIDTH // HEADS
    expected = np.zeros((3, 5, WIDTH))
    for b in range(3):
        queries, keys, values = np.split(x[b] @ kernel + bias, 3, axis=-1)
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            rows = []
            for t in range(5):  # position t sees 0 ... t
                scores = keys[: t + 1, part] @ queries[t, part] / np.sqrt(size)
                shares = np.exp(scores - scores.max())
                rows.append(shares / shares.sum() @ values[: t + 1, part])
            heads.append(np.stack(rows))
        expected[b] = np.concatenate(heads, axis=-1) @ mix + mix_bias
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_steps_give_what_one_call_gives():
    layer, x = made(), tf.constant(RNG.normal(size=(3, 5, WIDTH)), tf.float32)
    keys = values = tf.zeros((3, HEADS, 5, WIDTH // HEADS))
    outputs = []
    for position in range(5):
        output, keys, values = layer.step(x[:, position : position + 1], keys, values, position)
        outputs.append(output)
    np.testing.assert_allclose(tf.concat(outputs, axis=1), layer(x), rtol=1e-4, atol=1e-4)


def test_a_width_that_does_not_divide():
    with pytest.raises(InputError, match="must be a multiple of num_heads"):
        CausalSelfAttention(4)(np.zeros((1, 2, 6), "float32"))
