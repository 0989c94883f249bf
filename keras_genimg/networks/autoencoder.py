"""Convolutional encoders and decoders for VAE, VQ-VAE and VQ-VAE-2."""

import keras
from keras import layers

from keras_genimg.layers import BatchNormalization
from keras_genimg.networks.dcgan import upsample
from keras_genimg.networks.shapes import halvings, strides_between

__all__ = [
    "conv_decoder",
    "conv_encoder",
    "two_level_decoder",
    "two_level_encoder",
    "two_level_join",
    "vq_decoder",
    "vq_encoder",
]


def conv_encoder(image_shape, latent_dim, filters=32, widest=128, kernel_size=4, name="encoder"):
    """Picture to the mean and log variance of a Gaussian over z, by convolutions.

    Args:
        image_shape: (height, width, channels).
        latent_dim: int. Length of z.
        filters: int. Filters of the first layer; they double with each halving,
            up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Side of the kernels.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to the list
        `[z_mean, z_log_var]`, each float32 `(batch, latent_dim)`.

    Example:
    >>> [output.shape for output in conv_encoder((28, 28, 1), 16).outputs]
    [(None, 16), (None, 16)]
    """
    sizes = halvings(image_shape)
    images = keras.Input(image_shape)
    x = images
    for level, (large, small) in enumerate(zip(sizes, sizes[1:])):
        width = min(filters * 2**level, widest)
        x = layers.Conv2D(width, kernel_size, strides_between(large, small), padding="same",
                          activation="relu")(x)
    x = layers.Flatten()(x)  # (B, h, w, c) -> (B, h*w*c)
    x = layers.Dense(widest * 2, activation="relu")(x)
    z_mean = layers.Dense(latent_dim, dtype="float32", name="z_mean")(x)
    z_log_var = layers.Dense(latent_dim, dtype="float32", name="z_log_var")(x)
    return keras.Model(images, [z_mean, z_log_var], name=name)


def conv_decoder(image_shape, latent_dim, filters=32, widest=128, kernel_size=4, name="decoder"):
    """z to one unbounded value a pixel, by transposed convolutions.

    Args:
        image_shape: (height, width, channels).
        latent_dim: int. Length of z.
        filters: int. Filters of the last grid before the picture; they double
            with each halving of the grid, up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Side of the kernels.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)`: logits or means, as the likelihood reads them.

    Example:
    >>> conv_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)
    """
    sizes = halvings(image_shape)
    smallest = sizes[-1]
    latents = keras.Input((latent_dim,))
    x = layers.Dense(widest * 2, activation="relu")(latents)
    x = layers.Dense(smallest[0] * smallest[1] * widest, activation="relu")(x)
    x = layers.Reshape((*smallest, widest))(x)  # (B, h*w*c) -> (B, h, w, c)
    for level in range(len(sizes) - 2, -1, -1):
        width = min(filters * 2**level, widest)
        x = upsample(x, sizes[level + 1], sizes[level], width, kernel_size, activation="relu")
    outputs = layers.Conv2D(image_shape[2], 3, padding="same", dtype="float32")(x)
    return keras.Model(latents, outputs, name=name)


def _residual_stack(x, filters, residual_filters, blocks):
    for _ in range(blocks):
        y = layers.ReLU()(x)
        y = layers.Conv2D(residual_filters, 3, padding="same", activation="relu")(y)
        y = layers.Conv2D(filters, 1)(y)
        x = layers.Add()([x, y])
    return layers.ReLU()(x)


def _to_a_quarter(images, filters, residual_filters, blocks):
    """Two 4x4 convolutions of stride 2, one of stride 1, residual blocks."""
    x = layers.Conv2D(filters // 2, 4, 2, padding="same", activation="relu")(images)
    x = layers.Conv2D(filters, 4, 2, padding="same", activation="relu")(x)
    x = layers.Conv2D(filters, 3, padding="same")(x)
    return _residual_stack(x, filters, residual_filters, blocks)


def _from_a_quarter(x, channels, filters, residual_filters, blocks):
    """The same in reverse: a picture of `channels`, float32."""
    x = layers.Conv2D(filters, 3, padding="same")(x)
    x = _residual_stack(x, filters, residual_filters, blocks)
    x = layers.Conv2DTranspose(filters // 2, 4, 2, padding="same", activation="relu")(x)
    return layers.Conv2DTranspose(channels, 4, 2, padding="same", dtype="float32")(x)


def vq_encoder(
    image_shape,
    embedding_dim,
    filters=128,
    residual_filters=32,
    blocks=2,
    normalized=False,
    local=False,
    name="encoder",
):
    """Picture to a grid of vectors, a quarter of its height and width.

    Two 4x4 convolutions of stride 2, one of stride 1, residual blocks, a 1x1. Or, `local`, two
    3x3 convolutions of stride 2 and a 1x1, through which a vector sees 7x7 pixels.

    Args:
        image_shape: (height, width, channels), sides multiples of 4.
        embedding_dim: int. Length of a vector (D).
        filters: int. Filters of the hidden layers (half as many in the first).
        residual_filters: int. Filters inside a residual block.
        blocks: int. Residual blocks.
        normalized: bool. Whether each channel is brought to mean 0 and variance 1 over the
            batch, for quantisers with fixed levels: vectors that start on one level, or run off
            to the outermost, would not come back.
        local: bool. Whether a vector sees 7x7 pixels alone. There are no residual blocks then,
            and `residual_filters` and `blocks` count for nothing.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to
        `(batch, height / 4, width / 4, embedding_dim)`.

    Example:
    >>> vq_encoder((28, 28, 1), 16).output_shape
    (None, 7, 7, 16)

    Reference: van den Oord et al. (2017), section 4.1, https://arxiv.org/abs/1711.00937;
        `local`: https://keras.io/examples/generative/vq_vae/
    """
    images = keras.Input(image_shape)
    if local:
        x = layers.Conv2D(filters // 2, 3, 2, padding="same", activation="relu")(images)
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    else:
        x = _to_a_quarter(images, filters, residual_filters, blocks)
    vectors = layers.Conv2D(embedding_dim, 1, use_bias=not normalized, dtype="float32")(x)
    if normalized:
        vectors = BatchNormalization(scale=False, center=False, momentum=0.9, dtype="float32")(vectors)
    return keras.Model(images, vectors, name=name)


def vq_decoder(
    image_shape, embedding_dim, filters=128, residual_filters=32, blocks=2, name="decoder"
):
    """A grid of vectors to the picture: the encoder's layers in reverse.

    Args:
        image_shape: (height, width, channels), sides multiples of 4.
        embedding_dim: int. Length of a vector (D).
        filters: int. Filters of the hidden layers (half as many in the last).
        residual_filters: int. Filters inside a residual block.
        blocks: int. Residual blocks.
        name: string.

    Returns:
        `keras.Model` from `(batch, height / 4, width / 4, embedding_dim)` to
        float32 `(batch, height, width, channels)`, unbounded.

    Example:
    >>> vq_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)

    Reference: van den Oord et al. (2017), section 4.1, https://arxiv.org/abs/1711.00937
    """
    vectors = keras.Input((image_shape[0] // 4, image_shape[1] // 4, embedding_dim))
    images = _from_a_quarter(vectors, image_shape[2], filters, residual_filters, blocks)
    return keras.Model(vectors, images, name=name)


def two_level_encoder(
    image_shape, embedding_dim, filters=128, residual_filters=32, blocks=2, name="encoder"
):
    """Picture to vectors of a coarse grid, the top, and features of a fine one, the bottom.

    The bottom is a quarter of the picture's height and width; a convolution of stride 2 and
    residual blocks make the top of it, an eighth, rounded up.

    Args:
        image_shape: (height, width, channels), sides multiples of 4.
        embedding_dim: int. Length of a vector (D).
        filters: int. Filters of the hidden layers (half as many in the first of each level).
        residual_filters: int. Filters inside a residual block.
        blocks: int. Residual blocks of each level.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to the list of
        `(batch, height / 8, width / 8, embedding_dim)` and
        `(batch, height / 4, width / 4, filters)`.

    Example:
    >>> [output.shape for output in two_level_encoder((28, 28, 1), 16).outputs]
    [(None, 4, 4, 16), (None, 7, 7, 128)]

    Reference: Razavi et al. (2019), section 3.1 and appendix A, https://arxiv.org/abs/1906.00446
    """
    images = keras.Input(image_shape)
    features = _to_a_quarter(images, filters, residual_filters, blocks)
    x = layers.Conv2D(filters // 2, 4, 2, padding="same", activation="relu")(features)
    x = layers.Conv2D(filters, 3, padding="same")(x)
    x = _residual_stack(x, filters, residual_filters, blocks)
    vectors = layers.Conv2D(embedding_dim, 1, dtype="float32")(x)
    return keras.Model(images, [vectors, features], name=name)


def two_level_join(
    top_shape, features_shape, filters=128, residual_filters=32, blocks=2, name="join"
):
    """The bottom's features and what the top says, to the bottom's vectors.

    Args:
        top_shape: (height, width, D) of the top's vectors, half the bottom's, rounded up.
        features_shape: (height, width, features) of the bottom.
        filters, residual_filters, blocks: as for `two_level_encoder`.
        name: string.

    Returns:
        `keras.Model` from `[(batch, *top_shape), (batch, *features_shape)]` to
        `(batch, height, width, D)`, the height and width being the bottom's.

    Example:
    >>> two_level_join((4, 4, 16), (7, 7, 128)).output_shape
    (None, 7, 7, 16)

    Reference: Razavi et al. (2019), https://arxiv.org/abs/1906.00446
    """
    top, features = keras.Input(top_shape), keras.Input(features_shape)
    x = layers.Conv2D(filters, 3, padding="same")(top)
    x = _residual_stack(x, filters, residual_filters, blocks)
    x = upsample(x, top_shape[:2], features_shape[:2], top_shape[2], 4)
    x = layers.Concatenate()([x, features])
    vectors = layers.Conv2D(top_shape[2], 1, dtype="float32")(x)
    return keras.Model([top, features], vectors, name=name)


def two_level_decoder(
    image_shape, embedding_dim, filters=128, residual_filters=32, blocks=2, name="decoder"
):
    """Vectors of both grids to the picture: the top's, brought to the bottom's grid, beside those.

    Args:
        image_shape, embedding_dim, filters, residual_filters, blocks, name: as for
            `two_level_encoder`.

    Returns:
        `keras.Model` from `[(batch, height / 8, width / 8, embedding_dim),
        (batch, height / 4, width / 4, embedding_dim)]` to float32 `(batch, height, width,
        channels)`, unbounded.

    Example:
    >>> two_level_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)

    Reference: Razavi et al. (2019), https://arxiv.org/abs/1906.00446
    """
    large = (image_shape[0] // 4, image_shape[1] // 4)
    small = halvings(large, levels=1)[-1]
    top, bottom = (keras.Input((*size, embedding_dim)) for size in (small, large))
    x = layers.Concatenate()([upsample(top, small, large, embedding_dim, 4), bottom])
    images = _from_a_quarter(x, image_shape[2], filters, residual_filters, blocks)
    return keras.Model([top, bottom], images, name=name)
