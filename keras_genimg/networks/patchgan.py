"""PatchGAN: a discriminator that classifies each patch of an image."""

import keras
from keras import layers

from keras_genimg.checks import check_choice, check_count, check_image_shape
from keras_genimg.layers import BatchNormalization, InstanceNormalization
from keras_genimg.networks.blocks import downsample, float_input
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import check_same_size, halvings, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["patchgan_discriminator"]

# Layers of normalisation, by name.
NORMALIZATIONS = {
    "batch": lambda: BatchNormalization(momentum=0.9),
    "instance": InstanceNormalization,
}


def patchgan_discriminator(
    image_shape: tuple, source_shape: tuple | None = None, filters: int = 32, widest: int = 256,
    levels: int = 2, normalization: str = "batch", name: str = "discriminator",
) -> keras.Model:
    """Image, or a pair of a source and an image, to a grid of logits.

    4x4 convolutions with LeakyReLU(0.2): `levels` of stride 2, one of stride 1, and one
    that makes one logit per position. The receptive field of a logit is 16x16 with one
    level, 34x34 with two (all of a small image, from each position in turn) and 70x70
    with three, the paper's at 256x256.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        source_shape: (height, width, channels) of the other image of a pair, with the
            same height and width; None for a discriminator of single images.
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
        InputError: an invalid shape or option.

    Example:
    >>> patchgan_discriminator((32, 32, 3), source_shape=(32, 32, 1)).output_shape
    (None, 8, 8, 1)

    Reference: Isola et al. (2017), sections 3.2.2 and 6.1.2,
        https://arxiv.org/abs/1611.07004
    """
    image_shape = check_image_shape(image_shape)
    check_choice("normalization", normalization, NORMALIZATIONS)
    sizes = halvings(image_shape, levels=check_count("levels", levels))
    inputs = x = images = float_input(image_shape)
    if source_shape is not None:
        inputs = [float_input(check_same_size(source_shape, image_shape)), images]
        x = layers.Concatenate()(inputs)  # (B, h, w, c) and (B, h, w, d) -> (B, h, w, c + d)
    # The last convolution keeps its grid.
    grids, widths = [*sizes, sizes[-1]], widths_of(len(sizes), filters, widest)
    x = downsample(x, grids, widths, 4, NORMALIZATIONS[normalization])[-1]
    logits = layers.Conv2D(
        1, 4, padding="same", kernel_initializer=normal(), dtype=policy_dtype()
    )(x)  # (B, h', w', f) -> (B, h', w', 1)
    return keras.Model(inputs, logits, name=name)
