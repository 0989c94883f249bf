"""Shifting feature maps by numbers of pixels that a network computes."""

import keras
import tensorflow as tf
from keras import ops

from keras_genimg.precision import at_least_float32

__all__ = ["Shift"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class Shift(keras.layers.Layer):
    """Moves maps down and to the right, with bilinear interpolation and zeros from outside.

    Two products with matrices of weights max(0, 1 - distance) compute it, one for each axis. The
    gradient also reaches the shift. The weights are computed in at least 32 bits, because 16
    would round positions to a sixteenth of a pixel.

    Call arguments:
        inputs: list of maps `(batch, h, w, channels)` and shifts `(batch, 2)`, pixels down and to
            the right.

    Returns:
        tensor of the shape and type of the maps.

    Example:
    >>> Shift()([keras.ops.ones((8, 28, 28, 16)), keras.ops.zeros((8, 2))]).shape
    (8, 28, 28, 16)

    Reference: the translation of a spatial transformer, Jaderberg et al. (2015), Eq. 5,
        https://arxiv.org/abs/1506.02025
    """

    def __init__(self, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.built = True

    def call(self, inputs: list) -> tf.Tensor:
        maps, shifts = inputs
        height, width, channels = maps.shape[1:]
        rows = _weights(shifts[:, 0], height, maps.dtype)  # (B, h, h)
        columns = _weights(shifts[:, 1], width, maps.dtype)  # (B, w, w)
        x = ops.matmul(rows, ops.reshape(maps, (-1, height, width * channels)))  # (B, h, w*c)
        x = ops.transpose(ops.reshape(x, (-1, height, width, channels)), (0, 2, 1, 3))
        x = ops.matmul(columns, ops.reshape(x, (-1, width, height * channels)))  # (B, w, h*c)
        return ops.transpose(ops.reshape(x, (-1, width, height, channels)), (0, 2, 1, 3))

    def compute_output_spec(self, inputs: list) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[0].shape, inputs[0].dtype)


def _weights(shift, side, dtype):
    """The weight of pixel j in pixel i after the shift: `(batch,)` -> `(batch, i, j)`."""
    shift = ops.cast(shift, at_least_float32(shift.dtype))
    places = ops.arange(side, dtype=shift.dtype)
    distance = ops.abs(places[:, None] - places - shift[:, None, None])
    return ops.cast(ops.maximum(1.0 - distance, 0.0), dtype)
