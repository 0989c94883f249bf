"""Clips: small images that move over a larger canvas and bounce off its borders."""

import math
import os

import numpy as np
import tensorflow as tf

from keras_genimg.data.images import DataInfo, read_by_index
from keras_genimg.data.sets import glyphs
from keras_genimg.data.sets.tfds import open_tfds
from keras_genimg.errors import InputError

__all__ = ["NUM_FRAMES", "box_side", "move", "open_moving"]

NUM_FRAMES = 16  # per clip, by default
BOX_SHARE = 4 / 7  # side of the moving image over the canvas's shorter side: 16 pixels of 28
SPEED = (1 / 28, 2 / 28)  # of the shorter side per frame, as (low, high)

# Positions are integers in units of 1/16 pixel. A pixel of a frame is then a sum of bytes times
# multiples of 1/256, which float32 represents exactly in whatever order it is added up.
PARTS = 16
MOTION_SEED = {"train": 0xA4093822299F31D0, "test": 0x082EFA98EC4E6C89}


def open_moving(
    name: str, split: str, data_dir: str | os.PathLike | None, num_frames: int | None, *,
    image_size: tuple | None, channels: int | None, num_images: int | None,
) -> tuple:  # fmt: skip
    """Describes a set of clips, of glyphs or MNIST's digits, and how to read it.

    Args: see `open_set`. The shape in `DataInfo` is that of a frame.

    Raises:
        InputError: an unknown split, or a size out of range.
    """
    image_size, num_frames = image_size or (28, 28), num_frames or NUM_FRAMES
    if not all(16 <= side <= 128 for side in image_size):
        raise InputError(
            f'image_size must be from 16 to 128 for "{name}". Received: image_size={image_size}.'
        )
    box = (box_side(image_size),) * 2
    if name == "moving_glyphs":
        split, start, count = glyphs.split_and_count(split, num_images, name)
        channels = channels or 1
        num_classes, names, content = glyphs.NUM_CLASSES, glyphs.CLASS_NAMES, ""

        def open_digits():
            return read_by_index(
                count, lambda indices: glyphs.draw_glyphs(indices + start, split, box, channels)
            )

    else:
        options = {"image_size": box, "channels": channels, "num_images": num_images}
        digits, open_digits = open_tfds("mnist", split, data_dir, **options)
        (*_, channels), count, num_classes = digits
        start, names, content = 0, digits.class_names, digits.content

    def open_reader():
        reader = open_digits()

        def read(indices):
            images, labels = reader.read(indices)
            return move(images, indices + start, split, image_size, num_frames), labels

        return reader._replace(read=read)

    return DataInfo((*image_size, channels), count, num_classes, names, content), open_reader


def box_side(image_size: tuple) -> int:
    """Side of the square images that move over a canvas of `(height, width)`."""
    return round(BOX_SHARE * min(image_size))


def move(
    images: tf.Tensor, indices: tf.Tensor, split: str, image_size: tuple, num_frames: int
) -> tf.Tensor:
    """Moves images over canvases of their background colour.

    Each image moves in a straight line at its own constant speed and is reflected by the
    borders. Positions between pixels are interpolated bilinearly. The motion of clip i
    depends only on the split and on i.

    Args:
        images: uint8 tensor `(batch, side, side, channels)`. The background colour of each
            is that of its first pixel.
        indices: int64 tensor `(batch,)`. Indices of the clips.
        split: str. Splits that begin with "test" share one random stream, all others another.
        image_size: tuple `(height, width)` of the canvas.
        num_frames: int.

    Returns:
        uint8 tensor `(batch, frames, height, width, channels)`.

    Example:
    >>> move(tf.zeros((8, 16, 16, 1), tf.uint8), tf.range(8), "train", (28, 28), 20).shape
    TensorShape([8, 20, 28, 28, 1])
    """
    side = images.shape[1]
    key = MOTION_SEED["test" if split.startswith("test") else "train"]
    # (B,) each
    *starts, angle, speed = tf.unstack(glyphs.uniform_numbers(indices, 4, key), axis=1)

    # 1. Position of the upper left corner in each frame, downwards and to the right.
    speed = min(image_size) * (SPEED[0] + (SPEED[1] - SPEED[0]) * speed)
    velocities = speed * tf.sin(2 * math.pi * angle), speed * tf.cos(2 * math.pi * angle)
    weights = []
    for start, velocity, size in zip(starts, velocities, image_size):
        places = _bounce(start, velocity, size - side, num_frames)
        weights.append(_overlap(places, side, size))  # (B, T, size, side)

    # 2. The background, plus the image's difference from it.
    values = tf.cast(images, tf.float32)
    background = values[:, None, :1, :1]  # (B, 1, 1, 1, c)
    values -= background[:, 0]  # (B, side, side, c)
    rows = tf.einsum("btyi,bijc->btyjc", weights[0], values)  # (B, T, h, side, c)
    clips = background + tf.einsum("btyjc,btxj->btyxc", rows, weights[1])  # (B, T, h, w, c)
    clips = tf.cast(tf.round(clips), tf.uint8)
    return tf.ensure_shape(clips, (images.shape[0], num_frames, *image_size, images.shape[3]))


def _bounce(start, velocity, reach, num_frames):
    """Positions from 0 to `reach` pixels in each frame, in 1/16 pixels: int32 `(batch, frames)`.

    Args:
        start: float tensor `(batch,)` in [0, 1), as a share of the reach.
        velocity: float tensor `(batch,)`, in pixels per frame.
        reach: int, in pixels.
        num_frames: int.
    """
    reach *= PARTS
    first = tf.cast(start * (reach + 1), tf.int32)
    step = tf.cast(tf.round(velocity * PARTS), tf.int32)
    # Without borders, then folded: there and back again.
    unfolded = first[:, None] + step[:, None] * np.arange(num_frames, dtype=np.int32)
    folded = unfolded % (2 * reach)
    return tf.minimum(folded, 2 * reach - folded)


def _overlap(places, side, size):
    """Bilinear weights of `side` pixels placed on `size` pixels: 1 minus the distance, at least 0.

    Args:
        places: int32 tensor `(batch, frames)`, in 1/16 pixels.

    Returns:
        float32 tensor `(batch, frames, size, side)`.
    """
    canvas = PARTS * np.arange(size, dtype=np.int32)[:, None]
    placed = places[:, :, None, None] + PARTS * np.arange(side, dtype=np.int32)
    return tf.cast(tf.maximum(0, PARTS - tf.abs(canvas - placed)), tf.float32) / PARTS
