"""Bicubic resizing with antialiasing, as two products with matrices."""

import keras
import numpy as np
from keras import ops

__all__ = ["BicubicResize"]


def _cubic(distance):
    """Keys's kernel with a = -1/2, at distances in pixels: 1 at 0, 0 at other whole numbers."""
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
    return np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))


def _weights(small, large):
    """What pixel i of a new side takes of pixel j of the old one: float32 `(new, old)`."""
    step = small / large  # old pixels a new one
    centres = (np.arange(large) + 0.5) * step  # of the new pixels, among the old ones
    stretch = max(step, 1.0)  # shrinking: as wide a kernel as leaves no alias
    weights = _cubic(np.abs(np.arange(small) + 0.5 - centres[:, None]) / stretch)
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")


@keras.saving.register_keras_serializable(package="keras_genimg")
class BicubicResize(keras.layers.Layer):
    """Resizes pictures by a cubic kernel, without weights to learn.

    Keys's kernel with a = -1/2, stretched where pictures shrink (antialiasing) and with
    weights that add up to 1 at the edges too: the numbers of Pillow's `BICUBIC`. Two products
    with constant matrices compute it. `keras.ops.image.resize` compiles with antialiasing
    neither under XLA nor for LiteRT and ONNX.

    Args:
        height: int. Rows of the pictures that are made.
        width: int. Columns of them.

    Call arguments:
        inputs: tensor `(batch, h, w, channels)` in [-1, 1].

    Returns:
        float32 tensor `(batch, height, width, channels)`. The kernel can overshoot; what
        does is clipped to [-1, 1].

    Example:
    >>> BicubicResize(8, 8)(keras.ops.ones((4, 32, 32, 3))).shape
    (4, 8, 8, 3)

    Reference: Keys (1981), https://doi.org/10.1109/TASSP.1981.1163711
    """

    def __init__(self, height, width, **kwargs):
        # float32 whatever the policy: these are pictures.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.height = height
        self.width = width
        self.built = True

    def call(self, inputs):
        height, width = inputs.shape[1:3]
        images = ops.transpose(inputs, (0, 3, 1, 2))  # (B, h, w, c) -> (B, c, h, w)
        images = ops.matmul(images, _weights(width, self.width).T)  # -> (B, c, h, W)
        images = ops.matmul(_weights(height, self.height), images)  # -> (B, c, H, W)
        images = ops.transpose(images, (0, 2, 3, 1))  # -> (B, H, W, c)
        return ops.clip(images, -1.0, 1.0)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}
