"""Encoders and decoders conditioned on the class."""

from collections.abc import Callable

import keras
from keras import layers, ops

from keras_genimg.checks import check_image_shape
from keras_genimg.networks.blocks import float_input

__all__ = ["conditional_decoder", "conditional_encoder"]


def conditional_encoder(
    build: Callable, image_shape: tuple, latent_dim: int, num_classes: int, name: str = "encoder",
    **options,
) -> keras.Model:
    """An encoder that sees the one-hot class as further channels.

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

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> from keras_genimg.networks import conv_encoder
    >>> encoder = conditional_encoder(conv_encoder, (28, 28, 1), 16, num_classes=10)
    >>> [output.shape for output in encoder.outputs]
    [(None, 16), (None, 16)]
    """
    height, width, channels = check_image_shape(image_shape, default_networks=False)
    images, labels = float_input((height, width, channels)), keras.Input((), dtype="int32")
    classes = ops.one_hot(labels, num_classes)[:, None, None]  # (B, 1, 1, K)
    planes = classes * ops.ones_like(images[..., :1])  # (B, h, w, K)
    network = build((height, width, channels + num_classes), latent_dim, **options)
    outputs = network(layers.Concatenate()([images, planes]))
    return keras.Model([images, labels], outputs, name=name)


def conditional_decoder(
    build: Callable, image_shape: tuple, latent_dim: int, num_classes: int, name: str = "decoder",
    **options,
) -> keras.Model:
    """A decoder of z joined with the one-hot class.

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
    latents, labels = float_input((latent_dim,)), keras.Input((), dtype="int32")
    classes = ops.one_hot(labels, num_classes)  # (B, K)
    network = build(image_shape, latent_dim + num_classes, **options)
    outputs = network(layers.Concatenate()([latents, classes]))
    return keras.Model([latents, labels], outputs, name=name)
