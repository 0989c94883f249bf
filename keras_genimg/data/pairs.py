"""Pairs of images of two folders, for models that translate one into the other."""

import os

import tensorflow as tf

from keras_genimg.data.pipeline import checked_options, checked_order, folder_of, in_batches
from keras_genimg.data.sets.folder_pairs import open_folder_pairs
from keras_genimg.errors import InputError

__all__ = ["load_pairs", "open_pairs"]


def load_pairs(
    inputs: str | os.PathLike, targets: str | os.PathLike, split: str = "train", *,
    batch_size: int, image_size: int | tuple | None = None, shuffle_seed: int | None = None,
    channels: int | None = None, drop_remainder: bool = False, num_images: int | None = None,
    epochs: int | None = 1, first_epoch: int = 0, first_batch: int = 0,
) -> tf.data.Dataset:  # fmt: skip
    """Loads images of two folders in pairs, the training data of `Pix2Pix`.

    Two files are a pair if their paths in the split are the same, but for the ending:
    "inputs/train/cat/7.jpg" and "targets/train/cat/7.png". Files without a partner, or whose
    partner cannot be read, are not used; one warning counts those without.

    Args:
        inputs, targets: paths of folders, see `load`.
        split: str, or a slice of it, which is that of the first folder.
        batch_size: int. Pairs per batch.
        image_size: int or tuple `(height, width)`, see `load`. Default: the size of the first
            folder's images, to which those of the second are cropped and resized.
        num_images: int, optional. Uses only this many pairs, evenly spaced.
        channels, shuffle_seed, drop_remainder, epochs, first_epoch, first_batch: see `load`.

    Returns:
        `tf.data.Dataset` of `(inputs, targets)`, float32 images `(batch, height, width, channels)`
        in [-1, 1].

    Raises:
        InputError: a name that is not a folder's, no pair, two files of one name in a folder, or
            an invalid argument.

    Example:
    >>> pairs = load_pairs("noto", "twemoji", batch_size=16, shuffle_seed=0)
    >>> [part.shape for part in next(iter(pairs))]
    [TensorShape([16, 64, 64, 3]), TensorShape([16, 64, 64, 3])]
    """
    order = checked_order(
        batch_size, shuffle_seed, drop_remainder, epochs, first_epoch, first_batch
    )
    *_, open_reader = open_pairs(inputs, targets, split, image_size, channels, num_images)
    return in_batches(open_reader(), order, lambda first, second, labels: (first, second))


def open_pairs(
    inputs: str | os.PathLike, targets: str | os.PathLike, split: str = "train",
    image_size: int | tuple | None = None, channels: int | None = None,
    num_images: int | None = None,
) -> tuple:  # fmt: skip
    """Describes the pairs of two folders and how to read them.

    Args:
        inputs, targets, split, image_size, channels, num_images: see `load_pairs`.

    Returns:
        Two `DataInfo`s, and a function without arguments that opens a `Reader`.

    Raises:
        InputError: see `load_pairs`.
    """
    options = checked_options(image_size, channels, num_images)
    if not isinstance(split, str):
        raise InputError(f"split must be a string. Received: split={str(split)[:60]!r}.")
    folders = tuple(map(folder_of, (inputs, targets)))
    for name, folder in zip((inputs, targets), folders):
        if folder is None:
            raise InputError(
                "Images are paired by the names of their files, which folders of images have. "
                f"Received: {os.fspath(name)!r}."
            )
    return open_folder_pairs(folders, split, **options)
