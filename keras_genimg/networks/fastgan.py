"""The generator of FastGAN: gated linear units, and skip-layer excitation between grids."""

import math

import keras
from keras import KerasTensor, layers, ops

from keras_genimg.checks import check_image_shape
from keras_genimg.layers import BatchNormalization
from keras_genimg.networks.blocks import float_input, repeat_pixels
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import halvings, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["fastgan_generator"]

POOLED = 4  # least side of what an excitation sees of a grid


def fastgan_generator(
    image_shape: tuple, latent_dim: int, filters: int = 32, widest: int = 256,
    momentum: float = 0.9, name: str = "generator",
) -> keras.Model:
    """Noise to image: a dense layer, then repeated pixels and 3x3 convolutions that double.

    Batch normalisation and a gated linear unit after every layer but the last, tanh at the
    end. Each grid is also gated, channel by channel, by what the grid two doublings below it
    shows (skip-layer excitation): a short way for the gradient, and for the content of an image.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        filters: int. Filters of the last grid; they double with each halving of the grid, up to
            `widest`.
        widest: int. Most filters of a grid.
        momentum: float. Momentum of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> fastgan_generator((32, 32, 3), 64).output_shape
    (None, 32, 32, 3)

    Reference: Liu et al. (2021), section 3.1, https://arxiv.org/abs/2101.04775
    """
    image_shape = check_image_shape(image_shape)
    sizes = halvings(image_shape)[::-1]  # smallest first
    widths = widths_of(len(sizes), filters, widest)[::-1]

    def normalized_and_gated(x):
        x = BatchNormalization(momentum=momentum)(x)
        values, gates = ops.split(x, 2, axis=-1)  # (B, h, w, 2c) -> 2 (B, h, w, c)
        return layers.Multiply()([values, layers.Activation("sigmoid")(gates)])

    # 1. z -> the smallest grid.
    latents = float_input((latent_dim,))
    start = (*sizes[0], 2 * widths[0])
    x = layers.Dense(math.prod(start), kernel_initializer=normal(), use_bias=False)(latents)
    x = normalized_and_gated(layers.Reshape(start)(x))  # (B, h*w*2c) -> (B, h, w, c)

    # 2. Double the grid up to that of the image: 4x4 -> 8x8 -> 16x16 -> 32x32.
    grids = [x]
    for level, (size, channels) in enumerate(zip(sizes[1:], widths[1:]), start=1):
        x = _convolution(2 * channels)(repeat_pixels(x, size))
        x = normalized_and_gated(x)
        if level >= 2:
            x = layers.Multiply()([x, _excitation(grids[level - 2], channels)])
        grids.append(x)

    # 3. The image.
    x = layers.Conv2D(image_shape[2], 3, padding="same", kernel_initializer=normal())(x)
    images = layers.Activation("tanh", dtype=policy_dtype())(x)
    return keras.Model(latents, images, name=name)


def _convolution(filters):
    return layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=normal())


def _excitation(grid: KerasTensor, channels: int) -> KerasTensor:
    """A factor in (0, 1) for each channel of a finer grid: `(batch, 1, 1, channels)`."""
    pools = [max(side // POOLED, 1) for side in grid.shape[1:3]]
    x = layers.AveragePooling2D(pools)(grid) if max(pools) > 1 else grid
    x = layers.Conv2D(channels, x.shape[1:3], kernel_initializer=normal())(x)  # -> (B, 1, 1, c)
    x = layers.Activation("swish")(x)
    return layers.Conv2D(channels, 1, activation="sigmoid", kernel_initializer=normal())(x)
