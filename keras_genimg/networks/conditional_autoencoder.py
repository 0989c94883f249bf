"""Encoders and decoders that are told the class."""

import keras
from keras import layers, ops

__all__ = ["conditional_decoder", "conditional_encoder"]


def conditional_encoder(build, image_shape, latent_dim, num_classes, name="encoder", **options):
    """An encoder that sees the class as further channels, one a class, of which one is 1.

    Args:
        build: function `(image_shape, latent_dim)` that makes an encoder without classes.
        image_shape: (height, width, channels).
        latent_dim: int. Length of z.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        name: string.
        **options: keyword arguments of `build`.

    Returns:
        `keras.Model` from `[images, labels]`, `(batch, height, width, channels)` and int
        `(batch,)`, to what `build`'s model returns.

    Example:
    >>> from keras_genimg.networks import conv_encoder
    >>> encoder = conditional_encoder(conv_encoder, (28, 28, 1), 16, num_classes=10)
    >>> [output.shape for output in encoder.outputs]
    [(None, 16), (None, 16)]
    """
    height, width, channels = image_shape
    images, labels = keras.Input(image_shape), keras.Input((), dtype="int32")
    classes = ops.one_hot(labels, num_classes)[:, None, None]  # (B, 1, 1, K)
    planes = classes * ops.ones_like(images[..., :1])  # (B, h, w, K)
    network = build((height, width, channels + num_classes), latent_dim, **options)
    return keras.Model([images, labels], network(layers.Concatenate()([images, planes])), name=name)


def conditional_decoder(build, image_shape, latent_dim, num_classes, name="decoder", **options):
    """A decoder that is given z and, beside it, 1 in the place of the class.

    Args:
        build: function `(image_shape, latent_dim)` that makes a decoder without classes.
        image_shape: (height, width, channels).
        latent_dim: int. Length of z.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        name: string.
        **options: keyword arguments of `build`.

    Returns:
        `keras.Model` from `[z, labels]`, `(batch, latent_dim)` and int `(batch,)`, to what
        `build`'s model returns.

    Example:
    >>> from keras_genimg.networks import conv_decoder
    >>> conditional_decoder(conv_decoder, (28, 28, 1), 16, num_classes=10).output_shape
    (None, 28, 28, 1)
    """
    latents, labels = keras.Input((latent_dim,)), keras.Input((), dtype="int32")
    classes = ops.one_hot(labels, num_classes)  # (B, K)
    network = build(image_shape, latent_dim + num_classes, **options)
    return keras.Model([latents, labels], network(layers.Concatenate()([latents, classes])), name=name)
