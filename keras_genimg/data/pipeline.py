"""From the name of an image set to batches for `fit`."""

import difflib
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, is_integer
from keras_genimg.data.images import DataInfo, Reader
from keras_genimg.data.passes import Passes, map_batches
from keras_genimg.data.sets.folders import open_folder
from keras_genimg.data.sets.glyphs import open_glyphs
from keras_genimg.data.sets.moving import open_moving
from keras_genimg.data.sets.tfds import is_tfds_name, open_tfds, tfds_names
from keras_genimg.errors import InputError

__all__ = [
    "Order", "checked_options", "checked_order", "data_info", "folder_of", "in_batches", "load",
    "open_set",
]  # fmt: skip

MOVING = ("moving_glyphs", "moving_mnist")  # the sets of clips


def load(
    name: str | os.PathLike, split: str = "train", *, batch_size: int,
    image_size: int | tuple | None = None, with_labels: bool = False,
    shuffle_seed: int | None = None, data_dir: str | os.PathLike | None = None,
    channels: int | None = None, drop_remainder: bool = False, num_images: int | None = None,
    num_frames: int | None = None, epochs: int | None = 1, first_epoch: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:  # fmt: skip
    """Loads an image set by name, as batches in [-1, 1].

    Args:
        name: str. One of:
            - "glyphs", digits rendered on the fly;
            - an image set of tensorflow-datasets (`"mnist"`, `"cifar10"`,
              `"lsun/church"`, ...);
            - the path of a folder of images: unlabelled, or with one sub-folder per class,
              in sub-folders "train", "val" and "test" if it has splits. All files that Pillow
              decodes are used, whatever they are called; those that cannot be used are counted
              and named in one warning. For a folder in the working directory that shares its
              name with a set, write `"./mnist"`;
            - "moving_glyphs" or "moving_mnist", clips in which a digit moves over a larger
              canvas and bounces off its borders. "moving_mnist" is made from MNIST's digits
              of the split; it is not the set of that name in tensorflow-datasets, which has
              two digits per clip and only a test split.
        split: str, or a slice of a split as tensorflow-datasets has them: "train[:90%]",
            "train[90%:]", "train[:100]". The images of a folder are sliced in an order that
            depends on their names alone, in which the classes are mixed.
        batch_size: int. The last batch of an epoch may be smaller.
        image_size: int or tuple `(height, width)`. Images are centre-cropped to this
            aspect ratio and resized. Default: as stored; 28 for "glyphs" and for the
            canvas of clips.
        with_labels: bool. Whether to return `(images, labels)` instead of images.
        shuffle_seed: int, optional. The order of epoch number e depends only on this seed
            and on e. Default: the stored order in each epoch.
        data_dir: str, optional. Folder in which tensorflow-datasets keeps its sets.
            Default: the environment variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
        channels: 1 or 3, optional. Converts between greyscale and RGB.
        drop_remainder: bool. Whether to drop a smaller last batch of an epoch.
        num_images: int, optional. Uses only this many images: the first ones, or evenly
            spaced ones of a folder. "glyphs" and "moving_glyphs" render any number.
        num_frames: int, optional. Frames per clip, 16 by default; only for sets of clips.
        epochs: int, or None for endless. Epochs in one iteration of the dataset; no batch
            spans two epochs. Once an iteration has ended, the next one continues with
            the following epochs; an endless one always starts over.
        first_epoch: int. Number of the first epoch, to resume training.
        first_batch: int. Number of the first batch in it, for an endless dataset. The images
            before it are not decoded, except those of tensorflow-datasets.

    Returns:
        `tf.data.Dataset` of float32 images `(batch, height, width, channels)`, of clips
        `(batch, frames, height, width, channels)`, or of either with int32 labels
        `(batch,)`. Strategies shard it by its images.

    Raises:
        InputError: an unknown name, or an argument that is invalid for this set.

    Example:
    >>> images = next(iter(load("glyphs", batch_size=64, shuffle_seed=0)))
    >>> images.shape
    TensorShape([64, 28, 28, 1])
    """
    order = checked_order(
        batch_size, shuffle_seed, drop_remainder, epochs, first_epoch, first_batch
    )
    arguments = (image_size, data_dir, channels, num_images, num_frames)
    info, open_reader = open_set(name, split, *arguments)
    if with_labels and info.num_classes is None:
        raise InputError(
            f"with_labels needs a set with labels. Received: with_labels={with_labels} for "
            f"{name!r}, which has none."
        )
    return in_batches(
        open_reader(), order, lambda images, labels: (images, labels) if with_labels else images
    )


class Order(NamedTuple):
    """The order and the batches of a set, see `load`."""

    batch_size: int
    shuffle_seed: int | None
    drop_remainder: bool
    epochs: int | None
    first_epoch: int
    first_batch: int


def checked_order(
    batch_size: int, shuffle_seed: int | None, drop_remainder: bool, epochs: int | None,
    first_epoch: int, first_batch: int,
) -> Order:  # fmt: skip
    """The `Order` of these arguments of `load`.

    Raises:
        InputError: an invalid argument.
    """
    batch_size = check_count("batch_size", batch_size)
    epochs = epochs if epochs is None else check_count("epochs", epochs)
    first_epoch = check_count("first_epoch", first_epoch, minimum=0)
    first_batch = check_count("first_batch", first_batch, minimum=0)
    if not isinstance(drop_remainder, (bool, np.bool_)):
        raise InputError(
            f"drop_remainder must be a bool. Received: drop_remainder={drop_remainder!r}."
        )
    if first_batch and epochs is not None:
        raise InputError(
            "first_batch is for an endless dataset, with epochs=None. "
            f"Received: first_batch={first_batch} and epochs={epochs}."
        )
    if shuffle_seed is not None and not is_integer(shuffle_seed):
        raise InputError(
            f"shuffle_seed must be an integer or None. Received: shuffle_seed={shuffle_seed!r}."
        )
    return Order(batch_size, shuffle_seed, drop_remainder, epochs, first_epoch, first_batch)


def in_batches(reader: Reader, order: Order, element_of: Callable) -> tf.data.Dataset:
    """The batches of a set, epoch by epoch.

    Args:
        reader: `Reader`.
        order: `Order`.
        element_of: function from float32 batches of images in [-1, 1], one or two of pairs, and
            int32 labels to an element of the dataset.

    Returns:
        `tf.data.Dataset`.

    Raises:
        InputError: no batch is left.
    """
    batch_size, shuffle_seed, drop_remainder, epochs, first_epoch, first_batch = order
    if drop_remainder and batch_size > reader.num_images:
        raise InputError(
            "With drop_remainder, batch_size must not exceed the number of images, or no batch "
            f"is left. Received: batch_size={batch_size} for {reader.num_images} images."
        )

    def one_pass(number):
        seed = None if shuffle_seed is None else tf.stack([np.int64(shuffle_seed), number])
        return reader.order(seed).batch(batch_size, drop_remainder)

    def read_batch(*batch):
        *images, labels = reader.read(*batch)
        return element_of(*(tf.cast(each, tf.float32) / 127.5 - 1 for each in images), labels)

    if epochs is None:
        total = tf.data.INFINITE_CARDINALITY
        dataset = tf.data.Dataset.counter(first_epoch).flat_map(one_pass)
        return map_batches(dataset.skip(first_batch), read_batch, total)
    round_up = 0 if drop_remainder else batch_size - 1
    total = epochs * ((reader.num_images + round_up) // batch_size)
    passes = Passes(first_epoch, epochs)
    dataset = passes.numbers().flat_map(one_pass)
    return map_batches(dataset, read_batch, total, None if shuffle_seed is None else passes)


def data_info(
    name: str | os.PathLike, split: str = "train", *, image_size: int | tuple | None = None,
    data_dir: str | os.PathLike | None = None, channels: int | None = None,
    num_images: int | None = None, num_frames: int | None = None,
) -> DataInfo:  # fmt: skip
    """Describes what `load` returns for the same arguments, without decoding images.

    Args:
        name, split, image_size, data_dir, channels, num_images, num_frames: see `load`.

    Returns:
        `DataInfo(image_shape, num_images, num_classes)`, with more attributes; for
        a set of clips, the shape of a frame and the number of clips. Images in a folder are
        counted by their headers, so a truncated file still counts.

    Raises:
        InputError: an unknown name, or an argument that is invalid for this set.

    Example:
    >>> data_info("glyphs", "test", image_size=32, channels=3)
    DataInfo(image_shape=(32, 32, 3), num_images=5000, num_classes=10)
    """
    return open_set(name, split, image_size, data_dir, channels, num_images, num_frames)[0]


def open_set(
    name: str | os.PathLike, split: str, image_size: int | tuple | None,
    data_dir: str | os.PathLike | None, channels: int | None, num_images: int | None,
    num_frames: int | None,
) -> tuple:  # fmt: skip
    """Describes the set with a given name and how to read it.

    Args:
        name, split, image_size, data_dir, channels, num_images, num_frames: see `load`. The
            functions of the sets take the same arguments, already checked, `image_size` as
            a tuple or None.

    Returns:
        A `DataInfo`, and a function without arguments that opens a `Reader`, which
        may take long.

    Raises:
        InputError: an unknown name or split, or an argument that is invalid for the set.
    """
    options = checked_options(image_size, channels, num_images)
    num_frames = None if num_frames is None else check_count("num_frames", num_frames)
    if not isinstance(split, str):
        raise InputError(f"split must be a string. Received: split={str(split)[:60]!r}.")
    folder = folder_of(name, data_dir)
    if num_frames is not None and name not in MOVING:
        raise InputError(
            f"num_frames is only for sets of clips, {' and '.join(MOVING)}. "
            f"Received: num_frames={num_frames} for {os.fspath(name)!r}."
        )
    if folder is not None:
        return open_folder(folder, split, **options)
    if name == "glyphs":
        return open_glyphs(split, **options)
    if name in MOVING:
        return open_moving(name, split, data_dir, num_frames, **options)
    if is_tfds_name(name, data_dir):
        return open_tfds(name, split, data_dir, **options)
    near = difflib.get_close_matches(name, ["glyphs", *MOVING, *tfds_names()], n=3)
    hint = f"; the closest names are {', '.join(near)}" if near else ""
    raise InputError(
        'name must be "glyphs", "moving_glyphs", "moving_mnist", an image set of '
        f"tensorflow-datasets or a folder of images. Received: name={name!r}{hint}."
    )


def checked_options(
    image_size: int | tuple | None, channels: int | None, num_images: int | None
) -> dict:
    """These arguments of `load` by name, `image_size` as a tuple or None.

    Raises:
        InputError: an invalid argument.
    """
    if image_size is not None:
        image_size = image_size if isinstance(image_size, (tuple, list)) else (image_size,) * 2
        if len(image_size) != 2:
            raise InputError(
                "image_size must be an integer or (height, width). "
                f"Received: image_size={image_size!r}."
            )
        image_size = tuple(check_count("image_size", side) for side in image_size)
    if channels not in (None, 1, 3):
        raise InputError(f"channels must be 1 or 3. Received: channels={channels!r}.")
    num_images = None if num_images is None else check_count("num_images", num_images)
    return {"image_size": image_size, "channels": channels, "num_images": num_images}


def folder_of(name: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> str | None:
    """The path of the folder that a name stands for, or None for any other name.

    Raises:
        InputError: neither a string nor a path.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"name must be a string or a path. Received: name={name!r}.")
    folder = os.path.expanduser(os.fspath(name))
    is_path = isinstance(name, os.PathLike) or os.path.basename(folder) != folder
    if is_path and os.path.isdir(folder):
        return folder
    # Names take precedence over folders of the same name in the working directory, so that a
    # run saved in the folder "mnist" does not become the data of the next one. "lsun/church"
    # is a name too.
    is_set = name in ("glyphs", *MOVING) or isinstance(name, str) and is_tfds_name(name, data_dir)
    return folder if not is_set and (is_path or os.path.isdir(folder)) else None
