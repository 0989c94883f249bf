"""The DCGAN of five convolutions each, for images of 32x32 and 64x64."""

import keras
from keras import layers

from keras_genimg.checks import check_image_shape
from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization, MinibatchStandardDeviation
from keras_genimg.networks.blocks import downsample, float_input, kernel_wrapper, upsample_to_image
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["dcgan5_discriminator", "dcgan5_generator"]

KERNEL = 4


def _grids(image_shape):
    """Four steps from a 4x4 grid to the image: 4 -> 8 -> 16 -> 32 -> 64, or 4 -> 4 -> ... 32."""
    image_shape = check_image_shape(image_shape, default_networks=False)
    if not set(image_shape[:2]) <= {32, 64}:
        raise InputError(
            "The five-layer DCGAN takes heights and widths of 32 and 64; "
            f"load(..., image_size=32) resizes. Received: {image_shape[0]}x{image_shape[1]}."
        )
    # At 32 one of the four strides is 1, that on the smallest grid, where it costs least.
    sides = image_shape[:2]
    return [tuple(max(side // 2**level, 4) for side in sides) for level in (4, 3, 2, 1, 0)]


def dcgan5_generator(
    image_shape: tuple, latent_dim: int, filters: int = 64, momentum: float = 0.9,
    name: str = "generator",
) -> keras.Model:
    """Noise to image by five transposed 4x4 convolutions: 100-512-256-128-64-3.

    64x64: 1x1 -> 4x4 -> 8x8 -> 16x16 -> 32x32 -> 64x64. 32x32: the second layer
    keeps its grid of 4x4. Batch normalisation and ReLU after every layer but the
    last, tanh at the end.

    Args:
        image_shape: (height, width, channels); height and width 32 or 64.
        latent_dim: int. Length of the noise vector z, 100 in the paper.
        filters: int. Filters of the last layer before the image; 8, 4 and 2 times as
            many before it.
        momentum: float. Momentum of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid size.

    Example:
    >>> dcgan5_generator((64, 64, 3), 100).output_shape
    (None, 64, 64, 3)

    Reference: Radford et al. (2016), section 3, https://arxiv.org/abs/1511.06434
    """
    grids = _grids(image_shape)

    def normalize(x):
        return layers.ReLU()(BatchNormalization(momentum=momentum)(x))

    # 1. One pixel to the grid of 4x4: a kernel of 4 without padding.
    latents = float_input((latent_dim,))
    x = layers.Reshape((1, 1, latent_dim))(latents)  # (B, z) -> (B, 1, 1, z)
    x = layers.Conv2DTranspose(
        8 * filters, KERNEL, padding="valid", kernel_initializer=normal(), use_bias=False
    )(x)

    # 2. Three more, then the image.
    widths = [4 * filters, 2 * filters, filters, image_shape[2]]
    images = upsample_to_image(normalize(x), grids, widths, KERNEL, normalize)
    return keras.Model(latents, images, name=name)


def dcgan5_discriminator(
    image_shape: tuple, filters: int = 64, momentum: float = 0.9,
    spectral_normalization: bool = False, minibatch_standard_deviation: bool = False,
    normalization: bool = True, name: str = "discriminator",
) -> keras.Model:
    """Image to logit by five 4x4 convolutions: 64-128-256-512-1.

    The generator's grids backwards: 64x64 -> 32x32 -> 16x16 -> 8x8 -> 4x4 -> 1x1, and at
    32x32 the fourth layer keeps its grid of 4x4. LeakyReLU(0.2), batch normalisation after
    every layer but the first and the last.

    Args:
        image_shape: (height, width, channels); height and width 32 or 64.
        filters: int. Filters of the first layer; 2, 4 and 8 times as many after it.
        momentum: float. Momentum of the batch normalisation.
        spectral_normalization: bool. Whether every layer is divided by its largest
            singular value, instead of batch normalisation.
        minibatch_standard_deviation: bool. Whether the last layer also sees how much the
            images of the batch differ.
        normalization: bool. Whether to use batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Raises:
        InputError: an invalid size or policy.

    Example:
    >>> dcgan5_discriminator((64, 64, 3)).output_shape
    (None, 1)

    Reference: Radford et al. (2016), section 3, https://arxiv.org/abs/1511.06434
    """
    grids = _grids(image_shape)[::-1]  # the image first
    wrapper = kernel_wrapper(spectral_normalization)
    normalized = normalization and not spectral_normalization
    images = float_input(image_shape)

    # 1. Four convolutions down to the grid of 4x4.
    x = downsample(
        images, grids, widths_of(4, filters, 8 * filters), KERNEL,
        (lambda: BatchNormalization(momentum=momentum)) if normalized else None,
        wrapper,
    )[-1]
    if minibatch_standard_deviation:
        x = MinibatchStandardDeviation()(x)  # (B, h, w, c) -> (B, h, w, c + 1)

    # 2. That grid to one pixel, the logit.
    last = layers.Conv2D(
        1, KERNEL, padding="valid", kernel_initializer=normal(), dtype=policy_dtype()
    )
    logits = layers.Flatten(dtype=policy_dtype())(wrapper(last)(x))  # (B, 1, 1, 1) -> (B, 1)
    return keras.Model(images, logits, name=name)
