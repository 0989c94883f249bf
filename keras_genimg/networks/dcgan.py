"""Deep convolutional GAN networks for any size: generator and discriminator."""

import keras
from keras import layers

from keras_genimg.layers import (
    BatchNormalization,
    Dropout,
    MinibatchStandardDeviation,
    SpectralNormalization,
)
from keras_genimg.networks.shapes import halvings, strides_between

__all__ = ["dcgan_discriminator", "dcgan_generator"]


def _initializer():
    # Radford et al. start all weights from N(0, 0.02^2). A fresh object each time:
    # one that is shared would start layers of one shape from the same numbers.
    return keras.initializers.RandomNormal(stddev=0.02)


def _widths(levels, filters, widest):
    """Filters from the widest grid (the picture's side) to the smallest."""
    return [min(filters * 2**level, widest) for level in range(levels)]


def upsample(x, small, large, filters, kernel_size, **kwargs):
    """A transposed convolution from grid `small` to grid `large`."""
    x = layers.Conv2DTranspose(
        filters, kernel_size, strides_between(large, small), padding="same", **kwargs
    )(x)
    excess = [made - wanted for made, wanted in zip(x.shape[1:3], large)]
    if any(excess):  # an odd side: 7 -> 14, cut to 13
        x = layers.Cropping2D(((0, excess[0]), (0, excess[1])))(x)
    return x


def dcgan_generator(
    image_shape, latent_dim, filters=32, widest=256, kernel_size=4, momentum=0.9, name="generator"
):
    """Noise to picture: a dense layer, then transposed convolutions that double.

    Batch normalisation and ReLU after every layer but the last, tanh at the end.

    Args:
        image_shape: (height, width, channels).
        latent_dim: int. Length of the noise vector z.
        filters: int. Filters of the last grid before the picture; they double
            with each halving of the grid, up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. 4 divides by the stride of 2 and so leaves no
            checkerboard.
        momentum: float. Of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Example:
    >>> dcgan_generator((28, 28, 1), 64).output_shape
    (None, 28, 28, 1)

    Reference: Radford et al. (2016), section 3, https://arxiv.org/abs/1511.06434
    """
    sizes = halvings(image_shape)  # picture first
    widths = _widths(len(sizes) - 1, filters, widest)

    # 1. z -> the smallest grid.
    latents = keras.Input((latent_dim,))
    smallest = sizes[-1]
    x = layers.Dense(
        smallest[0] * smallest[1] * min(2 * widths[-1], widest),
        kernel_initializer=_initializer(),
        use_bias=False,
    )(latents)
    x = layers.Reshape((*smallest, min(2 * widths[-1], widest)))(x)  # (B, h*w*c) -> (B, h, w, c)
    x = BatchNormalization(momentum=momentum)(x)
    x = layers.ReLU()(x)

    # 2. Double the grid until the next is the picture: 7x7 -> 14x14.
    for level in range(len(sizes) - 2, 0, -1):
        x = upsample(
            x,
            sizes[level + 1],
            sizes[level],
            widths[level],
            kernel_size,
            kernel_initializer=_initializer(),
            use_bias=False,
        )
        x = BatchNormalization(momentum=momentum)(x)
        x = layers.ReLU()(x)

    # 3. The picture: 14x14 -> 28x28.
    x = upsample(
        x, sizes[1], sizes[0], image_shape[2], kernel_size, kernel_initializer=_initializer()
    )
    images = layers.Activation("tanh", dtype="float32")(x)
    return keras.Model(latents, images, name=name)


def dcgan_discriminator(
    image_shape,
    filters=32,
    widest=256,
    kernel_size=4,
    momentum=0.9,
    epsilon=1e-3,
    dropout=0.0,
    normalization=True,
    levels=None,
    spectral_normalization=False,
    minibatch_standard_deviation=False,
    name="discriminator",
):
    """Picture to logit: convolutions that halve, LeakyReLU(0.2), a dense unit.

    Args:
        image_shape: (height, width, channels).
        filters: int. Filters of the first layer; they double with each halving,
            up to `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Side of the kernels.
        momentum: float. Of the batch normalisation (none after the first layer).
        epsilon: float. Of the batch normalisation, added to the variance.
        dropout: float. Rate after each layer.
        normalization: bool. Whether there is batch normalisation.
        levels: int, optional. Convolutions; by default as many as leave no side
            above 4 (one that stops at 7 learns several times more slowly).
        spectral_normalization: bool. Divides the kernels by their largest singular
            value; it takes the place of batch normalisation.
        minibatch_standard_deviation: bool. Adds the map of
            `MinibatchStandardDeviation` before the last layer.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Example:
    >>> dcgan_discriminator((28, 28, 1)).output_shape
    (None, 1)

    Reference: Radford et al. (2016), section 3, https://arxiv.org/abs/1511.06434
    """
    sizes = halvings(image_shape, smallest=4, levels=levels)
    widths = _widths(len(sizes) - 1, filters, widest)

    normalize = SpectralNormalization if spectral_normalization else lambda layer: layer

    images = keras.Input(image_shape)
    x = images
    for level, width in enumerate(widths):
        normalized = normalization and not spectral_normalization and level > 0
        convolution = layers.Conv2D(
            width,
            kernel_size,
            strides_between(sizes[level], sizes[level + 1]),
            padding="same",
            kernel_initializer=_initializer(),
            use_bias=not normalized,
        )
        x = normalize(convolution)(x)
        if normalized:
            x = BatchNormalization(momentum=momentum, epsilon=epsilon)(x)
        x = layers.LeakyReLU(0.2)(x)
        if dropout:
            x = Dropout(dropout)(x)
    if minibatch_standard_deviation:
        x = MinibatchStandardDeviation()(x)  # (B, h, w, c) -> (B, h, w, c + 1)
    x = layers.Flatten()(x)  # (B, h, w, c) -> (B, h*w*c)
    logits = normalize(layers.Dense(1, kernel_initializer=_initializer(), dtype="float32"))(x)
    return keras.Model(images, logits, name=name)
