"""Deep convolutional GAN networks for any size: generator and discriminator."""

from collections.abc import Callable

import keras
from keras import KerasTensor, layers

from keras_genimg.checks import check_image_shape
from keras_genimg.layers import BatchNormalization, MinibatchStandardDeviation
from keras_genimg.networks.blocks import downsample, float_input, kernel_wrapper, upsample_to_image
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import halvings, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["dcgan_discriminator", "dcgan_generator", "images_from"]


def images_from(
    latents: KerasTensor, image_shape: tuple, filters: int, widest: int, kernel_size: int,
    normalize: Callable,
) -> KerasTensor:
    """z to images: a dense layer, then transposed convolutions that double the grid.

    Args:
        latents: tensor `(batch, latent_dim)`.
        image_shape, filters, widest, kernel_size: see `dcgan_generator`.
        normalize: function of a tensor, normalisation and ReLU, for every layer but the last.

    Returns:
        Tensor `(batch, *image_shape)` in [-1, 1].
    """
    sizes = halvings(image_shape)  # image first
    widths = widths_of(len(sizes) - 1, filters, widest)

    # 1. z -> the smallest grid.
    (height, width), start = sizes[-1], min(2 * widths[-1], widest)
    x = layers.Dense(height * width * start, kernel_initializer=normal(), use_bias=False)(latents)
    x = normalize(layers.Reshape((height, width, start))(x))  # (B, h*w*c) -> (B, h, w, c)

    # 2. Double the grid up to the image: 7x7 -> 14x14 -> 28x28.
    widths = [*widths[:0:-1], image_shape[2]]
    return upsample_to_image(x, sizes[::-1], widths, kernel_size, normalize)


def dcgan_generator(
    image_shape: tuple, latent_dim: int, filters: int = 32, widest: int = 256, kernel_size: int = 4,
    momentum: float = 0.9, name: str = "generator",
) -> keras.Model:
    """Noise to image: a dense layer, then transposed convolutions that double.

    Batch normalisation and ReLU after every layer but the last, tanh at the end.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        filters: int. Filters of the last grid before the image; they double
            with each halving of the grid, up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. A multiple of the stride of 2 avoids checkerboard
            artefacts.
        momentum: float. Momentum of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> dcgan_generator((28, 28, 1), 64).output_shape
    (None, 28, 28, 1)

    Reference: Radford et al. (2016), section 3, https://arxiv.org/abs/1511.06434
    """
    image_shape = check_image_shape(image_shape)
    latents = float_input((latent_dim,))
    images = images_from(
        latents, image_shape, filters, widest, kernel_size,
        lambda x: layers.ReLU()(BatchNormalization(momentum=momentum)(x)),
    )  # fmt: skip
    return keras.Model(latents, images, name=name)


def dcgan_discriminator(
    image_shape: tuple, filters: int = 32, widest: int = 256, kernel_size: int = 4,
    momentum: float = 0.9, epsilon: float = 1e-3, dropout: float = 0.0, normalization: bool = True,
    levels: int | None = None, spectral_normalization: bool = False,
    minibatch_standard_deviation: bool = False, name: str = "discriminator",
) -> keras.Model:
    """Image to logit: convolutions that halve, LeakyReLU(0.2), a dense unit.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        filters: int. Filters of the first layer; they double with each halving,
            up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Side of the kernels.
        momentum: float. Momentum of the batch normalisation (none after the first layer).
        epsilon: float. Added to the variance in batch normalisation.
        dropout: float. Rate after each layer.
        normalization: bool. Whether to use batch normalisation.
        levels: int, optional. Convolutions; by default as many as leave no side
            above 4 (one that stops at 7 learns several times more slowly).
        spectral_normalization: bool. Divides the kernels by their largest singular
            value; it replaces batch normalisation.
        minibatch_standard_deviation: bool. Adds the map of
            `MinibatchStandardDeviation` before the last layer.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Raises:
        InputError: an invalid image shape or policy.

    Example:
    >>> dcgan_discriminator((28, 28, 1)).output_shape
    (None, 1)

    Reference: Radford et al. (2016), section 3, https://arxiv.org/abs/1511.06434
    """
    image_shape = check_image_shape(image_shape)
    sizes = halvings(image_shape, smallest=4, levels=levels)
    wrapper = kernel_wrapper(spectral_normalization)
    normalized = normalization and not spectral_normalization

    images = float_input(image_shape)
    x = downsample(
        images, sizes, widths_of(len(sizes) - 1, filters, widest), kernel_size,
        (lambda: BatchNormalization(momentum=momentum, epsilon=epsilon)) if normalized else None,
        wrapper, dropout,
    )[-1]
    if minibatch_standard_deviation:
        x = MinibatchStandardDeviation()(x)  # (B, h, w, c) -> (B, h, w, c + 1)
    x = layers.Flatten()(x)  # (B, h, w, c) -> (B, h*w*c)
    logits = wrapper(layers.Dense(1, kernel_initializer=normal(), dtype=policy_dtype()))(x)
    return keras.Model(images, logits, name=name)
