"""The residual encoder and decoder of VAE: shapes, widths, and what a block computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.networks import residual_decoder, residual_encoder


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (44, 20), (64, 64)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(size, channels):
    shape = (*size, channels)
    options = {"filters": 4, "widest": 6, "units": 7}
    encoder, decoder = (make(shape, 5, **options) for make in (residual_encoder, residual_decoder))
    assert [output.shape for output in encoder.outputs] == [(None, 5), (None, 5)]
    assert decoder.output_shape == (None, *shape)
    images = np.zeros((2, *shape), "float32")
    assert decoder(encoder(images)[0]).shape == (2, *shape)


def test_filters_double_up_to_the_widest():
    def widths(network):
        return [layer.filters for layer in network.layers if hasattr(layer, "filters")]

    options = {"filters": 4, "widest": 6, "units": 7}
    assert widths(residual_encoder((28, 28, 1), 5, **options)) == [4, 4, 4, 6, 6, 6]
    assert widths(residual_decoder((28, 28, 1), 5, **options)) == [6, 6, 4, 4, 4, 1]


def test_a_block_adds_to_its_input():
    """The last grid of the encoder is ELU(x + conv(ELU(conv(ELU(x)))))."""
    encoder = residual_encoder((16, 16, 1), 5, filters=4, widest=6, units=7)
    found = {type(layer).__name__: layer for layer in encoder.layers}  # the last of each
    convolutions = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    inside = keras.Model(
        encoder.inputs[0], [convolutions[-3].output, found["Flatten"].input, found["Add"].output]
    )
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype("float32")
    before, after, added = inside(images)
    y = tf.nn.elu(before)
    for layer, activation in zip(convolutions[-2:], (tf.nn.elu, tf.identity)):
        y = activation(tf.nn.conv2d(y, layer.kernel, 1, "SAME") + layer.bias)
    np.testing.assert_allclose(added, before + y, atol=1e-5)
    np.testing.assert_allclose(after, tf.nn.elu(before + y), atol=1e-5)


def test_bfloat16_layers_return_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = residual_encoder((16, 16, 1), 5, filters=4)
        decoder = residual_decoder((16, 16, 1), 5, filters=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {output.dtype for output in [*encoder.outputs, *decoder.outputs]} == {"float32"}
