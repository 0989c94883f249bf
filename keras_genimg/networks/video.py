"""Networks of sequences: what tells real clips from generated ones."""

import keras
from keras import layers

from keras_genimg.layers import BatchNormalization
from keras_genimg.networks.shapes import check_count, halvings, strides_between

__all__ = ["video_discriminator"]


def video_discriminator(
    image_shape,
    num_frames,
    filters=16,
    widest=128,
    kernel_size=4,
    momentum=0.9,
    name="clip_discriminator",
):
    """Clip to logit: convolutions over height, width and time, LeakyReLU(0.2), a dense unit.

    The discriminator of DCGAN with a third axis, which is halved as the others are down
    to two frames; no batch normalisation after the first layer.

    Args:
        image_shape: (height, width, channels) of a frame.
        num_frames: int of at least 2. Frames of a clip.
        filters: int. Filters of the first layer; they double with each halving, up to
            `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Of all three axes.
        momentum: float. Of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, frames, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Raises:
        InputError: fewer than two frames.

    Example:
    >>> video_discriminator((28, 28, 1), 16).output_shape
    (None, 1)

    Reference: Tulyakov et al. (2018), section 3, https://arxiv.org/abs/1707.04993
    """
    check_count("num_frames", num_frames, minimum=2)
    sizes = halvings(image_shape, smallest=4)  # (28, 28), (14, 14), (7, 7), (4, 4)
    frames = [num_frames]
    for _ in sizes[1:]:
        frames.append(-(-frames[-1] // 2) if frames[-1] > 2 else 2)
    grids = [(time, *size) for time, size in zip(frames, sizes)]

    clips = keras.Input((num_frames, *image_shape))
    x = clips
    for level, (large, small) in enumerate(zip(grids, grids[1:])):
        x = layers.Conv3D(
            min(filters * 2**level, widest),
            kernel_size,
            strides_between(large, small),
            padding="same",
            # Radford et al. (2016) start all weights from N(0, 0.02^2).
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            use_bias=level == 0,
        )(x)
        if level > 0:
            x = BatchNormalization(momentum=momentum)(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.Flatten()(x)  # (B, t, h, w, c) -> (B, t*h*w*c)
    initializer = keras.initializers.RandomNormal(stddev=0.02)
    logits = layers.Dense(1, kernel_initializer=initializer, dtype="float32")(x)
    return keras.Model(clips, logits, name=name)
