"""Networks of dense layers alone."""

import math

import keras
from keras import layers

from keras_genimg.checks import check_count, check_image_shape
from keras_genimg.layers import Centering
from keras_genimg.networks.blocks import float_input, gaussian
from keras_genimg.precision import policy_dtype

__all__ = ["mlp_decoder", "mlp_discriminator", "mlp_encoder", "mlp_generator"]


def _hidden(x, units, activation):
    for width in units:
        x = layers.Dense(check_count("units", width), activation=activation)(x)
    return x


def mlp_generator(
    image_shape: tuple, latent_dim: int, units: tuple = (128, 128, 1024, 1024),
    name: str = "generator",
) -> keras.Model:
    """Noise to image by dense layers, tanh at the end.

    The default widths are 128-128-1024-1024; `units=(128, 128)` is the small one.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        units: tuple of int. Widths of the hidden layers (ReLU).
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> mlp_generator((28, 28, 1), 64).output_shape
    (None, 28, 28, 1)

    Reference: Goodfellow et al. (2014), section 5, https://arxiv.org/abs/1406.2661
    """
    image_shape = check_image_shape(image_shape)
    latents = float_input((latent_dim,))
    x = _hidden(latents, units, "relu")
    x = layers.Dense(math.prod(image_shape))(x)
    x = layers.Reshape(image_shape)(x)  # (B, h*w*c) -> (B, h, w, c)
    images = layers.Activation("tanh", dtype=policy_dtype())(x)
    return keras.Model(latents, images, name=name)


def mlp_discriminator(
    image_shape: tuple, units: tuple = (1024, 1024), name: str = "discriminator"
) -> keras.Model:
    """Image to logit by dense layers with LeakyReLU(0.2).

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        units: tuple of int. Widths of the hidden layers.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Raises:
        InputError: an invalid image shape or policy.

    Example:
    >>> mlp_discriminator((28, 28, 1)).output_shape
    (None, 1)

    Reference: Goodfellow et al. (2014), section 5, https://arxiv.org/abs/1406.2661
    """
    images = float_input(check_image_shape(image_shape))
    x = layers.Flatten()(images)  # (B, h, w, c) -> (B, h*w*c)
    for width in units:
        x = layers.LeakyReLU(0.2)(layers.Dense(check_count("units", width))(x))
    logits = layers.Dense(1, dtype=policy_dtype())(x)
    return keras.Model(images, logits, name=name)


def mlp_encoder(
    image_shape: tuple, latent_dim: int, units: tuple = (512, 256), activation: str = "relu",
    name: str = "encoder",
) -> keras.Model:
    """Image to the mean and log variance of a Gaussian over z.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        units: tuple of int. Widths of the hidden layers.
        activation: string. Keras activation of the hidden layers.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to the list
        `[z_mean, z_log_var]`, each float32 `(batch, latent_dim)`.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> [output.shape for output in mlp_encoder((28, 28, 1), 16).outputs]
    [(None, 16), (None, 16)]

    Reference: Kingma and Welling (2014), appendix C.2, https://arxiv.org/abs/1312.6114
    """
    images = float_input(check_image_shape(image_shape))
    x = layers.Flatten()(Centering()(images))  # (B, h, w, c) -> (B, h*w*c)
    return keras.Model(images, gaussian(_hidden(x, units, activation), latent_dim), name=name)


def mlp_decoder(
    image_shape: tuple, latent_dim: int, units: tuple = (256, 512), activation: str = "relu",
    name: str = "decoder",
) -> keras.Model:
    """z to one unbounded value per pixel: a logit or a mean, depending on the likelihood.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        units: tuple of int. Widths of the hidden layers.
        activation: string. Keras activation of the hidden layers.
        name: string.

    Returns:
        `keras.Model` from `(batch, latent_dim)` to float32 `(batch, height,
        width, channels)`.

    Raises:
        InputError: an invalid image shape.

    Example:
    >>> mlp_decoder((28, 28, 1), 16).output_shape
    (None, 28, 28, 1)

    Reference: Kingma and Welling (2014), appendix C, https://arxiv.org/abs/1312.6114
    """
    image_shape = check_image_shape(image_shape)
    latents = float_input((latent_dim,))
    x = _hidden(latents, units, activation)
    x = layers.Dense(math.prod(image_shape), dtype=policy_dtype(), name="pixels")(x)
    outputs = layers.Reshape(image_shape, dtype=policy_dtype())(x)  # (B, h*w*c) -> (B, h, w, c)
    return keras.Model(latents, outputs, name=name)
