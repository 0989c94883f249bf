"""PatchGAN: a discriminator that judges every part of a picture by itself."""

import keras
from keras import layers

from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization, InstanceNormalization
from keras_genimg.networks.shapes import (
    check_count,
    check_image_shape,
    check_same_size,
    halvings,
)

__all__ = ["patchgan_discriminator"]


def _initializer():
    # Isola et al. start all weights from N(0, 0.02^2); a fresh object a layer.
    return keras.initializers.RandomNormal(stddev=0.02)


# What normalises the layers, by name.
NORMALIZATIONS = {
    "batch": lambda: BatchNormalization(momentum=0.9),
    "instance": InstanceNormalization,
}


def patchgan_discriminator(
    image_shape,
    source_shape=None,
    filters=32,
    widest=256,
    levels=2,
    normalization="batch",
    name="discriminator",
):
    """Picture, or a picture and the one it was made of, to a grid of logits.

    4x4 convolutions with LeakyReLU(0.2): `levels` of stride 2, one of stride 1, and one
    that makes a logit a place. Each logit is of the patch that it sees: 16x16 with one
    level, 34x34 with two (all of a small picture, seen from each place in turn), 70x70
    with three, as the paper has it at 256x256.

    Args:
        image_shape: (height, width, channels).
        source_shape: (height, width, channels) of the other picture of a pair, with the
            same height and width; None for a discriminator of single pictures.
        filters: int. Filters of the first layer (64 in the paper); they double with each
            layer, up to `widest`.
        widest: int. Most filters in a layer.
        levels: int. Halvings.
        normalization: `"batch"` or `"instance"`, after every layer but the first and
            the last.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)`, or from the list
        `[sources, images]`, to float32 logits `(batch, height', width', 1)`.

    Raises:
        InputError: shapes or an option that do not fit.

    Example:
    >>> patchgan_discriminator((32, 32, 3), source_shape=(32, 32, 1)).output_shape
    (None, 8, 8, 1)

    Reference: Isola et al. (2017), sections 3.2.2 and 6.1.2,
        https://arxiv.org/abs/1611.07004
    """
    image_shape = check_image_shape(image_shape)
    if normalization not in NORMALIZATIONS:
        raise InputError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)}. Received: {normalization!r}."
        )
    sizes = halvings(image_shape, levels=check_count("levels", levels))
    images = keras.Input(image_shape)
    inputs = x = images
    if source_shape is not None:
        check_same_size(source_shape, image_shape)
        sources = keras.Input(source_shape)
        inputs = [sources, images]
        x = layers.Concatenate()(inputs)  # (B, h, w, c) and (B, h, w, d) -> (B, h, w, c + d)
    for level in range(len(sizes)):
        x = layers.Conv2D(
            min(filters * 2**level, widest),
            4,
            2 if level < levels else 1,
            padding="same",
            kernel_initializer=_initializer(),
            use_bias=level == 0,
        )(x)
        if level > 0:
            x = NORMALIZATIONS[normalization]()(x)
        x = layers.LeakyReLU(0.2)(x)
    logits = layers.Conv2D(
        1, 4, padding="same", kernel_initializer=_initializer(), dtype="float32"
    )(x)  # (B, h', w', f) -> (B, h', w', 1)
    return keras.Model(inputs, logits, name=name)
