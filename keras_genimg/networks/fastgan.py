"""The generator of FastGAN: gated linear units, and skip-layer excitation between grids."""

import math

import keras
from keras import KerasTensor, layers, ops

from keras_genimg.checks import check_choice, check_image_shape
from keras_genimg.layers import BatchNormalization, ConditionalBatchNormalization
from keras_genimg.networks.blocks import float_input, repeat_pixels
from keras_genimg.networks.conditional_dcgan import CONDITIONINGS
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import halvings, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["conditional_fastgan_generator", "fastgan_generator"]

POOLED = 4  # least side of what an excitation sees of a grid


def fastgan_generator(
    image_shape: tuple, latent_dim: int, filters: int = 16, widest: int = 256,
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
    latents = float_input((latent_dim,))
    images = _images_from(
        latents, image_shape, filters, widest,
        lambda x: BatchNormalization(momentum=momentum)(x),
    )  # fmt: skip
    return keras.Model(latents, images, name=name)


def conditional_fastgan_generator(
    image_shape: tuple, latent_dim: int, num_classes: int, conditioning: str = "projection",
    filters: int = 16, widest: int = 256, momentum: float = 0.9, name: str = "generator",
) -> keras.Model:
    """Noise and a class to an image: `fastgan_generator` conditioned on the class.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        conditioning: `"projection"`: all batch normalisation has a scale and an offset for each
            class; `"concatenation"`: z and the one-hot class are one vector.
        filters, widest, momentum, name: see `fastgan_generator`.

    Returns:
        `keras.Model` from `[(batch, latent_dim), int32 (batch,)]` to float32
        `(batch, height, width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid image shape or conditioning.

    Example:
    >>> conditional_fastgan_generator((32, 32, 3), 64, num_classes=10).output_shape
    (None, 32, 32, 3)

    Reference: Liu et al. (2021), section 3.1, https://arxiv.org/abs/2101.04775; Miyato and Koyama
        (2018), https://arxiv.org/abs/1802.05637 (conditional batch normalisation)
    """
    check_choice("conditioning", conditioning, CONDITIONINGS)
    image_shape = check_image_shape(image_shape)
    latents = x = float_input((latent_dim,), name="latents")
    labels = keras.Input((), dtype="int32", name="labels")
    if conditioning == "concatenation":
        x = layers.Concatenate()([latents, ops.one_hot(labels, num_classes)])  # (B, z + classes)

    def normalize(x):
        if conditioning == "concatenation":
            return BatchNormalization(momentum=momentum)(x)
        return ConditionalBatchNormalization(num_classes, momentum)([x, labels])

    images = _images_from(x, image_shape, filters, widest, normalize)
    return keras.Model([latents, labels], images, name=name)


def _images_from(latents, image_shape, filters, widest, normalize):
    """z to images; `normalize`, a function of a tensor, is batch normalisation."""
    sizes = halvings(image_shape)[::-1]  # smallest first
    widths = widths_of(len(sizes), filters, widest)[::-1]

    def normalized_and_gated(x):
        values, gates = ops.split(normalize(x), 2, axis=-1)  # (B, h, w, 2c) -> 2 (B, h, w, c)
        return layers.Multiply()([values, layers.Activation("sigmoid")(gates)])

    # 1. z -> the smallest grid.
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
    return layers.Activation("tanh", dtype=policy_dtype())(x)


def _convolution(filters):
    return layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=normal())


def _excitation(grid: KerasTensor, channels: int) -> KerasTensor:
    """A factor in (0, 1) for each channel of a finer grid: `(batch, 1, 1, channels)`."""
    pools = [max(side // POOLED, 1) for side in grid.shape[1:3]]
    x = layers.AveragePooling2D(pools)(grid) if max(pools) > 1 else grid
    x = layers.Conv2D(channels, x.shape[1:3], kernel_initializer=normal())(x)  # -> (B, 1, 1, c)
    x = layers.Activation("swish")(x)
    return layers.Conv2D(channels, 1, activation="sigmoid", kernel_initializer=normal())(x)
