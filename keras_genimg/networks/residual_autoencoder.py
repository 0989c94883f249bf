"""Encoders and decoders of residual blocks, for VAEs with a high likelihood."""

import keras
from keras import layers

from keras_genimg.checks import check_image_shape
from keras_genimg.networks.blocks import float_input, gaussian, upsample
from keras_genimg.networks.shapes import halvings, strides_between, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["residual_decoder", "residual_encoder"]


def _blocks(x, blocks, dtype=None):
    """x + conv(ELU(conv(ELU(x)))), several times, then ELU in `dtype`."""
    width = x.shape[-1]
    for _ in range(blocks):
        y = layers.Activation("elu")(x)
        y = layers.Conv2D(width, 3, padding="same", activation="elu")(y)
        x = layers.Add()([x, layers.Conv2D(width, 3, padding="same")(y)])
    return layers.Activation("elu", dtype=dtype)(x)


def residual_encoder(
    image_shape: tuple, latent_dim: int, filters: int = 32, widest: int = 64, blocks: int = 1,
    units: int = 450, name: str = "encoder",
) -> keras.Model:
    """Image to the mean and log variance of a Gaussian over z, by residual blocks with ELU.

    Each grid is half as large as the one before, down to 7x7 or so; blocks work on the halved
    grids alone, since full-size grids would take most of the time.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        filters: int. Filters on the first halved grid; they double with each halving, up to
            `widest`.
        widest: int. Most filters in a layer.
        blocks: int. Residual blocks on each grid.
        units: int. Width of the dense layer before z.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to the list
        `[z_mean, z_log_var]`, each float32 `(batch, latent_dim)`.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> [output.shape for output in residual_encoder((28, 28, 1), 32).outputs]
    [(None, 32), (None, 32)]

    Reference: Kingma et al. (2016), appendix C.1, https://arxiv.org/abs/1606.04934, whose blocks
        work on the grid of full size too
    """
    image_shape = check_image_shape(image_shape)
    sizes = halvings(image_shape)
    widths = widths_of(len(sizes) - 1, filters, widest)
    x = images = float_input(image_shape)
    for width, large, small in zip(widths, sizes, sizes[1:]):
        x = layers.Conv2D(width, 4, strides_between(large, small), padding="same")(x)
        x = _blocks(x, blocks)
    x = layers.Flatten()(x)  # (B, h, w, c) -> (B, h*w*c)
    x = layers.Dense(units, activation="elu")(x)
    return keras.Model(images, gaussian(x, latent_dim), name=name)


def residual_decoder(
    image_shape: tuple, latent_dim: int, filters: int = 32, widest: int = 64, blocks: int = 1,
    units: int = 450, name: str = "decoder",
) -> keras.Model:
    """z to one unbounded value per pixel: the layers of `residual_encoder` in reverse.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        filters: int. Filters on the last grid before the image; they double with each
            halving, up to `widest`.
        widest: int. Most filters in a layer.
        blocks: int. Residual blocks on each grid.
        units: int. Width of the dense layer after z.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height, width, channels)`.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> residual_decoder((28, 28, 1), 32).output_shape
    (None, 28, 28, 1)

    Reference: see `residual_encoder`
    """
    image_shape = check_image_shape(image_shape)
    sizes = halvings(image_shape)
    widths = widths_of(len(sizes) - 1, filters, widest)
    latents = float_input((latent_dim,))
    x = layers.Dense(units, activation="elu")(latents)
    x = layers.Dense(sizes[-1][0] * sizes[-1][1] * widths[-1])(x)
    x = layers.Reshape((*sizes[-1], widths[-1]))(x)  # (B, h*w*c) -> (B, h, w, c)
    for level in range(len(widths) - 1, 0, -1):
        x = _blocks(x, blocks)
        x = upsample(x, sizes[level + 1], sizes[level], widths[level - 1], 4)
    x = _blocks(x, blocks, policy_dtype())
    outputs = upsample(x, sizes[1], sizes[0], image_shape[2], 4, dtype=policy_dtype())
    return keras.Model(latents, outputs, name=name)
