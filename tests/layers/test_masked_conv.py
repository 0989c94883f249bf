"""MaskedConv2D: what it computes, beside loops over positions, and what it sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import MaskedConv2D

RNG = np.random.default_rng(0)


def by_hand(layer, inputs):
    """The sum over everything visible, position by position and feature by feature."""
    kernel, bias = np.array(layer.kernel), np.array(layer.bias)
    (_, height, width, channels), filters = inputs.shape, kernel.shape[-1]
    up, left = layer.kernel_size[0] // 2, layer.kernel_size[1] // 2
    outputs = np.zeros((len(inputs), height, width, filters)) + bias
    for row, column, feature in np.ndindex(height, width, filters):
        for above, aside, channel in np.ndindex(up + 1, 2 * left + 1, channels):
            place = row - up + above, column - left + aside
            at_itself = place == (row, column)
            before = place < (row, column)  # of pairs: raster order
            group, own = channel % layer.groups, feature % layer.groups
            if at_itself:
                before = group < own or (layer.mask_type == "B" and group == own)
            inside = 0 <= place[0] and 0 <= place[1] < width
            if before and inside:
                outputs[:, row, column, feature] += (
                    inputs[:, place[0], place[1], channel] * kernel[above, aside, channel, feature]
                )
    return outputs


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("kernel_size", [1, 3, (1, 5), (5, 3), (3, 1)])
def test_it_is_the_sum_over_what_comes_before(kernel_size, mask_type, groups):
    layer = MaskedConv2D(5, kernel_size, mask_type, groups=groups)
    inputs = RNG.normal(size=(2, 4, 5, 4)).astype("float32")
    layer.build(inputs.shape)
    layer.kernel.assign(RNG.normal(size=layer.kernel.shape))
    layer.bias.assign(RNG.normal(size=5))
    outputs = layer(inputs)
    assert outputs.shape == layer.compute_output_shape(inputs.shape) == (2, 4, 5, 5)
    np.testing.assert_allclose(outputs, by_hand(layer, inputs), atol=1e-5)


def test_what_is_hidden_gets_no_gradient_and_no_memory():
    layer = MaskedConv2D(2, 5, "A")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.ones((1, 6, 6, 1))) ** 2)
    assert layer.kernel.shape == (3, 5, 1, 2)  # not the rows below
    gradient = tape.gradient(loss, layer.kernel.value).numpy()
    assert (
        (gradient[2, 2:] == 0).all() and (gradient[:2] != 0).all() and (gradient[2, :2] != 0).all()
    )


def test_its_configuration_makes_it_again():
    layer = MaskedConv2D(4, (1, 3), "A", groups=2, use_bias=False, kernel_initializer="ones")
    again = MaskedConv2D.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    inputs = RNG.normal(size=(1, 3, 4, 2)).astype("float32")
    np.testing.assert_array_equal(again(inputs), layer(inputs))
    assert [weight.name for weight in again.weights] == ["kernel"]
    assert keras.saving.get_registered_name(MaskedConv2D) == "keras_genimg>MaskedConv2D"


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((0, 3), "filters must be a positive integer. Received: filters=0."),
        ((4, 2), "kernel_size must be an odd positive integer or a pair of them. Received: k"),
        ((4, 2), "Received: kernel_size=2."),
        ((4, (3, 0)), "Received: kernel_size=(3, 0)."),
        ((4, (3, 3, 3)), "Received: kernel_size=(3, 3, 3)."),
        ((4, 3, "C"), "mask_type must be 'A' or 'B'. Received: mask_type='C'."),
    ],
    ids=str,
)
def test_bad_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        MaskedConv2D(*arguments)
    assert words in str(caught.value)
