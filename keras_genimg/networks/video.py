"""Networks of sequences: the discriminator of clips."""

import keras
from keras import layers

from keras_genimg.checks import check_count, check_image_shape
from keras_genimg.layers import BatchNormalization
from keras_genimg.networks.blocks import downsample, float_input
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import halvings, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["video_discriminator"]


def video_discriminator(
    image_shape: tuple, num_frames: int, filters: int = 16, widest: int = 128, kernel_size: int = 4,
    momentum: float = 0.9, name: str = "clip_discriminator",
) -> keras.Model:
    """Clip to logit: convolutions over height, width and time, LeakyReLU(0.2), a dense unit.

    The discriminator of DCGAN with a third axis, which is halved like the others, down
    to two frames. No batch normalisation after the first layer.

    Args:
        image_shape: (height, width, channels) of a frame, multiples of 4 from 16 to 256.
        num_frames: int of at least 2. Frames of a clip.
        filters: int. Filters of the first layer; they double with each halving, up to
            `widest`.
        widest: int. Most filters in a layer.
        kernel_size: int. Side of the kernels, on all three axes.
        momentum: float. Momentum of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, frames, height, width, channels)` to float32 logits
        `(batch, 1)`.

    Raises:
        InputError: an invalid image shape, or fewer than two frames.

    Example:
    >>> video_discriminator((28, 28, 1), 16).output_shape
    (None, 1)

    Reference: Tulyakov et al. (2018), section 3, https://arxiv.org/abs/1707.04993
    """
    image_shape = check_image_shape(image_shape)
    check_count("num_frames", num_frames, minimum=2)
    sizes = halvings(image_shape, smallest=4)  # (28, 28), (14, 14), (7, 7), (4, 4)
    grids = [(max(-(-num_frames // 2**level), 2), *size) for level, size in enumerate(sizes)]

    clips = float_input((num_frames, *image_shape))
    x = downsample(
        clips, grids, widths_of(len(grids) - 1, filters, widest), kernel_size,
        lambda: BatchNormalization(momentum=momentum), convolution=layers.Conv3D,
    )[-1]
    x = layers.Flatten()(x)  # (B, t, h, w, c) -> (B, t*h*w*c)
    logits = layers.Dense(1, kernel_initializer=normal(), dtype=policy_dtype())(x)
    return keras.Model(clips, logits, name=name)
