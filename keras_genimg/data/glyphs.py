"""The built-in image set: the ten digits, drawn with the fonts that Matplotlib ships."""

import functools
import os

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

__all__ = ["NUM_CLASSES", "SPLIT_SIZES", "draw_glyphs", "uniform_numbers"]

NUM_CLASSES = 10
SPLIT_SIZES = {"train": 20_000, "test": 5_000}

# Readable, different from each other, and with lining digits in every Matplotlib since 3.8.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip

# The outlines are kept as distances in a square around the digit. Lengths are in units of the
# digit's height unless a name says pixels.
ATLAS_PIXELS = 96
RASTER_PIXELS = 2 * ATLAS_PIXELS
DIGIT_SHARE = 0.6  # of the square's side; the margin leaves room for thick strokes
MAX_DISTANCE = 0.2  # nothing is ever drawn further than this from an outline

# What varies from picture to picture, as (least, most).
HEIGHT = (0.60, 0.76)  # of the shorter side of the picture
ASPECT = (0.88, 1.12)
ROTATION = (-0.18, 0.18)  # radians
SHEAR = (-0.15, 0.15)
SHIFT = (-0.07, 0.07)  # of the shorter side
STROKE = (0.045, 0.085)  # half the width of a stem
THICKENING = (-0.005, 0.04)  # how far a font may be pushed towards it: hairlines must last
SOFTNESS = (1.0, 1.8)  # width of the edge in pixels of a picture up to 64 pixels high
DARK = (0.03, 0.30)  # the most luma that the darker colour may have
LIGHT = 0.75  # the least luma of the lighter one
NUM_DRAWS = 17  # random numbers per picture

LUMA = (0.299, 0.587, 0.114)
DATA_SEED = {"train": 0x243F6A8885A308D3, "test": 0x13198A2E03707344}


def draw_glyphs(indices, split, image_size, channels):
    """Draws pictures number `indices` of a split.

    Picture i depends on the split and on i alone, so that any part of the endless
    set can be drawn anywhere and again; its label is the digit i mod 10. It is
    drawn from the distance to the outline of the digit: a threshold on that
    distance is a stroke of any thickness, and a ramp across it a soft edge.

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
    draws = iter(tf.unstack(uniform_numbers(indices, NUM_DRAWS, DATA_SEED[split]), axis=1))  # (B,) each

    def draw(least_and_most):
        least, most = least_and_most
        return least + (most - least) * next(draws)

    # 1. The font, and how far its strokes are thickened.
    font = tf.cast(draw((0, len(FONTS))), tf.int32)
    glyph = font * NUM_CLASSES + labels
    thickening = draw(STROKE) - tf.gather(half_strokes, glyph)
    thickening = tf.clip_by_value(thickening, *THICKENING)

    # 2. The pose: where in the outline's square each pixel of the picture comes from.
    digit_pixels = draw(HEIGHT) * side
    aspect, rotation, shear = draw(ASPECT), draw(ROTATION), draw(SHEAR)
    cos, sin = tf.cos(rotation), tf.sin(rotation)
    rows, columns = np.indices((height, width), dtype=np.float32).reshape(2, 1, -1)  # (1, h*w)
    y = rows - (height - 1) / 2 - draw(SHIFT)[:, None] * side  # (B, h*w)
    x = columns - (width - 1) / 2 - draw(SHIFT)[:, None] * side
    y, x = _columns(cos) * y - _columns(sin) * x, _columns(sin) * y + _columns(cos) * x
    y, x = y / _columns(digit_pixels), x / _columns(digit_pixels * aspect)
    x = x + _columns(shear) * y
    distance = _look_up(atlas, glyph, y, x) + _columns(thickening)  # (B, h*w), inside > 0

    # 3. The ink: a smooth step across the outline, `edge` pixels wide.
    edge = draw(SOFTNESS) * max(1.0, side / 64)
    ramp = tf.clip_by_value(distance * _columns(digit_pixels / edge) + 0.5, 0.0, 1.0)
    ink = tf.reshape(ramp * ramp * (3 - 2 * ramp), (-1, height, width, 1))

    # 4. The colours.
    if channels == 3:
        dark = _darken(tf.stack([next(draws) for _ in range(3)], axis=1), draw(DARK))  # (B, 3)
        light = 1 - _darken(tf.stack([next(draws) for _ in range(3)], axis=1), 1 - LIGHT)
        ink_is_dark = next(draws)[:, None] < 0.5
        paper = tf.where(ink_is_dark, light, dark)[:, None, None]  # (B, 3) -> (B, 1, 1, 3)
        pen = tf.where(ink_is_dark, dark, light)[:, None, None]
        ink = paper + (pen - paper) * ink  # (B, h, w, 1) -> (B, h, w, 3)
    return tf.cast(tf.round(ink * 255), tf.uint8), labels


def _columns(values):
    return values[:, None]


def _darken(colours, most):
    """Scales colours `(B, 3)` down to a luma of at most `most`, which keeps their hue."""
    luma = tf.linalg.matvec(colours, LUMA)
    return colours * tf.minimum(1.0, most / (luma + 1e-6))[:, None]


def uniform_numbers(indices, count, key):
    """Hashes indices `(B,)` to `(B, count)` numbers in [0, 1), by SplitMix64.

    TensorFlow's stateless generators draw one stream per call; a picture needs a
    stream of its own whatever batch it falls in.

    Args:
        indices: integer tensor `(batch,)`.
        count: int. Numbers a picture.
        key: int of 64 bits. Another key gives other numbers.

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
    """Reads the distances at points `(B, p)` of each picture's glyph, bilinearly."""
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
    # The thickest stem, but for the few spots where strokes meet.
    half_strokes = [np.quantile(glyph[glyph > 0], 0.97) for glyph in atlas]
    with tf.init_scope(), tf.device("CPU:0"):  # a dataset runs on the host
        return tf.constant(atlas.reshape(-1)), tf.constant(half_strokes, tf.float32)


def _atlas():
    """Signed distances to the outlines, `(fonts*10, side, side)`; inside is positive."""
    ink = np.stack([_raster(font, digit) for font in FONTS for digit in "0123456789"])
    reach = int(np.ceil(MAX_DISTANCE * DIGIT_SHARE * RASTER_PIXELS))
    distance = _distance_to_zero(ink, reach) - _distance_to_zero(1 - ink, reach)  # pixels
    shape = (len(ink), ATLAS_PIXELS, 2, ATLAS_PIXELS, 2)
    distance = distance.reshape(shape).mean((2, 4))  # (G, 2n, 2n) -> (G, n, n)
    return (distance / (DIGIT_SHARE * RASTER_PIXELS)).astype("float32")


def _raster(font, digit):
    """Draws one digit in the middle of a square; `(RASTER_PIXELS, RASTER_PIXELS)` in [0, 1]."""
    import matplotlib

    path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", font + ".ttf")
    # Fonts differ in how much of the em their digits fill: "0" gets the same height in each.
    _, top, _, bottom = ImageFont.truetype(path, 400).getbbox("0")
    face = ImageFont.truetype(path, 400 * DIGIT_SHARE * RASTER_PIXELS / (bottom - top))
    left, top, right, bottom = face.getbbox(digit)
    picture = Image.new("L", (RASTER_PIXELS, RASTER_PIXELS))
    corner = ((RASTER_PIXELS - left - right) / 2, (RASTER_PIXELS - top - bottom) / 2)
    ImageDraw.Draw(picture).text(corner, digit, font=face, fill=255)
    return np.asarray(picture, "float32") / 255


def _distance_to_zero(coverage, reach):
    """Distance in pixels from each pixel to the nearest empty one, at most `reach`.

    Squared distance separates: first the nearest empty pixel of the column, then
    the least over the row of that squared plus the squared step along the row. A
    pixel that the outline crosses starts at the distance its coverage tells, which
    keeps large pictures free of the raster's steps.
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
