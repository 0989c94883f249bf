"""Folders of images."""

import collections
import functools
import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from keras_genimg.data.decoding import (
    DAMAGED,
    NOT_IMAGES,
    decode,
    looks_whole,
    peak_of,
    reason_of,
    whites_of,
)
from keras_genimg.data.images import (
    DataInfo,
    checked_count,
    fits_in_memory,
    read_by_index,
    read_from_memory,
    split_and_slice,
)
from keras_genimg.data.python_calls import call_python, stop_at_exit
from keras_genimg.data.sets.folder_files import find_split, none_readable, reasons
from keras_genimg.errors import InputError

__all__ = ["open_folder"]

THREADS = 4  # per batch: some wait for the disk, or for Python's lock


def open_folder(
    folder: str, split: str, *, image_size: tuple | None, channels: int | None,
    num_images: int | None,
) -> tuple:  # fmt: skip
    """Describes a folder of images and how to read it.

    Args:
        folder: str. Images directly in it have no labels; images in its sub-folders are
            labelled by sub-folder, in sorted order. Sub-folders "train", "val" (or "valid",
            "validation") and "test", in any case and each laid out this way, are the splits;
            without them the folder is "train". A file is an image if Pillow can decode it,
            whatever it is called. Hidden files and folders and `__MACOSX` are ignored.
        split: str, or a slice such as "train[:90%]" of the images in an order that depends on
            their names in the folder alone: whoever copies it or adds to it gets the same parts.
        image_size: tuple `(height, width)`, or None if all images have the same size.
        channels: 1, 3, or None for 3 if any image is in colour.
        num_images: int or None. Uses this many, evenly spaced over the sorted files.

    Returns:
        A `DataInfo`, and a function without arguments that opens a `Reader`.

    Raises:
        InputError: no such folder or split, a layout that could be read in two ways, no readable
            image, or several sizes without `image_size`.
    """
    name, bounds = split_and_slice(split)
    found = find_split(folder, name)
    sizes = sorted({header.size for header in found.headers})
    if image_size is None and len(sizes) > 1:
        raise InputError(
            "Images of several sizes need image_size, to which they are cropped and resized. "
            f"Received: {folder!r}, with (height, width) from {sizes[0]} to {sizes[-1]}."
        )
    channels = channels or (1 if all(header.grey for header in found.headers) else 3)
    members = _members(found.files, *bounds(len(found.files)))
    count = checked_count(num_images, len(members), folder)
    members = [members[i * len(members) // count] for i in range(count)]
    image_shape = (*(image_size or sizes[0]), channels)
    names = found.class_names
    content = _digest(str([(file.parts, file.stamp[0]) for file in found.files])).hex()[:12]
    info = DataInfo(image_shape, count, None if names is None else len(names), names, content)

    def open_reader():
        whites, refused = _deep_values(folder, found)
        chosen = [i for i in members if i not in refused]
        files = tuple(found.files[i] for i in chosen)
        in_memory = fits_in_memory(info)
        if in_memory:
            images, failures = _decode_all(files, image_shape, tuple(whites.items()))
        else:
            with ThreadPoolExecutor() as pool:
                failures = list(pool.map(_damage, files, (found.headers[i] for i in chosen)))
        skipped = [*found.skipped, *((why, found.files[i].path) for i, why in refused.items())]
        skipped += [(why, file.path) for file, why in zip(files, failures) if why]
        skipped.sort(key=lambda each: each[1])
        labels = np.array([found.labels[i] for i in chosen], "int32")
        readable = np.array([not why for why in failures], bool)
        if not readable.any():
            raise none_readable(folder, skipped)
        unread = sum(why != NOT_IMAGES for why, _ in found.skipped)
        _warn_of(folder, skipped, len(found.files) + unread)
        if in_memory:
            reader = read_from_memory(images, labels[readable])
        else:
            files = [file for file, why in zip(files, failures) if not why]
            reader = _read_from_disk(folder, files, labels[readable], image_shape, whites)
        return reader._replace(skipped=collections.Counter(why for why, _ in skipped))

    return info, open_reader


def _members(files, start, stop):
    """Which files are in a slice, in sorted order."""
    if (start, stop) == (0, len(files)):
        return range(len(files))

    def place(index):
        return _digest("/".join(files[index].parts))

    return sorted(sorted(range(len(files)), key=place)[start:stop])


def _digest(text):
    return hashlib.sha256(os.fsencode(text)).digest()


def _deep_values(folder, found):
    """Of values with more than 8 bits: kind -> the one that becomes 255; index -> why refused.

    The whole split is looked at, so that all its images have the same range.
    """
    deep = [i for i, header in enumerate(found.headers) if header.deep]
    with ThreadPoolExecutor() as pool:
        peaks = dict(zip(deep, pool.map(_peak, (found.files[i] for i in deep))))
    return whites_of(folder, {i: found.headers[i].deep for i in deep}, peaks)


@functools.lru_cache(maxsize=2**20)
def _peak(file):
    return peak_of(file.path)


@functools.lru_cache(maxsize=2**20)
def _damage(file, header):
    return None if looks_whole(file.path, header) else DAMAGED


@functools.lru_cache(maxsize=4)
def _decode_all(files, image_shape, whites):
    """Decodes a folder once: the readable images, uint8 `(n, h, w, c)`, and the failures.

    The failures are one per file: None, or why it is not among the images.
    """
    images = np.empty((len(files), *image_shape), "uint8")

    def decode_into(index):
        try:
            images[index] = decode(files[index].path, image_shape, dict(whites))
        except Exception as error:  # Pillow's decoders raise all kinds
            return reason_of(error, files[index].path)

    with ThreadPoolExecutor() as pool:
        failures = list(pool.map(decode_into, range(len(files))))
    readable = [index for index, why in enumerate(failures) if not why]
    return images if len(readable) == len(files) else images[readable], failures


def _warn_of(folder, skipped, total):
    skipped = [(why, path) for why, path in skipped if why != NOT_IMAGES]
    if skipped:
        warnings.warn(
            f"Skipped {len(skipped)} of {total} files in {folder!r}: {reasons(folder, skipped)}.",
            stacklevel=2,
        )


def _read_from_disk(folder, files, labels, image_shape, whites):
    """The `Reader` of files that are decoded again in each epoch."""
    warned = set()

    def read_one(index):
        # An undetected truncated file must not end a long training: the next file replaces it.
        for step in range(len(files)):
            place = (index + step) % len(files)
            path = files[place].path
            try:
                return decode(path, image_shape, whites), labels[place]
            except Exception as error:
                if path not in warned:
                    warned.add(path)
                    _warn_of(folder, [(reason_of(error, path), path)], len(files))
        raise OSError(f"None of the {len(files)} images can be read any more.")

    def read_all(indices):
        images = np.empty((len(indices), *image_shape), "uint8")
        batch_labels = np.empty(len(indices), "int32")

        def read_part(first):
            for place in range(first, len(indices), THREADS):
                stop_at_exit()
                images[place], batch_labels[place] = read_one(indices[place])

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read_part, range(THREADS)))
        return images, batch_labels

    def read(indices):
        images, batch_labels = call_python(read_all, [indices], (tf.uint8, tf.int32))
        images.set_shape((indices.shape[0], *image_shape))
        batch_labels.set_shape((indices.shape[0],))
        return images, batch_labels

    return read_by_index(len(files), read)
