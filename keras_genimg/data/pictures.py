"""What the image sets share: how they are described, read, ordered, and their pictures fitted."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_genimg.data.python_calls import call_python
from keras_genimg.errors import InputError

__all__ = [
    "DataInfo",
    "Reader",
    "checked_count",
    "fit_picture",
    "fits_in_memory",
    "indices_in_order",
    "read_by_index",
    "read_from_memory",
]

# Decoded sets up to this many bytes are held in memory; larger ones are decoded in every pass.
MEMORY_LIMIT = 2**30


class DataInfo(NamedTuple):
    """What a set of images is like.

    Attributes:
        image_shape: tuple `(height, width, channels)`.
        num_images: int. Pictures of the split, or as many of them as were asked for.
        num_classes: int, or None for a set without labels.
    """

    image_shape: tuple
    num_images: int
    num_classes: int | None


class Reader(NamedTuple):
    """How the images of a set are read, pass by pass and batch by batch.

    Attributes:
        num_images: int. The images that can be read, in each pass.
        order: function from the seed of a pass, an int64 tensor `(2,)`, or from None
            for the stored order, to a `tf.data.Dataset` of what stands for an image.
        read: function from a batch of that to uint8 images `(batch, h, w, c)` and
            int32 labels `(batch,)`.
    """

    num_images: int
    order: Callable
    read: Callable


def read_by_index(num_images, read):
    """The `Reader` of a set that reads whole batches of image numbers at once."""
    return Reader(num_images, lambda seed: indices_in_order(num_images, seed), read)


def indices_in_order(num_images, seed):
    """The dataset of all image numbers: permuted by a seed `(2,)`, ascending for None."""
    indices = tf.range(num_images, dtype=tf.int64)
    if seed is not None:
        indices = tf.random.experimental.stateless_shuffle(indices, seed, alg="philox")
    return tf.data.Dataset.from_tensor_slices(indices)


def fits_in_memory(info):
    """Whether the decoded uint8 images of a set are held in memory."""
    return info.num_images * math.prod(info.image_shape) <= MEMORY_LIMIT


def checked_count(num_images, available, name):
    """The number of images to use: `num_images`, or all of them for None."""
    if num_images is not None and num_images > available:
        raise InputError(
            f"num_images must not exceed what the set holds: {name!r} has {available}. "
            f"Received: num_images={num_images}"
        )
    return available if num_images is None else num_images


def fit_picture(picture, image_size, channels):
    """Gives a picture its final size and channels.

    It is cut around the centre to the aspect ratio asked for and resized with
    antialiasing; transparent parts become white.

    Args:
        picture: `PIL.Image.Image`.
        image_size: tuple `(height, width)`, or None to keep the size.
        channels: 1 or 3.

    Returns:
        uint8 array `(height, width, channels)`.

    Example:
    >>> fit_picture(Image.new("RGB", (640, 480)), (64, 64), 1).shape
    (64, 64, 1)
    """
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip at 255
        picture = Image.fromarray((np.clip(picture, 0, 65535) // 257).astype("uint8"))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if image_size is not None and picture.size != image_size[::-1]:
        height, width = image_size
        scale = min(picture.width / width, picture.height / height)
        left = (picture.width - width * scale) / 2
        top = (picture.height - height * scale) / 2
        box = (left, top, left + width * scale, top + height * scale)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], channels)  # (h, w) or (h, w, 3) -> (h, w, c)


def read_from_memory(images, labels):
    """The `Reader` of a set held in two arrays.

    The arrays stay where they are: as tensors of the pipeline they would be copied
    into its graph, and once more when a strategy shards it.

    Args:
        images: uint8 array `(n, h, w, c)`.
        labels: int32 array `(n,)`.
    """

    def read(indices):
        batch_images, batch_labels = call_python(
            lambda numbers: (images[numbers], labels[numbers]), [indices], (tf.uint8, tf.int32)
        )
        batch_images.set_shape((indices.shape[0], *images.shape[1:]))
        batch_labels.set_shape((indices.shape[0],))
        return batch_images, batch_labels

    return read_by_index(len(images), read)
