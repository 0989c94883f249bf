"""Parts that several networks share."""

from collections.abc import Callable

import keras
from keras import KerasTensor, layers

from keras_genimg.layers import BatchNormalization, Dropout, SpectralNormalization
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import strides_between
from keras_genimg.precision import policy_dtype

__all__ = [
    "code_vectors", "crop", "downsample", "float_input", "gaussian", "kernel_wrapper",
    "repeat_pixels", "upsample", "upsample_to_image",
]


def float_input(shape: tuple, name: str | None = None) -> KerasTensor:
    """An input of float32, or of float64 under that policy.

    Args:
        shape: tuple without the batch axis.
        name: string, optional.

    Returns:
        `keras.KerasTensor`.
    """
    return keras.Input(shape, dtype=policy_dtype(), name=name)


def code_vectors(x: KerasTensor, embedding_dim: int, normalized: bool) -> KerasTensor:
    """The last layers of an encoder of codes: a 1x1 convolution, in the policy's precision.

    Args:
        x: tensor `(batch, h, w, channels)`.
        embedding_dim: int.
        normalized: bool. Whether each channel has mean 0 and variance 1 over the batch.

    Returns:
        Tensor `(batch, h, w, embedding_dim)`.
    """
    vectors = layers.Conv2D(embedding_dim, 1, use_bias=not normalized, dtype=policy_dtype())(x)
    if not normalized:
        return vectors
    return BatchNormalization(
        scale=False, center=False, momentum=0.9, dtype=policy_dtype()
    )(vectors)  # fmt: skip


def crop(x: KerasTensor, size: tuple) -> KerasTensor:
    """Cuts a grid at the right and the bottom: 14 -> 13 where 7 was doubled.

    Args:
        x: tensor `(batch, h, w, channels)`.
        size: (height, width), neither larger than those of `x`.

    Returns:
        Tensor `(batch, height, width, channels)`.
    """
    excess = [found - wanted for found, wanted in zip(x.shape[1:3], size)]
    return layers.Cropping2D(((0, excess[0]), (0, excess[1])))(x) if any(excess) else x


def repeat_pixels(x: KerasTensor, large: tuple) -> KerasTensor:
    """Nearest-neighbour upsampling to a larger grid.

    Args:
        x: tensor `(batch, h, w, channels)`.
        large: (height, width), at least those of `x`.

    Returns:
        Tensor `(batch, *large, channels)`.
    """
    height, width, channels = x.shape[1:]
    down, across = -(-large[0] // height), -(-large[1] // width)
    # Not UpSampling2D, which in a LiteRT file forgets the number of channels.
    pixels = layers.Concatenate()([x] * across) if across > 1 else x  # (B, h, w, across * c)
    rows = layers.Reshape((height, across * width * channels))(pixels)
    x = layers.Concatenate()([rows] * down) if down > 1 else rows  # (B, h, down * across * w * c)
    return crop(layers.Reshape((down * height, across * width, channels))(x), large)


def upsample(
    x: KerasTensor, small: tuple, large: tuple, filters: int, kernel_size: int, **kwargs
) -> KerasTensor:
    """A transposed convolution from one grid to a larger one.

    Args:
        x: tensor `(batch, *small, channels)`.
        small, large: (height, width) of the grids.
        filters: int.
        kernel_size: int.
        **kwargs: keyword arguments of `Conv2DTranspose`.

    Returns:
        Tensor `(batch, *large, filters)`.
    """
    strides = strides_between(large, small)
    x = layers.Conv2DTranspose(filters, kernel_size, strides, padding="same", **kwargs)(x)
    return crop(x, large)


def upsample_to_image(
    x: KerasTensor, grids: list, widths: list, kernel_size: int, normalize: Callable
) -> KerasTensor:
    """Transposed convolutions from each grid to the next, and tanh: the end of a generator.

    Args:
        x: tensor `(batch, *grids[0], channels)`.
        grids: list of (height, width), the smallest first.
        widths: list of int, the filters on each grid after the first; the last are the channels.
        kernel_size: int.
        normalize: function of a tensor, normalisation and ReLU, for every layer but the last.

    Returns:
        Tensor `(batch, *grids[-1], widths[-1])` in [-1, 1].
    """
    for level, (width, small, large) in enumerate(zip(widths, grids, grids[1:])):
        last = level == len(widths) - 1
        options = {"kernel_initializer": normal(), "use_bias": last}
        x = upsample(x, small, large, width, kernel_size, **options)
        if not last:
            x = normalize(x)
    return layers.Activation("tanh", dtype=policy_dtype())(x)


def downsample(
    x: KerasTensor, grids: list, widths: list, kernel_size: int,
    normalization: Callable | None = None, wrapper: Callable = lambda layer: layer,
    dropout: float = 0.0, convolution: type = layers.Conv2D,
) -> list:
    """Convolutions from each grid to the next, LeakyReLU(0.2): the start of a discriminator.

    Args:
        x: tensor `(batch, *grids[0], channels)`.
        grids: list of sizes, the largest first.
        widths: list of int, the filters on each grid after the first.
        kernel_size: int.
        normalization: function that makes a layer, one for every convolution but the first, or
            None without normalisation.
        wrapper: function of a convolution, such as `SpectralNormalization`.
        dropout: float. Rate after each convolution.
        convolution: class of the convolutions.

    Returns:
        List of tensors, `x` and the features on each grid after the first.
    """
    features = [x]
    for level, (width, large, small) in enumerate(zip(widths, grids, grids[1:])):
        normalized = normalization is not None and level > 0
        x = wrapper(
            convolution(
                width, kernel_size, strides_between(large, small), padding="same",
                kernel_initializer=normal(), use_bias=not normalized,
            )
        )(x)  # fmt: skip
        if normalized:
            x = normalization()(x)
        x = layers.LeakyReLU(0.2)(x)
        if dropout:
            x = Dropout(dropout)(x)
        features.append(x)
    return features


def kernel_wrapper(spectral_normalization: bool) -> Callable:
    """`SpectralNormalization`, or a function that leaves layers as they are.

    Args:
        spectral_normalization: bool.

    Returns:
        Function of a layer with a kernel.
    """
    return SpectralNormalization if spectral_normalization else lambda layer: layer


def gaussian(x: KerasTensor, latent_dim: int) -> list:
    """Mean and log variance of a Gaussian over z, from features.

    Args:
        x: tensor `(batch, features)`.
        latent_dim: int.

    Returns:
        List of two tensors `(batch, latent_dim)`.
    """
    return [
        layers.Dense(latent_dim, dtype=policy_dtype(), name=name)(x)
        for name in ("z_mean", "z_log_var")
    ]
