"""The built-in image set: the ten digits in twelve fonts that Matplotlib ships."""

import functools
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_genimg.data.images import (
    DataInfo,
    UnknownSplit,
    checked_count,
    read_by_index,
    split_and_slice,
)
from keras_genimg.errors import InputError

__all__ = ["CLASS_NAMES", "draw_glyphs", "open_glyphs", "split_and_count", "uniform_numbers"]

NUM_CLASSES = 10
CLASS_NAMES = tuple("0123456789")
SPLIT_SIZES = {"train": 20_000, "test": 5_000}

# Legible, distinct from each other, and with lining digits. They were drawn once, so that images
# are the same everywhere: cmti10 is in no Matplotlib before 3.11.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
DIGITS = pathlib.Path(__file__).with_name("digits.png")  # a row per font, a column per digit

# Outlines are stored as signed distances in a square around the digit. Lengths are in units of
# the digit's height unless a name says pixels.
ATLAS_PIXELS = 96
RASTER_PIXELS = 2 * ATLAS_PIXELS
DIGIT_SHARE = 0.6  # of the square's side; the margin leaves room for thick strokes
MAX_DISTANCE = 0.2  # nothing is ever drawn farther than this from an outline

# Ranges of what varies between images, as (low, high).
HEIGHT = (0.60, 0.76)  # of the shorter side of the image
ASPECT = (0.88, 1.12)
ROTATION = (-0.18, 0.18)  # radians
SHEAR = (-0.15, 0.15)
SHIFT = (-0.07, 0.07)  # of the shorter side
STROKE = (0.045, 0.085)  # half the width of a stem
THICKENING = (-0.005, 0.04)  # how far a font may be moved towards it: hairlines must survive
SOFTNESS = (1.0, 1.8)  # width of the edge in pixels, for images up to 64 pixels high
DARK = (0.03, 0.30)  # range of the maximum luma of the darker colour
LIGHT = 0.75  # minimum luma of the lighter one
NUM_DRAWS = 17  # random numbers per image

LUMA = (0.299, 0.587, 0.114)
DATA_SEED = {"train": 0x243F6A8885A308D3, "test": 0x13198A2E03707344}


def open_glyphs(
    split: str, *, image_size: tuple | None, channels: int | None, num_images: int | None
) -> tuple:
    """Describes the glyphs of a split and how to read them; see `open_set`.

    Raises:
        InputError: an unknown split, or a size out of range.
    """
    split, start, count = split_and_count(split, num_images, "glyphs")
    image_size, channels = image_size or (28, 28), channels or 1
    if not all(16 <= side <= 256 for side in image_size):
        raise InputError(
            f'image_size must be from 16 to 256 for "glyphs". Received: image_size={image_size}.'
        )

    def read(indices):
        return draw_glyphs(indices + start, split, image_size, channels)

    info = DataInfo((*image_size, channels), count, NUM_CLASSES, CLASS_NAMES)
    return info, lambda: read_by_index(count, read)


def split_and_count(split: str, num_images: int | None, name: str) -> tuple:
    """The split, its first image and the number of images, of the set `name` of rendered digits.

    Raises:
        UnknownSplit: an unknown split.
        InputError: more images than a slice has; a whole split has any number.
    """
    part, bounds = split_and_slice(split)
    if part not in SPLIT_SIZES:
        raise UnknownSplit(
            f'split must be one of {sorted(SPLIT_SIZES)} for "{name}". Received: split={split!r}.'
        )
    start, stop = bounds(SPLIT_SIZES[part])
    if part == split:
        return part, 0, num_images or stop
    return part, start, checked_count(num_images, stop - start, f"{name}/{split}")


def draw_glyphs(indices: tf.Tensor, split: str, image_size: tuple, channels: int) -> tuple:
    """Draws the images of a split with the given indices.

    Image i depends only on the split and on i, so that any part of the endless set can
    be drawn anywhere and repeatedly; its label is the digit i mod 10. It is drawn from
    the distance to the outline of the digit: a threshold on that distance gives a stroke
    of any thickness, and a ramp across it a soft edge.

    Args:
        indices: int64 tensor `(batch,)`.
        split: "train" or "test".
        image_size: tuple `(height, width)`.
        channels: 1 for white on black, or 3 for two contrasting colours.

    Returns:
        uint8 tensor `(batch, height, width, channels)` and int32 labels `(batch,)`.

    Example:
    >>> images, labels = draw_glyphs(tf.range(8), "train", (28, 28), 1)
    >>> images.shape
    TensorShape([8, 28, 28, 1])

    Reference: Green (2007), "Improved Alpha-Tested Magnification for Vector
    Textures and Special Effects", https://doi.org/10.1145/1281500.1281665
    """
    atlas, half_strokes = _atlas_tensors()
    height, width = image_size
    side = float(min(height, width))
    labels = tf.cast(indices % NUM_CLASSES, tf.int32)
    draws = uniform_numbers(indices, NUM_DRAWS, DATA_SEED[split])  # (B, 17)
    draws = iter(tf.unstack(draws, axis=1))  # (B,) each

    def draw(limits):
        low, high = limits
        return low + (high - low) * next(draws)

    # 1. The font, and how much its strokes are thickened.
    font = tf.cast(draw((0, len(FONTS))), tf.int32)
    glyph = font * NUM_CLASSES + labels
    thickening = tf.clip_by_value(draw(STROKE) - tf.gather(half_strokes, glyph), *THICKENING)

    # 2. The pose: where in the outline's square each pixel of the image lies.
    digit_pixels = draw(HEIGHT) * side
    aspect, rotation, shear = draw(ASPECT), draw(ROTATION), draw(SHEAR)
    cos, sin = tf.cos(rotation), tf.sin(rotation)
    rows, columns = np.indices((height, width), dtype=np.float32).reshape(2, 1, -1)  # (1, h*w)
    y = rows - (height - 1) / 2 - draw(SHIFT)[:, None] * side  # (B, h*w)
    x = columns - (width - 1) / 2 - draw(SHIFT)[:, None] * side
    y, x = cos[:, None] * y - sin[:, None] * x, sin[:, None] * y + cos[:, None] * x
    y, x = y / digit_pixels[:, None], x / (digit_pixels * aspect)[:, None]
    x = x + shear[:, None] * y
    distance = _look_up(atlas, glyph, y, x) + thickening[:, None]  # (B, h*w), inside > 0

    # 3. The digit's opacity: a smooth step across the outline, `edge` pixels wide.
    edge = draw(SOFTNESS) * max(1.0, side / 64)
    ramp = tf.clip_by_value(distance * (digit_pixels / edge)[:, None] + 0.5, 0.0, 1.0)
    images = tf.reshape(ramp * ramp * (3 - 2 * ramp), (-1, height, width, 1))

    # 4. The colours.
    if channels == 3:
        dark = _darken(tf.stack([next(draws) for _ in range(3)], axis=1), draw(DARK))  # (B, 3)
        light = 1 - _darken(tf.stack([next(draws) for _ in range(3)], axis=1), 1 - LIGHT)
        digit_is_dark = next(draws)[:, None] < 0.5
        background = tf.where(digit_is_dark, light, dark)[:, None, None]  # (B, 3) -> (B, 1, 1, 3)
        foreground = tf.where(digit_is_dark, dark, light)[:, None, None]
        images = background + (foreground - background) * images  # (B, h, w, 1) -> (B, h, w, 3)
    return tf.cast(tf.round(images * 255), tf.uint8), labels


def _darken(colours, max_luma):
    """Scales colours `(B, 3)` down to a luma of at most `max_luma`, keeping their hue."""
    luma = tf.linalg.matvec(colours, LUMA)
    return colours * tf.minimum(1.0, max_luma / (luma + 1e-6))[:, None]


def uniform_numbers(indices: tf.Tensor, count: int, key: int) -> tf.Tensor:
    """Hashes indices `(B,)` to `(B, count)` numbers in [0, 1), by SplitMix64.

    TensorFlow's stateless generators draw one stream per call; an image needs the same
    stream in whatever batch it appears.

    Args:
        indices: integer tensor `(batch,)`.
        count: int. Numbers per image.
        key: int of 64 bits. Different keys give independent numbers.

    Returns:
        float32 tensor `(batch, count)`.
    """
    counter = tf.cast(indices, tf.uint64)[:, None] * np.uint64(count) + np.arange(
        1, count + 1, dtype=np.uint64
    )
    state = counter * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, np.uint64(shift)))
        state = state * np.uint64(factor)
    state = tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, np.uint64(31)))
    return tf.cast(tf.bitwise.right_shift(state, np.uint64(40)), tf.float32) * 2.0**-24


def _look_up(atlas, glyph, y, x):
    """Samples the distances at points `(B, p)` of each image's glyph, bilinearly."""
    side = ATLAS_PIXELS
    y = tf.clip_by_value(y * DIGIT_SHARE * side + (side - 1) / 2, 0.0, side - 1.001)
    x = tf.clip_by_value(x * DIGIT_SHARE * side + (side - 1) / 2, 0.0, side - 1.001)
    top, left = tf.floor(y), tf.floor(x)
    y, x = y - top, x - left
    corner = glyph[:, None] * side * side + tf.cast(top, tf.int32) * side + tf.cast(left, tf.int32)
    upper = tf.gather(atlas, corner) * (1 - x) + tf.gather(atlas, corner + 1) * x
    lower = tf.gather(atlas, corner + side) * (1 - x) + tf.gather(atlas, corner + side + 1) * x
    return upper * (1 - y) + lower * y


@functools.lru_cache(maxsize=1)
def _atlas_tensors():
    """The atlas flattened to `(glyphs*side*side,)`, and half the stem width of each glyph."""
    atlas = _atlas()
    # The thickest stem, ignoring the few spots where strokes meet.
    half_strokes = [np.quantile(glyph[glyph > 0], 0.97) for glyph in atlas]
    with tf.init_scope(), tf.device("CPU:0"):  # a dataset runs on the host
        return tf.constant(atlas.reshape(-1)), tf.constant(half_strokes, tf.float32)


def _atlas():
    """Signed distances to the outlines, `(fonts*10, side, side)`; inside is positive."""
    ink = _rasters().reshape(-1, RASTER_PIXELS, RASTER_PIXELS)  # (F, 10, n, n) -> (F*10, n, n)
    reach = int(np.ceil(MAX_DISTANCE * DIGIT_SHARE * RASTER_PIXELS))
    distance = _distance_to_zero(ink, reach) - _distance_to_zero(1 - ink, reach)  # pixels
    shape = (len(ink), ATLAS_PIXELS, 2, ATLAS_PIXELS, 2)
    distance = distance.reshape(shape).mean((2, 4))  # (G, 2n, 2n) -> (G, n, n)
    return (distance / (DIGIT_SHARE * RASTER_PIXELS)).astype("float32")


def _rasters():
    """Each digit in the centre of a square of n pixels, `(fonts, 10, n, n)` in [0, 1]."""
    with Image.open(DIGITS) as image:
        ink = np.asarray(image, "float32") / 255  # (F*n, 10*n)
    shape = (len(FONTS), RASTER_PIXELS, NUM_CLASSES, RASTER_PIXELS)
    return ink.reshape(shape).swapaxes(1, 2)  # (F, n, 10, n) -> (F, 10, n, n)


def _distance_to_zero(coverage, reach):
    """Distance in pixels from each pixel to the nearest empty one, at most `reach`.

    Squared distance is separable: first the nearest empty pixel of the column, then the
    minimum over the row of that squared plus the squared step along the row. A pixel
    that the outline crosses starts at the distance given by its coverage, which keeps
    large images free of the raster's steps.
    """
    column = np.where(coverage < 1, np.maximum(coverage - 0.5, 0), reach).astype("float32")
    for row in range(1, column.shape[1]):
        np.minimum(column[:, row], column[:, row - 1] + 1, out=column[:, row])
    for row in range(column.shape[1] - 2, -1, -1):
        np.minimum(column[:, row], column[:, row + 1] + 1, out=column[:, row])
    squared = column**2
    least = squared.copy()
    for step in range(1, reach):
        near = squared + np.float32(step * step)
        np.minimum(least[:, :, step:], near[:, :, :-step], out=least[:, :, step:])
        np.minimum(least[:, :, :-step], near[:, :, step:], out=least[:, :, :-step])
    return np.sqrt(least)
