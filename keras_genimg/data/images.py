"""What all image sets share: their description, their reader, and how an image is resized."""

import math
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_genimg.data.python_calls import call_python
from keras_genimg.errors import InputError

__all__ = [
    "DataInfo", "Reader", "UnknownSplit", "checked_count", "fit_image", "fits_in_memory",
    "indices_in_order", "read_by_index", "read_from_memory", "split_and_slice",
]  # fmt: skip

# Decoded sets up to this many bytes are kept in memory; larger ones are decoded in every epoch.
MEMORY_LIMIT = 2**30
DEEP_WHITE = 65535  # the largest value of 16 bits
SLICE = re.compile(r"(.*)\[(-?\d+%?)?:(-?\d+%?)?\]", re.DOTALL)


class _Numbers(NamedTuple):
    image_shape: tuple
    num_images: int
    num_classes: int | None


class DataInfo(_Numbers):
    """Describes a set of images: a tuple of the first three attributes.

    Attributes:
        image_shape: tuple `(height, width, channels)`.
        num_images: int. Number of images in the split, or the number requested.
        num_classes: int, or None for a set without labels.
        class_names: tuple of str, or None for a set without labels.
        content: str. Differs for other images, also where the numbers are equal: from the names
            and sizes of files, or the version of a set; empty for what the package draws.
    """

    class_names: tuple | None
    content: str

    def __new__(cls, image_shape, num_images, num_classes, class_names=None, content=""):
        info = super().__new__(cls, image_shape, num_images, num_classes)
        info.class_names, info.content = class_names, content
        return info


class UnknownSplit(InputError):
    """A split that a set does not have."""


class Reader(NamedTuple):
    """Reads the images of a set, epoch by epoch and batch by batch.

    Attributes:
        num_images: int. Number of images in each epoch.
        order: function from the seed of an epoch, an int64 tensor `(2,)`, or from None
            for the stored order, to a `tf.data.Dataset` with one element per image.
        read: function from a batch of these elements to uint8 images `(batch, h, w, c)`
            and int32 labels `(batch,)`; of pairs, to two batches of images and labels.
        skipped: dict from a reason to the number of files that are not used for it.
    """

    num_images: int
    order: Callable
    read: Callable
    skipped: dict = MappingProxyType({})


def read_by_index(num_images: int, read: Callable) -> Reader:
    """Makes the `Reader` of a set that reads a whole batch of indices at once."""
    return Reader(num_images, lambda seed: indices_in_order(num_images, seed), read)


def indices_in_order(num_images: int, seed: tf.Tensor | None) -> tf.data.Dataset:
    """The dataset of all image indices: shuffled by a seed `(2,)`, ascending for None."""
    indices = tf.range(num_images, dtype=tf.int64)
    if seed is not None:
        indices = tf.random.experimental.stateless_shuffle(indices, seed, alg="philox")
    return tf.data.Dataset.from_tensor_slices(indices)


def fits_in_memory(info: DataInfo) -> bool:
    """Whether the decoded uint8 images of a set are kept in memory."""
    return info.num_images * math.prod(info.image_shape) <= MEMORY_LIMIT


def checked_count(num_images: int | None, available: int, name: str) -> int:
    """The number of images to use: `num_images`, or all of them for None."""
    if num_images is not None and num_images > available:
        raise InputError(
            f"num_images must not exceed the size of the set: {name!r} has {available} images. "
            f"Received: num_images={num_images}."
        )
    return available if num_images is None else num_images


def split_and_slice(split: str) -> tuple:
    """Takes a split such as "train[:90%]" apart, as tensorflow-datasets would.

    Args:
        split: str. The slice has counts or whole percents, also from the end ("train[-100:]").

    Returns:
        The name before the slice, and a function from the number of images to the first of the
        slice and the one after its last, which raises `InputError` where there is none between.

    Example:
    >>> name, bounds = split_and_slice("train[90%:]")
    >>> name, bounds(250)
    ('train', (225, 250))
    """
    match = SLICE.fullmatch(split)
    name, first, last = match.groups() if match else (split, None, None)

    def bounds(count):
        start, stop = _place(first, count, 0), _place(last, count, count)
        if start >= stop:
            raise InputError(
                f"split must not be empty. Received: split={split!r} of {count} images."
            )
        return start, stop

    return name, bounds


def _place(text, count, default):
    """The position, from 0 to count, that one end of a slice stands for."""
    if text is None:
        return default
    position = round(count * int(text[:-1]) / 100) if text[-1] == "%" else int(text)
    return min(max(position + count if position < 0 else position, 0), count)


def fit_image(
    image: Image.Image, image_size: tuple | None, channels: int, white: int = DEEP_WHITE,
    extent: tuple | None = None, kernel: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:  # fmt: skip
    """Crops, resizes and converts an image.

    It is cropped around its centre to the target aspect ratio and resized with
    antialiasing. Transparent parts become white.

    Args:
        image: `PIL.Image.Image`.
        image_size: tuple `(height, width)`, or None to keep the size.
        channels: 1 or 3.
        white: int. The value that becomes 255, of images with more than 8 bits per pixel.
        extent: tuple of floats `(width, height)`, optional. The part of the image that shows
            something, from the upper left corner. Default: all of it.
        kernel: `PIL.Image.Resampling`. The filter that resizes.

    Returns:
        uint8 array `(height, width, channels)`.

    Example:
    >>> fit_image(Image.new("RGB", (640, 480)), (64, 64), 1).shape
    (64, 64, 1)
    """
    if image.mode.startswith("I"):  # more than 8 bits per pixel, which Pillow would clip at 255
        values = np.clip(image, 0, white).astype("int64")
        image = Image.fromarray((values * 255 // white).astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image_size is not None and image.size != image_size[::-1]:
        box = _centre(extent or image.size, image_size[::-1])
        image = image.resize(image_size[::-1], kernel, box)
    pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], channels)  # (h, w) or (h, w, 3) -> (h, w, c)


def _centre(extent, target):
    """The box `(left, upper, right, lower)` around the centre with the target's aspect ratio."""
    width, height = extent
    ratio = target[0] / target[1]
    if width / height > ratio:
        left = (width - ratio * height) / 2
        return left, 0, left + ratio * height, height
    upper = (height - width / ratio) / 2
    return 0, upper, width, upper + width / ratio


def read_from_memory(*arrays: np.ndarray) -> Reader:
    """Makes the `Reader` of a set held in arrays.

    The arrays are read through Python: as tensors they would be copied into the graph
    of the pipeline, and again by a strategy that shards it.

    Args:
        *arrays: uint8 images `(n, h, w, c)`, one array or two of pairs, and int32 labels `(n,)`.
    """
    dtypes = tuple(tf.as_dtype(array.dtype) for array in arrays)

    def read(indices):
        batch = call_python(lambda rows: tuple(array[rows] for array in arrays), [indices], dtypes)
        for part, array in zip(batch, arrays):
            part.set_shape((indices.shape[0], *array.shape[1:]))
        return tuple(batch)

    return read_by_index(len(arrays[0]), read)
