"""Networks of sequences: a generator of frames, and the discriminator of clips."""

import math

import keras
from keras import layers

from keras_genimg.checks import check_count, check_image_shape
from keras_genimg.layers import BatchNormalization, Shift
from keras_genimg.networks.blocks import downsample, float_input, upsample
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import halvings, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["shift_generator", "video_discriminator"]


def shift_generator(
    image_shape: tuple, content_dim: int, motion_dim: int, filters: int = 32, widest: int = 256,
    maps: int = 16, kernel_size: int = 4, momentum: float = 0.9, name: str = "generator",
) -> keras.Model:
    """Content and motion to a frame: maps of the content alone, moved as a whole.

    The layers of DCGAN's generator turn z_c into feature maps of the frame's size, the first two
    numbers of z_m are how far they are shifted down and to the right, in quarters of the frame, and
    two more convolutions make the image. So what a clip shows is the same in all of its frames.

    Args:
        image_shape: (height, width, channels) of a frame, multiples of 4 from 16 to 256.
        content_dim: int. Length of z_c.
        motion_dim: int of at least 2. Length of z_m.
        filters: int. Filters of the last grid before the maps; they double with each halving of
            the grid, up to `widest`.
        widest: int. Most filters in a layer.
        maps: int. Channels that are shifted.
        kernel_size: int. Side of the kernels of the transposed convolutions.
        momentum: float. Momentum of the batch normalisation.
        name: string.

    Returns:
        `keras.Model` from `(batch, content_dim + motion_dim)` to float32 `(batch, height,
        width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid image shape, or fewer than two numbers of motion.

    Example:
    >>> shift_generator((28, 28, 1), 56, 8).output_shape
    (None, 28, 28, 1)

    Reference: the translation of Jaderberg et al. (2015), https://arxiv.org/abs/1506.02025
    """
    image_shape = check_image_shape(image_shape)
    check_count("motion_dim", motion_dim, minimum=2)
    sizes = halvings(image_shape)  # image first
    widths = widths_of(len(sizes) - 1, filters, widest)
    latents = float_input((content_dim + motion_dim,))
    content, motion = latents[:, :content_dim], latents[:, content_dim:]

    def normalized(x):
        return layers.ReLU()(BatchNormalization(momentum=momentum)(x))

    # 1. z_c -> the smallest grid -> maps of the frame's size.
    start = (*sizes[-1], min(2 * widths[-1], widest))
    x = layers.Dense(math.prod(start), kernel_initializer=normal(), use_bias=False)(content)
    x = normalized(layers.Reshape(start)(x))  # (B, h*w*c) -> (B, h, w, c)
    for width, small, large in zip([*widths[:0:-1], maps], sizes[::-1], sizes[-2::-1]):
        options = {"kernel_initializer": normal(), "use_bias": False}
        x = normalized(upsample(x, small, large, width, kernel_size, **options))

    # 2. z_m -> a shift in pixels, by no weights: their moving average, over updates that turn the
    # directions of motion, moved frames half as far as the weights themselves.
    sides = [side / 4 for side in image_shape[:2]]  # the walk's vectors are within (-1, 1)
    shift = layers.Rescaling(sides, dtype=policy_dtype())(motion[:, :2])
    x = Shift()([x, shift])

    # 3. The image.
    options = {"padding": "same", "kernel_initializer": normal()}
    x = normalized(layers.Conv2D(maps, 3, use_bias=False, **options)(x))
    x = layers.Conv2D(image_shape[2], 3, **options)(x)
    return keras.Model(latents, layers.Activation("tanh", dtype=policy_dtype())(x), name=name)


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
