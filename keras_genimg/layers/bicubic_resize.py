"""Bicubic resizing with antialiasing, as two matrix products."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genimg.precision import at_least_float32

__all__ = ["BicubicResize"]


def _cubic(distance):
    """Keys's kernel with a = -1/2, at distances in pixels: 1 at 0, 0 at other whole numbers."""
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
    return np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))


def _weights(small, large, dtype):
    """The weight of pixel j of the old side in pixel i of the new one: `(new, old)`."""
    step = small / large  # old pixels per new pixel
    centres = (np.arange(large) + 0.5) * step  # of the new pixels, in old pixels
    stretch = max(step, 1.0)  # downsampling: a kernel wide enough against aliasing
    weights = _cubic(np.abs(np.arange(small) + 0.5 - centres[:, None]) / stretch)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(dtype)


@keras.saving.register_keras_serializable(package="keras_genimg")
class BicubicResize(keras.layers.Layer):
    """Resizes images by a cubic kernel, without weights to learn.

    Keys's kernel with a = -1/2, stretched for downsampling (antialiasing), with weights that
    sum to 1 at the edges too: the same values as Pillow's `BICUBIC`. Two products with constant
    matrices compute it. `keras.ops.image.resize` with antialiasing compiles neither under XLA
    nor for LiteRT and ONNX.

    Args:
        height: int. Rows of the output.
        width: int. Columns of the output.

    Call arguments:
        inputs: tensor `(batch, h, w, channels)` in [-1, 1].

    Returns:
        tensor `(batch, height, width, channels)`, float32 also under a 16-bit policy. The
        kernel can overshoot: values are clipped to [-1, 1].

    Example:
    >>> BicubicResize(8, 8)(keras.ops.ones((4, 32, 32, 3))).shape
    (4, 8, 8, 3)

    Reference: Keys (1981), https://doi.org/10.1109/TASSP.1981.1163711
    """

    def __init__(self, height: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.dtype_policy = at_least_float32(self.dtype_policy)  # these are images
        self.height = height
        self.width = width
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        height, width, channels = inputs.shape[1:]
        dtype = self.compute_dtype
        images = ops.transpose(inputs, (0, 3, 1, 2))  # (B, h, w, c) -> (B, c, h, w)
        # As a plain product of matrices: in TensorFlow 2.18 to 2.21 with AVX-512, that of
        # (B, 1, h, w) and (w, W) writes past its memory.
        rows = ops.reshape(images, (-1, width))  # -> (B*c*h, w)
        rows = ops.matmul(rows, _weights(width, self.width, dtype).T)  # -> (B*c*h, W)
        images = ops.reshape(rows, (-1, channels, height, self.width))  # -> (B, c, h, W)
        images = ops.matmul(_weights(height, self.height, dtype), images)  # -> (B, c, H, W)
        images = ops.transpose(images, (0, 2, 3, 1))  # -> (B, H, W, c)
        return ops.clip(images, -1.0, 1.0)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self) -> dict:
        return {**super().get_config(), "height": self.height, "width": self.width}
