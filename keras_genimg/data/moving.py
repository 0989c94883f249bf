"""Clips: small pictures that move over a larger canvas and bounce off its borders."""

import math

import numpy as np
import tensorflow as tf

from keras_genimg.data.glyphs import uniform_numbers

__all__ = ["NUM_FRAMES", "box_side", "move"]

NUM_FRAMES = 16  # of a clip, unless somebody says otherwise
BOX_SHARE = 4 / 7  # side of what moves, of the canvas's shorter side: 16 pixels of 28
SPEED = (1 / 28, 2 / 28)  # of the shorter side a frame, as (least, most)

# Places are whole numbers of 1/16 pixels. A pixel of a frame is then a sum of bytes times
# whole numbers of 1/256, which float32 holds exactly in whatever order it is added up.
PARTS = 16
MOTION_SEED = {"train": 0xA4093822299F31D0, "test": 0x082EFA98EC4E6C89}


def box_side(image_size):
    """Side of the square pictures that move over a canvas of `(height, width)`."""
    return round(BOX_SHARE * min(image_size))


def move(pictures, indices, split, image_size, num_frames):
    """Moves pictures over canvases of their paper's colour.

    Each goes straight on at a speed of its own and is thrown back by the borders. Places
    lie between pixels too: a picture is laid down there in proportion. How clip i moves depends
    on the split and on i alone.

    Args:
        pictures: uint8 tensor `(batch, side, side, channels)`. The paper of each is its first pixel.
        indices: int64 tensor `(batch,)`. Numbers of the clips.
        split: str. All that begins with "test" is of one stream, the rest of another.
        image_size: tuple `(height, width)` of the canvas.
        num_frames: int.

    Returns:
        uint8 tensor `(batch, frames, height, width, channels)`.

    Example:
    >>> move(tf.zeros((8, 16, 16, 1), tf.uint8), tf.range(8), "train", (28, 28), 20).shape
    TensorShape([8, 20, 28, 28, 1])
    """
    side = pictures.shape[1]
    key = MOTION_SEED["test" if split.startswith("test") else "train"]
    draws = tf.unstack(uniform_numbers(indices, 4, key), axis=1)  # (B,) each
    *starts, angle, speed = draws

    # 1. Where the upper left corner is in each frame, downwards and to the right.
    speed = min(image_size) * (SPEED[0] + (SPEED[1] - SPEED[0]) * speed)
    velocities = speed * tf.sin(2 * math.pi * angle), speed * tf.cos(2 * math.pi * angle)
    weights = []
    for start, velocity, size in zip(starts, velocities, image_size):
        places = _bounce(start, velocity, size - side, num_frames)
        weights.append(_overlap(places, side, size))  # (B, T, size, side)

    # 2. The paper, and on it what differs from the paper.
    values = tf.cast(pictures, tf.float32)
    paper = values[:, None, :1, :1]  # (B, 1, 1, 1, c)
    rows = tf.einsum("btyi,bijc->btyjc", weights[0], values - paper[:, 0])  # (B, T, h, side, c)
    clips = paper + tf.einsum("btyjc,btxj->btyxc", rows, weights[1])  # (B, T, h, w, c)
    clips = tf.cast(tf.round(clips), tf.uint8)
    return tf.ensure_shape(clips, (pictures.shape[0], num_frames, *image_size, pictures.shape[3]))


def _bounce(start, velocity, reach, num_frames):
    """Places from 0 to `reach` pixels in each frame, in 1/16 pixels: int32 `(batch, frames)`.

    Args:
        start: float tensor `(batch,)` in [0, 1), of the reach.
        velocity: float tensor `(batch,)`, pixels a frame.
        reach: int, pixels.
        num_frames: int.
    """
    reach *= PARTS
    first = tf.cast(start * (reach + 1), tf.int32)
    step = tf.cast(tf.round(velocity * PARTS), tf.int32)
    # As if there was no border, then folded up: there and back again.
    unfolded = first[:, None] + step[:, None] * np.arange(num_frames, dtype=np.int32)
    folded = unfolded % (2 * reach)
    return tf.minimum(folded, 2 * reach - folded)


def _overlap(places, side, size):
    """How much each of `side` pixels laid down at a place covers each of `size`: 1 less the distance.

    Args:
        places: int32 tensor `(batch, frames)`, in 1/16 pixels.

    Returns:
        float32 tensor `(batch, frames, size, side)`.
    """
    canvas = PARTS * np.arange(size, dtype=np.int32)[:, None]
    laid = places[:, :, None, None] + PARTS * np.arange(side, dtype=np.int32)
    return tf.cast(tf.maximum(0, PARTS - tf.abs(canvas - laid)), tf.float32) / PARTS
