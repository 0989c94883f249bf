"""The super-resolution network: residual blocks, and sub-pixel upsampling."""

import keras
import tensorflow as tf
from keras import layers, ops

from keras_genimg.checks import check_image_shape, is_integer
from keras_genimg.errors import InputError
from keras_genimg.layers import BicubicResize
from keras_genimg.networks.blocks import float_input
from keras_genimg.networks.initializers import he_normal
from keras_genimg.precision import policy_dtype

__all__ = ["check_scale", "super_resolution_generator"]

SCALES = (2, 4)


def check_scale(image_shape: tuple, scale: int) -> tuple:
    """The shape of the low-resolution images.

    Args:
        image_shape: (height, width, channels) of the high-resolution images.
        scale: 2 or 4.

    Returns:
        tuple (height / scale, width / scale, channels).

    Raises:
        InputError: another scale, or sides that it does not divide.

    Example:
    >>> check_scale((32, 32, 3), 4)
    (8, 8, 3)
    """
    if not is_integer(scale) or scale not in SCALES:
        raise InputError(f"scale must be 2 or 4. Received: scale={scale!r}.")
    height, width, channels = check_image_shape(image_shape, default_networks=False)
    if height % scale or width % scale:
        raise InputError(
            f"Height and width must be multiples of the scale, {scale}. Received: {height}x{width}."
        )
    return height // scale, width // scale, channels


@keras.saving.register_keras_serializable(package="keras_genimg")
class DepthToSpace(layers.Layer):
    """Rearranges channels into pixels: `(B, h, w, 4 c)` -> `(B, 2 h, 2 w, c)`.

    The sub-pixel step of Shi et al. (2016), https://arxiv.org/abs/1609.05158, by 2.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(inputs, 2)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels // 4)


def _convolution(filters):
    return layers.Conv2D(filters, 3, padding="same", kernel_initializer=he_normal())


def _prelu():
    return layers.PReLU(shared_axes=(1, 2), alpha_initializer=keras.initializers.Constant(0.25))


def super_resolution_generator(
    image_shape: tuple, scale: int, filters: int = 32, blocks: int = 4, name: str = "generator"
) -> keras.Model:
    """Low resolution to high: bicubic interpolation plus the details of residual blocks.

    Residual blocks at the low resolution, then for each doubling a convolution whose
    channels become pixels. The last convolution starts at zero, so that the untrained
    network is bicubic interpolation, and training adds only the details. There is no
    batch normalisation, see Lim et al. (2017), and no skip around all blocks.

    Args:
        image_shape: (height, width, channels) of the outputs, multiples of 4 from 16 to 256.
        scale: 2 or 4. How many times higher and wider they are.
        filters: int. Filters of every layer; 64 in the paper.
        blocks: int. Residual blocks; 16 in the paper.
        name: string.

    Returns:
        `keras.Model` from `(batch, height / scale, width / scale, channels)` to float32
        `(batch, height, width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid shape or scale.

    Example:
    >>> super_resolution_generator((32, 32, 3), scale=4).input_shape
    (None, 8, 8, 3)

    Reference: Ledig et al. (2017), Figure 4, https://arxiv.org/abs/1609.04802; residual
        blocks: Lim et al. (2017), section 3.1, https://arxiv.org/abs/1707.02921
    """
    height, width, channels = image_shape = check_image_shape(image_shape)

    # 1. Features at the low resolution.
    images = float_input(check_scale(image_shape, scale))
    x = _prelu()(_convolution(filters)(images))  # (B, h, w, c) -> (B, h, w, filters)
    for _ in range(blocks):
        residual = _prelu()(_convolution(filters)(x))
        x = layers.Add()([x, _convolution(filters)(residual)])
    # No sum with the first features: a tensor with three uses has a gradient of three terms,
    # which TensorFlow adds up in an order that is not the same in each run.

    # 2. Double until the size is that of the image.
    while x.shape[1] < height:
        x = _prelu()(DepthToSpace()(_convolution(4 * filters)(x)))  # -> (B, 2h, 2w, filters)

    # 3. The details, on top of the interpolated image.
    details = layers.Conv2D(
        channels, 3, padding="same", kernel_initializer="zeros", dtype=policy_dtype()
    )(x)
    made = layers.Add(dtype=policy_dtype())([BicubicResize(height, width)(images), details])
    return keras.Model(images, ops.clip(made, -1.0, 1.0), name=name)
