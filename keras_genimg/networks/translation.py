"""CycleGAN's residual network, from images of one domain to images of another."""

import keras
from keras import layers, ops

from keras_genimg.checks import check_count, check_image_shape
from keras_genimg.layers import InstanceNormalization
from keras_genimg.networks.blocks import float_input, upsample
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import check_same_size, halvings
from keras_genimg.precision import policy_dtype

__all__ = ["residual_translator"]


def _convolution(x, width, kernel_size, **kwargs):
    """A convolution of an image padded with its reflection, not with grey."""
    sides = (kernel_size // 2, kernel_size // 2)
    x = ops.pad(x, ((0, 0), sides, sides, (0, 0)), mode="reflect")
    return layers.Conv2D(width, kernel_size, kernel_initializer=normal(), **kwargs)(x)


def residual_translator(
    source_shape: tuple, image_shape: tuple, filters: int = 16, blocks: int = 3,
    name: str = "generator",
) -> keras.Model:
    """Image to image: halve twice, residual blocks, double twice.

    In the paper's words c7s1-16, d32, d64, R64 (`blocks` times), u32, u16, c7s1-channels:
    7x7 convolutions at both ends, 3x3 ones of stride 2, residual blocks of two 3x3
    convolutions, transposed convolutions; instance normalisation and ReLU after each but
    the last, tanh at the end.

    Args:
        source_shape: (height, width, channels) of the inputs, multiples of 4 from 16
            to 256.
        image_shape: (height, width, channels) of the outputs, of the same height and width.
        filters: int. Filters of the first layer (64 in the paper).
        blocks: int. Residual blocks (6 in the paper at 128x128).
        name: string.

    Returns:
        `keras.Model` from `(batch, *source_shape)` to float32 `(batch, *image_shape)` in
        [-1, 1].

    Raises:
        InputError: invalid shapes or number of blocks.

    Example:
    >>> residual_translator((28, 28, 1), (28, 28, 3)).output_shape
    (None, 28, 28, 3)

    Reference: Zhu et al. (2017), sections 4 and 7.2, https://arxiv.org/abs/1703.10593;
        Johnson et al. (2016), https://arxiv.org/abs/1603.08155
    """
    image_shape = check_image_shape(image_shape)
    source_shape = check_same_size(source_shape, image_shape)
    check_count("blocks", blocks, minimum=0)
    sizes = halvings(image_shape, levels=2)  # image first

    def normalize(x):
        return layers.ReLU()(InstanceNormalization()(x))

    # 1. Down: 28x28 -> 14x14 -> 7x7.
    sources = float_input(source_shape)
    x = normalize(_convolution(sources, filters, 7, use_bias=False))
    for width in (2 * filters, 4 * filters):
        x = layers.Conv2D(
            width, 3, 2, padding="same", kernel_initializer=normal(), use_bias=False
        )(x)
        x = normalize(x)

    # 2. Residual blocks on the smallest grid.
    for _ in range(blocks):
        y = normalize(_convolution(x, 4 * filters, 3, use_bias=False))
        y = InstanceNormalization()(_convolution(y, 4 * filters, 3, use_bias=False))
        x = layers.Add()([y, x])

    # 3. Up: 7x7 -> 14x14 -> 28x28. A kernel of 4 divides by the stride: no checkerboard.
    for level, width in ((1, 2 * filters), (0, filters)):
        x = upsample(
            x, sizes[level + 1], sizes[level], width, 4,
            kernel_initializer=normal(), use_bias=False,
        )
        x = normalize(x)

    # 4. The image.
    x = _convolution(x, image_shape[2], 7)
    images = layers.Activation("tanh", dtype=policy_dtype())(x)
    return keras.Model(sources, images, name=name)
