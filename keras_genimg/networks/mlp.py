"""Networks of dense layers alone."""

import math

import keras
from keras import layers

from keras_genimg.layers import Centering

__all__ = ["mlp_decoder", "mlp_discriminator", "mlp_encoder", "mlp_generator"]


def _hidden(x, units, activation):
    for width in units:
        x = layers.Dense(width, activation=activation)(x)
    return x


def mlp_generator(image_shape, latent_dim, units=(128, 128, 1024, 1024), name="generator"):
    """Noise to picture by dense layers, tanh at the end.

    The default widths are 128-128-1024-1024; `units=(128, 128)` is the small one.

    Args:
        image_shape: (height, width, channels).
        latent_dim: int. Length of the noise vector z.
        units: tuple of int. Widths of the hidden layers (ReLU).
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Example:
    >>> mlp_generator((28, 28, 1), 64).output_shape
    (None, 28, 28, 1)

    Reference: Goodfellow et al. (2014), section 5, https://arxiv.org/abs/1406.2661
    """
    latents = keras.Input((latent_dim,))
    x = _hidden(latents, units, "relu")
    x = layers.Dense(math.prod(image_shape))(x)
    x = layers.Reshape(image_shape)(x)  # (B, h*w*c) -> (B, h, w, c)
    images = layers.Activation("tanh", dtype="float32")(x)
    return keras.Model(latents, images, name=name)


def mlp_discriminator(image_shape, units=(1024, 1024), name="discriminator"):
    """Picture to logit by dense layers with LeakyReLU(0.2).

    Args:
        image_shape: (height, width, channels).
        units: tuple of int. Widths of the hidden layers.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Example:
    >>> mlp_discriminator((28, 28, 1)).output_shape
    (None, 1)

    Reference: Goodfellow et al. (2014), section 5, https://arxiv.org/abs/1406.2661
    """
    images = keras.Input(image_shape)
    x = layers.Flatten()(images)  # (B, h, w, c) -> (B, h*w*c)
    for width in units:
        x = layers.Dense(width)(x)
        x = layers.LeakyReLU(0.2)(x)
    logits = layers.Dense(1, dtype="float32")(x)
    return keras.Model(images, logits, name=name)


def mlp_encoder(image_shape, latent_dim, units=(512, 256), activation="relu", name="encoder"):
    """Picture to the mean and log variance of a Gaussian over z.

    Args:
        image_shape: (height, width, channels).
        latent_dim: int. Length of z.
        units: tuple of int. Widths of the hidden layers.
        activation: string. Of the hidden layers, as Keras names it.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to the list
        `[z_mean, z_log_var]`, each float32 `(batch, latent_dim)`.

    Example:
    >>> [output.shape for output in mlp_encoder((28, 28, 1), 16).outputs]
    [(None, 16), (None, 16)]

    Reference: Kingma and Welling (2014), appendix C.2, https://arxiv.org/abs/1312.6114
    """
    images = keras.Input(image_shape)
    x = layers.Flatten()(Centering()(images))  # (B, h, w, c) -> (B, h*w*c)
    x = _hidden(x, units, activation)
    z_mean = layers.Dense(latent_dim, dtype="float32", name="z_mean")(x)
    z_log_var = layers.Dense(latent_dim, dtype="float32", name="z_log_var")(x)
    return keras.Model(images, [z_mean, z_log_var], name=name)


def mlp_decoder(image_shape, latent_dim, units=(256, 512), activation="relu", name="decoder"):
    """z to one unbounded value a pixel: a logit or a mean, as the likelihood reads it.

    Args:
        image_shape: (height, width, channels).
        latent_dim: int. Length of z.
        units: tuple of int. Widths of the hidden layers.
        activation: string. Of the hidden layers, as Keras names it.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)`.

    Example:
    >>> mlp_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)

    Reference: Kingma and Welling (2014), appendix C, https://arxiv.org/abs/1312.6114
    """
    latents = keras.Input((latent_dim,))
    x = _hidden(latents, units, activation)
    x = layers.Dense(math.prod(image_shape), dtype="float32", name="pixels")(x)
    outputs = layers.Reshape(image_shape, dtype="float32")(x)  # (B, h*w*c) -> (B, h, w, c)
    return keras.Model(latents, outputs, name=name)
