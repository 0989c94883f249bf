"""Residual networks for GANs: generator, and discriminator with spectral normalisation."""

import keras
from keras import layers, ops

from keras_genimg.checks import check_image_shape
from keras_genimg.layers import BatchNormalization, MinibatchStandardDeviation
from keras_genimg.networks.blocks import float_input, kernel_wrapper, repeat_pixels
from keras_genimg.networks.initializers import glorot_uniform
from keras_genimg.networks.shapes import halvings, strides_between
from keras_genimg.precision import policy_dtype

__all__ = ["resnet_discriminator", "resnet_generator"]


def _residual_conv(filters):
    return layers.Conv2D(filters, 3, padding="same", kernel_initializer=glorot_uniform(2.0))


def _shortcut_conv(filters):
    return layers.Conv2D(filters, 1, kernel_initializer=glorot_uniform())


def _up_block(x, large, filters, momentum):
    """Normalisation, ReLU and convolution, twice, with one upsampling; plus the shortcut."""
    # 1x1 convolutions and repeated pixels commute: the small grid is the cheap one.
    shortcut = repeat_pixels(_shortcut_conv(filters)(x), large)
    x = layers.ReLU()(BatchNormalization(momentum=momentum)(x))
    x = _residual_conv(filters)(repeat_pixels(x, large))
    x = layers.ReLU()(BatchNormalization(momentum=momentum)(x))
    return layers.Add()([_residual_conv(filters)(x), shortcut])


def resnet_generator(
    image_shape: tuple, latent_dim: int, filters: int = 64, momentum: float = 0.9,
    name: str = "generator",
) -> keras.Model:
    """Noise to image: a dense layer, residual blocks that double, a convolution.

    At 32x32: a grid of 4x4, three blocks, 3x3 convolution and tanh; one more block
    per doubling of the side.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        filters: int. Filters of every layer; 256 in the paper at 32x32.
        momentum: float. Momentum of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> resnet_generator((32, 32, 3), 128).output_shape
    (None, 32, 32, 3)

    Reference: Miyato et al. (2018), Table 4, https://arxiv.org/abs/1802.05957
    """
    image_shape = check_image_shape(image_shape)
    sizes = halvings(image_shape)[::-1]  # smallest first

    # 1. z -> the smallest grid.
    latents = float_input((latent_dim,))
    height, width = sizes[0]
    x = layers.Dense(height * width * filters, kernel_initializer=glorot_uniform())(latents)
    x = layers.Reshape((height, width, filters))(x)  # (B, h*w*c) -> (B, h, w, c)

    # 2. Double the grid until it is that of the image: 4x4 -> 8x8 -> ...
    for large in sizes[1:]:
        x = _up_block(x, large, filters, momentum)

    # 3. The image.
    x = layers.ReLU()(BatchNormalization(momentum=momentum)(x))
    x = layers.Conv2D(image_shape[2], 3, padding="same", kernel_initializer=glorot_uniform())(x)
    images = layers.Activation("tanh", dtype=policy_dtype())(x)
    return keras.Model(latents, images, name=name)


def resnet_discriminator(
    image_shape: tuple, filters: int = 64, spectral_normalization: bool = True,
    minibatch_standard_deviation: bool = False, name: str = "discriminator",
) -> keras.Model:
    """Image to logit: residual blocks, of which the first halve, and a sum over positions.

    At 32x32: two blocks that halve, two at 8x8, ReLU, the sum over the grid, a
    dense unit; one more block per doubling of the side. No batch normalisation.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        filters: int. Filters of every layer; 128 in the paper at 32x32.
        spectral_normalization: bool. Whether every layer with a kernel is divided by
            its largest singular value.
        minibatch_standard_deviation: bool. Whether the last block also sees how much the
            images of the batch differ.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Raises:
        InputError: an invalid image shape or policy.

    Example:
    >>> resnet_discriminator((32, 32, 3)).output_shape
    (None, 1)

    Reference: Miyato et al. (2018), Table 4, https://arxiv.org/abs/1802.05957
    """
    image_shape = check_image_shape(image_shape)
    wrapper = kernel_wrapper(spectral_normalization)
    halved = halvings(image_shape, smallest=8)
    sizes = [*halved, halved[-1], halved[-1]]  # two blocks that do not halve

    x = images = float_input(image_shape)
    for block, (large, small) in enumerate(zip(sizes, sizes[1:])):
        if minibatch_standard_deviation and block == len(sizes) - 2:
            x = MinibatchStandardDeviation()(x)  # (B, h, w, c) -> (B, h, w, c + 1)
        shortcut = x
        if block > 0:  # the image itself is not cut off at zero
            x = layers.ReLU()(x)
        x = wrapper(_residual_conv(filters))(x)
        x = wrapper(_residual_conv(filters))(layers.ReLU()(x))
        if small != large:
            strides = strides_between(large, small)
            x = layers.AveragePooling2D(strides, padding="same")(x)
            shortcut = layers.AveragePooling2D(strides, padding="same")(shortcut)
        if small != large or shortcut.shape[-1] != filters:
            shortcut = wrapper(_shortcut_conv(filters))(shortcut)
        x = layers.Add()([x, shortcut])

    x = ops.sum(ops.cast(layers.ReLU()(x), policy_dtype()), axis=(1, 2))  # (B, h, w, c) -> (B, c)
    logits = wrapper(layers.Dense(1, kernel_initializer=glorot_uniform(), dtype=policy_dtype()))(x)
    return keras.Model(images, logits, name=name)
