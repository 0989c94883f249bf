"""Folders of images."""

import functools
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from keras_genimg.data.images import (
    DataInfo,
    Reader,
    checked_count,
    fit_image,
    fits_in_memory,
    indices_in_order,
    read_from_memory,
)
from keras_genimg.data.python_calls import call_python
from keras_genimg.errors import InputError

__all__ = ["open_folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
NAMES_IN_WARNING = 5


class _File(NamedTuple):
    path: str
    label: int
    stamp: tuple  # size and time of change, so that an edited folder is read again


class _Header(NamedTuple):
    size: tuple  # (height, width)
    grey: bool


def open_folder(
    folder: str, split: str, *, image_size: tuple | None, channels: int | None,
    num_images: int | None,
) -> tuple:  # fmt: skip
    """Describes a folder of images and how to read it.

    Args:
        folder: str. Images directly in it have no labels; images in its sub-folders are
            labelled by sub-folder, in sorted order. Sub-folders "train" and "test", each
            laid out this way, are the splits; without them the folder is "train".
        split: str.
        image_size: tuple `(height, width)`, or None if all images have the same size.
        channels: 1, 3, or None for 3 if any image is in colour.
        num_images: int or None. Uses this many, evenly spaced over the sorted files.

    Returns:
        A `DataInfo`, and a function without arguments that opens a `Reader`.

    Raises:
        InputError: no such folder or split, no readable image, or several sizes without
            `image_size`.
    """
    files, classes = _list_split(folder, split)
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_read_header, files))
    good = [file for file, header in zip(files, headers) if header]
    bad = [file for file, header in zip(files, headers) if not header]
    if not good:
        raise _none_readable(folder, len(files))
    headers = [header for header in headers if header]
    sizes = sorted({header.size for header in headers})
    if image_size is None and len(sizes) > 1:
        raise InputError(
            "Images of several sizes need image_size, to which they are cropped and resized. "
            f"Received: {folder!r}, with (height, width) from {sizes[0]} to {sizes[-1]}."
        )
    channels = channels or (1 if all(header.grey for header in headers) else 3)
    count = checked_count(num_images, len(good), folder)
    good = tuple(good[i * len(good) // count] for i in range(count))
    image_shape = (*(image_size or sizes[0]), channels)
    info = DataInfo(image_shape, count, len(classes) or None)

    def open_reader():
        if fits_in_memory(info):
            images, labels = _decode_all(good, tuple(bad), image_shape)
            return read_from_memory(images, labels)
        whole = [file for file in good if _looks_whole(file.path)]
        broken = set(good) - set(whole)
        _warn_of([*bad, *sorted(broken)], len(good) + len(bad))
        return _read_from_disk(whole, image_shape)

    return info, open_reader


def _list_split(folder, split):
    """The files of a split, and the names of its classes (none for a flat folder)."""
    if not os.path.isdir(folder):
        raise InputError(f"A folder of images must exist. Received: {folder!r}.")
    roots = {"train": folder}
    if {"train", "test"} <= set(_sub_folders(folder)):
        roots = {name: os.path.join(folder, name) for name in _sub_folders(folder)}
    if split not in roots:
        raise InputError(
            f"split must be one of {sorted(roots)} for the folder {folder!r}; sub-folders "
            f'"train" and "test" would be two splits. Received: split={split!r}.'
        )
    # Both splits use the same class indices, even if one of them lacks a class.
    classes = sorted({name for root in roots.values() for name in _sub_folders(root)})
    root = roots[split]
    flat = [_File(path, 0, stamp) for path, stamp in _images_in(root, deep=False)]
    labelled = [
        _File(path, label, stamp)
        for label, name in enumerate(classes)
        for path, stamp in _images_in(os.path.join(root, name), deep=True)
    ]
    if flat and labelled:
        raise InputError(
            "A folder holds either images (no labels) or one sub-folder of images per class. "
            f"Received: {root!r}, with {len(flat)} images next to its sub-folders."
        )
    if not flat and not labelled:
        raise InputError(
            f"A folder of images must not be empty ({', '.join(SUFFIXES)}). Received: {root!r}, "
            "which has none."
        )
    return flat or labelled, () if flat else classes


def _sub_folders(folder):
    return [entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."]


def _images_in(folder, deep):
    """Paths and stamps of the images in a folder, sorted; empty if it does not exist."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."] if deep else []
        for name in names:
            if name.lower().endswith(SUFFIXES) and name[0] != ".":
                path = os.path.join(parent, name)
                status = os.lstat(path)  # works for broken links too, which get a warning
                found.append((path, (status.st_size, status.st_mtime_ns)))
    return sorted(found)


@functools.lru_cache(maxsize=2**20)
def _read_header(file):
    """The header of a file, or None where it cannot be read."""
    try:
        with Image.open(file.path) as image:
            width, height = image.size
            # Without EXIF in the header of a PNG, Pillow decodes it to look for EXIF at its end.
            has_exif = image.format != "PNG" or "exif" in image.info
            if has_exif and image.getexif().get(0x0112, 1) >= 5:  # rotated by 90 degrees
                width, height = height, width
            return _Header((height, width), image.mode in ("1", "L", "LA", "I", "I;16", "F"))
    except Exception:  # Pillow's decoders raise all kinds
        return None


def _decode(path, image_shape):
    """The pixels of a file, uint8 `image_shape`, or None where it is corrupt."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return fit_image(upright, image_shape[:2], image_shape[2])
    except Exception:
        return None


@functools.lru_cache(maxsize=4)
def _decode_all(files, unreadable, image_shape):
    """Decodes a folder once: uint8 images `(n, h, w, c)` and int32 labels `(n,)`."""
    images = np.empty((len(files), *image_shape), "uint8")

    def decode_into(index):
        pixels = _decode(files[index].path, image_shape)
        if pixels is not None:
            images[index] = pixels
        return pixels is not None

    with ThreadPoolExecutor() as pool:
        readable = np.array(list(pool.map(decode_into, range(len(files)))))
    corrupt = [file for file, is_readable in zip(files, readable) if not is_readable]
    if len(corrupt) == len(files):
        raise _none_readable(os.path.dirname(files[0].path), len(files))
    _warn_of([*unreadable, *corrupt], len(files) + len(unreadable))
    labels = np.array([file.label for file in files], "int32")
    return (images[readable], labels[readable]) if corrupt else (images, labels)


def _none_readable(folder, count):
    return InputError(
        "A folder of images must hold at least one readable image. "
        f"Received: {folder!r}, with {count} unreadable images."
    )


def _warn_of(bad, total):
    if bad:
        names = ", ".join(file.path for file in bad[:NAMES_IN_WARNING])
        more = ", ..." if len(bad) > NAMES_IN_WARNING else ""
        warnings.warn(
            f"Skipped {len(bad)} of {total} images that cannot be read: {names}{more}",
            stacklevel=2,
        )


def _looks_whole(path):
    """Detects most truncated files without decoding them, for folders too large to decode twice."""
    try:
        if path.lower().endswith((".jpg", ".jpeg")):
            with open(path, "rb") as file:
                file.seek(max(0, os.path.getsize(path) - 65536))
                return b"\xff\xd9" in file.read()  # the end marker, perhaps before a trailer
        with Image.open(path) as image:
            image.verify()
        return True
    except Exception:
        return False


def _read_from_disk(files, image_shape):
    """The `Reader` of files that are decoded again in each epoch."""
    warned = set()

    def decode(index):
        # An undetected truncated file must not end a long training: the next file replaces it.
        for step in range(len(files)):
            file = files[(index + step) % len(files)]
            pixels = _decode(file.path, image_shape)
            if pixels is not None:
                return pixels, np.int32(file.label)
            if file.path not in warned:
                warned.add(file.path)
                _warn_of([file], len(files))
        raise OSError(f"None of the {len(files)} images can be read any more.")

    def read_one(index):
        # One call per image keeps the calls short, see `call_python`.
        image, label = call_python(decode, [index], (tf.uint8, tf.int32))
        return tf.ensure_shape(image, image_shape), tf.ensure_shape(label, ())

    def order(seed):
        indices = indices_in_order(len(files), seed)
        return indices.map(read_one, tf.data.AUTOTUNE, deterministic=True)

    return Reader(len(files), order, lambda images, labels: (images, labels))
