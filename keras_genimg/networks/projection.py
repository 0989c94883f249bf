"""Feature maps mixed at random, and discriminators on them."""

import keras
from keras import layers, ops

from keras_genimg.layers import SpectralNormalization
from keras_genimg.networks.blocks import downsample, float_input, repeat_pixels
from keras_genimg.networks.frozen_features import SMALLEST_MAP
from keras_genimg.networks.initializers import he_normal, normal
from keras_genimg.networks.shapes import halvings
from keras_genimg.precision import policy_dtype

__all__ = ["projected_discriminator", "random_projector"]


def random_projector(features: keras.Model, filters: int = 64) -> keras.Model:
    """Mixes feature maps across channels and scales by convolutions that are never trained.

    A discriminator of one map could rely on a few of its channels. After a random 1x1
    convolution each channel holds something of all; from the coarsest scale on, random 3x3
    convolutions and upsampling add what the coarser scales show to the finer ones.

    Args:
        features: see `feature_maps`.
        filters: int. Channels of each mixed map.

    Returns:
        `keras.Model` from images to a list of maps `(batch, h, w, filters)` of the sizes of
        those of `features`.

    Example:
    >>> projector = random_projector(feature_maps("cifar10", (32, 32, 3)))
    >>> [each.shape for each in projector.outputs]
    [(None, 16, 16, 64), (None, 8, 8, 64), (None, 4, 4, 64)]

    Reference: Sauer et al. (2021), section 3.2, https://arxiv.org/abs/2111.01007
    """
    mixed = []
    for x in reversed(features.outputs):
        x = layers.Conv2D(filters, 1, kernel_initializer=he_normal())(x)
        if mixed:
            x = layers.Add()([x, repeat_pixels(mixed[0], x.shape[1:3])])
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=he_normal())(x)
        mixed.insert(0, x)
    return keras.Model(features.input, mixed, name="projector")


def projected_discriminator(
    map_shapes: list, filters: int = 64, num_classes: int | None = None, name: str = "discriminator"
) -> keras.Model:
    """A discriminator for each of several maps, each ending in a map of logits.

    4x4 convolutions of stride 2 with spectral normalisation and LeakyReLU(0.2) until no side is
    above 4, at least one: phi; and a convolution to one channel: psi(phi). With classes a logit is
    psi(phi) + <e_y, phi>, e_y being a vector of class y, as in a projection discriminator.

    Args:
        map_shapes: list of (height, width, channels).
        filters: int. Filters of the convolutions.
        num_classes: int, or None without classes.
        name: string.

    Returns:
        `keras.Model` from a list of maps, with classes followed by labels, int32 `(batch,)`, to a
        list of float32 logits `(batch, h', w', 1)`.

    Example:
    >>> projected_discriminator([(8, 8, 64), (32, 32, 3)]).output_shape
    [(None, 4, 4, 1), (None, 4, 4, 1)]

    Reference: Sauer et al. (2021), section 3.3, https://arxiv.org/abs/2111.01007; Miyato and
        Koyama (2018), Eq. 3, https://arxiv.org/abs/1802.05637 (classes)
    """
    maps = [float_input(shape) for shape in map_shapes]
    labels = [] if num_classes is None else [keras.Input((), dtype="int32", name="labels")]
    logits = []
    for x, shape in zip(maps, map_shapes):
        sizes = halvings(shape, smallest=SMALLEST_MAP)
        sizes = sizes if len(sizes) > 1 else [*sizes, *sizes]
        widths = [filters] * (len(sizes) - 1)
        x = downsample(x, sizes, widths, 4, wrapper=SpectralNormalization)[-1]  # (B, h', w', c)
        exact = {"kernel_initializer": normal(), "dtype": policy_dtype()}
        logit = SpectralNormalization(layers.Conv2D(1, 4, padding="same", **exact))(x)
        for each in labels:
            direction = layers.Dense(filters, use_bias=False, **exact)
            direction = SpectralNormalization(direction)(ops.one_hot(each, num_classes))  # (B, c)
            direction = layers.Reshape((1, 1, filters))(direction)
            agreement = layers.Multiply(dtype=policy_dtype())([x, direction])
            agreement = ops.sum(agreement, axis=-1, keepdims=True)  # (B, h', w', 1)
            logit = layers.Add(dtype=policy_dtype())([logit, agreement])
        logits.append(logit)
    return keras.Model([*maps, *labels], logits, name=name)
