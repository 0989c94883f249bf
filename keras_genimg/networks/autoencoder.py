"""Convolutional encoders and decoders for VAE, VQ-VAE and VQ-VAE-2."""

import keras
from keras import layers

from keras_genimg.checks import check_image_shape
from keras_genimg.networks.blocks import code_vectors, float_input, gaussian, upsample
from keras_genimg.networks.shapes import downsampled, halvings, strides_between, widths_of
from keras_genimg.precision import policy_dtype

__all__ = [
    "conv_decoder", "conv_encoder", "two_level_decoder", "two_level_encoder", "two_level_join",
    "vq_decoder", "vq_encoder",
]


def conv_encoder(
    image_shape: tuple, latent_dim: int, filters: int = 32, widest: int = 128, kernel_size: int = 4,
    name: str = "encoder",
) -> keras.Model:
    """Image to the mean and log variance of a Gaussian over z, by convolutions.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        filters: int. Filters of the first layer; they double with each halving,
            up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Side of the kernels.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to the list
        `[z_mean, z_log_var]`, each float32 `(batch, latent_dim)`.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> [output.shape for output in conv_encoder((28, 28, 1), 16).outputs]
    [(None, 16), (None, 16)]
    """
    image_shape = check_image_shape(image_shape)
    sizes = halvings(image_shape)
    x = images = float_input(image_shape)
    for width, large, small in zip(widths_of(len(sizes) - 1, filters, widest), sizes, sizes[1:]):
        strides = strides_between(large, small)
        x = layers.Conv2D(width, kernel_size, strides, padding="same", activation="relu")(x)
    x = layers.Flatten()(x)  # (B, h, w, c) -> (B, h*w*c)
    x = layers.Dense(widest * 2, activation="relu")(x)
    return keras.Model(images, gaussian(x, latent_dim), name=name)


def conv_decoder(
    image_shape: tuple, latent_dim: int, filters: int = 32, widest: int = 128, kernel_size: int = 4,
    name: str = "decoder",
) -> keras.Model:
    """z to one unbounded value per pixel, by transposed convolutions.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        filters: int. Filters of the last grid before the image; they double
            with each halving of the grid, up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Side of the kernels.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)`: logits or means, depending on the likelihood.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> conv_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)
    """
    image_shape = check_image_shape(image_shape)
    sizes = halvings(image_shape)[::-1]  # smallest first
    widths = widths_of(len(sizes) - 1, filters, widest)[::-1]
    (height, width), latents = sizes[0], float_input((latent_dim,))
    x = layers.Dense(widest * 2, activation="relu")(latents)
    x = layers.Dense(height * width * widest, activation="relu")(x)
    x = layers.Reshape((height, width, widest))(x)  # (B, h*w*c) -> (B, h, w, c)
    for width, small, large in zip(widths, sizes, sizes[1:]):
        x = upsample(x, small, large, width, kernel_size, activation="relu")
    outputs = layers.Conv2D(image_shape[2], 3, padding="same", dtype=policy_dtype())(x)
    return keras.Model(latents, outputs, name=name)


def _residual_stack(x, filters, residual_filters, blocks):
    """A 3x3 convolution, residual blocks, ReLU."""
    x = layers.Conv2D(filters, 3, padding="same")(x)
    for _ in range(blocks):
        y = layers.ReLU()(x)
        y = layers.Conv2D(residual_filters, 3, padding="same", activation="relu")(y)
        x = layers.Add()([x, layers.Conv2D(filters, 1)(y)])
    return layers.ReLU()(x)


def _downsampled(images, downsampling, filters, residual_filters, blocks):
    """4x4 convolutions of stride 2, one of stride 1, residual blocks."""
    x = images
    for level in range(len(downsampled(images.shape[1:], downsampling)) - 1):
        width = filters if level else filters // 2
        x = layers.Conv2D(width, 4, 2, padding="same", activation="relu")(x)
    return _residual_stack(x, filters, residual_filters, blocks)


def _upsampled(x, image_shape, downsampling, filters, residual_filters, blocks):
    """The same in reverse: images, in the policy's precision."""
    x = _residual_stack(x, filters, residual_filters, blocks)
    sizes = downsampled(image_shape, downsampling)[::-1]  # smallest first
    for small, large in zip(sizes[:-1], sizes[1:-1]):
        width = filters // 2 if large == sizes[-2] else filters
        x = upsample(x, small, large, width, 4, activation="relu")
    return upsample(x, sizes[-2], sizes[-1], image_shape[2], 4, dtype=policy_dtype())


def vq_encoder(
    image_shape: tuple, embedding_dim: int, filters: int = 128, residual_filters: int = 32,
    blocks: int = 2, downsampling: int = 4, normalized: bool = False, local: bool = False,
    name: str = "encoder",
) -> keras.Model:
    """Image to a grid of vectors, a quarter of its height and width or less.

    4x4 convolutions of stride 2, one of stride 1, residual blocks, a 1x1. Or, `local`, 3x3
    convolutions of stride 2 and a 1x1; with two of them a vector has a 7x7 receptive field.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        embedding_dim: int. Length of a vector (D).
        filters: int. Filters of the hidden layers (half as many in the first).
        residual_filters: int. Filters inside a residual block.
        blocks: int. Residual blocks.
        downsampling: 4, 8 or 16. Sides of the image relative to those of the grid (f).
        normalized: bool. Whether each channel is normalised to mean 0 and variance 1 over the
            batch, for quantisers with fixed levels: vectors that start on one level, or reach
            the outermost, would stay there.
        local: bool. Whether vectors have a small receptive field. There are no residual blocks
            then, and `residual_filters` and `blocks` are ignored.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to
        `(batch, height / f, width / f, embedding_dim)`, sides rounded up.

    Raises:
        InputError: an invalid image shape or downsampling.

    Example:
    >>> vq_encoder((28, 28, 1), 16).output_shape
    (None, 7, 7, 16)

    Reference: van den Oord et al. (2017), section 4.1, https://arxiv.org/abs/1711.00937;
        `local`: https://keras.io/examples/generative/vq_vae/
    """
    images = x = float_input(check_image_shape(image_shape))
    if local:
        for level in range(len(downsampled(image_shape, downsampling)) - 1):
            width = filters if level else filters // 2
            x = layers.Conv2D(width, 3, 2, padding="same", activation="relu")(x)
    else:
        x = _downsampled(images, downsampling, filters, residual_filters, blocks)
    return keras.Model(images, code_vectors(x, embedding_dim, normalized), name=name)


def vq_decoder(
    image_shape: tuple, embedding_dim: int, filters: int = 128, residual_filters: int = 32,
    blocks: int = 2, downsampling: int = 4, name: str = "decoder",
) -> keras.Model:
    """A grid of vectors to the image: the encoder's layers in reverse.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        embedding_dim: int. Length of a vector (D).
        filters: int. Filters of the hidden layers (half as many in the last).
        residual_filters: int. Filters inside a residual block.
        blocks: int. Residual blocks.
        downsampling: 4, 8 or 16. Sides of the image relative to those of the grid (f).
        name: string.

    Returns:
        `keras.Model` from `(batch, height / f, width / f, embedding_dim)` to
        float32 `(batch, height, width, channels)`, unbounded.

    Raises:
        InputError: an invalid image shape or downsampling.

    Example:
    >>> vq_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)

    Reference: van den Oord et al. (2017), section 4.1, https://arxiv.org/abs/1711.00937
    """
    image_shape = check_image_shape(image_shape)
    vectors = float_input((*downsampled(image_shape, downsampling)[-1], embedding_dim))
    images = _upsampled(vectors, image_shape, downsampling, filters, residual_filters, blocks)
    return keras.Model(vectors, images, name=name)


def two_level_encoder(
    image_shape: tuple, embedding_dim: int, filters: int = 128, residual_filters: int = 32,
    blocks: int = 2, name: str = "encoder",
) -> keras.Model:
    """Image to vectors of a coarse grid, the top, and features of a fine one, the bottom.

    The bottom is a quarter of the image's height and width. A convolution of stride 2 and
    residual blocks reduce it to the top, an eighth, rounded up.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        embedding_dim: int. Length of a vector (D).
        filters: int. Filters of the hidden layers (half as many in the first of each level).
        residual_filters: int. Filters inside a residual block.
        blocks: int. Residual blocks of each level.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to the list of
        `(batch, height / 8, width / 8, embedding_dim)` and
        `(batch, height / 4, width / 4, filters)`.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> [output.shape for output in two_level_encoder((28, 28, 1), 16).outputs]
    [(None, 4, 4, 16), (None, 7, 7, 128)]

    Reference: Razavi et al. (2019), section 3.1 and appendix A, https://arxiv.org/abs/1906.00446
    """
    images = float_input(check_image_shape(image_shape))
    features = _downsampled(images, 4, filters, residual_filters, blocks)
    x = layers.Conv2D(filters // 2, 4, 2, padding="same", activation="relu")(features)
    x = _residual_stack(x, filters, residual_filters, blocks)
    vectors = layers.Conv2D(embedding_dim, 1, dtype=policy_dtype())(x)
    return keras.Model(images, [vectors, features], name=name)


def two_level_join(
    top_shape: tuple, features_shape: tuple, filters: int = 128, residual_filters: int = 32,
    blocks: int = 2, name: str = "join",
) -> keras.Model:
    """The top's vectors and the bottom's features, to the bottom's vectors.

    Args:
        top_shape: (height, width, D) of the top's vectors, half the bottom's, rounded up.
        features_shape: (height, width, features) of the bottom.
        filters, residual_filters, blocks: see `two_level_encoder`.
        name: string.

    Returns:
        `keras.Model` from `[(batch, *top_shape), (batch, *features_shape)]` to
        `(batch, height, width, D)`, the height and width being the bottom's.

    Example:
    >>> two_level_join((4, 4, 16), (7, 7, 128)).output_shape
    (None, 7, 7, 16)

    Reference: Razavi et al. (2019), https://arxiv.org/abs/1906.00446
    """
    top, features = float_input(top_shape), float_input(features_shape)
    x = _residual_stack(top, filters, residual_filters, blocks)
    x = upsample(x, top_shape[:2], features_shape[:2], top_shape[2], 4)
    x = layers.Concatenate()([x, features])
    vectors = layers.Conv2D(top_shape[2], 1, dtype=policy_dtype())(x)
    return keras.Model([top, features], vectors, name=name)


def two_level_decoder(
    image_shape: tuple, embedding_dim: int, filters: int = 128, residual_filters: int = 32,
    blocks: int = 2, name: str = "decoder",
) -> keras.Model:
    """Vectors of both grids to the image: the top's are upsampled to the bottom's grid.

    Args:
        image_shape, embedding_dim, filters, residual_filters, blocks, name: see
            `two_level_encoder`.

    Returns:
        `keras.Model` from `[(batch, height / 8, width / 8, embedding_dim),
        (batch, height / 4, width / 4, embedding_dim)]` to float32 `(batch, height, width,
        channels)`, unbounded.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> two_level_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)

    Reference: Razavi et al. (2019), https://arxiv.org/abs/1906.00446
    """
    image_shape = check_image_shape(image_shape)
    large = (image_shape[0] // 4, image_shape[1] // 4)
    small = halvings(large, levels=1)[-1]
    top, bottom = (float_input((*size, embedding_dim)) for size in (small, large))
    x = layers.Concatenate()([upsample(top, small, large, embedding_dim, 4), bottom])
    images = _upsampled(x, image_shape, 4, filters, residual_filters, blocks)
    return keras.Model([top, bottom], images, name=name)
