"""Folders of images."""

import collections
import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

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
    Reader,
    checked_count,
    fits_in_memory,
    read_by_index,
    read_from_memory,
    split_and_slice,
)
from keras_genimg.data.python_calls import call_python, stop_at_exit
from keras_genimg.data.sets.folder_files import Split, find_split, none_readable, reasons
from keras_genimg.errors import InputError

__all__ = ["Part", "describe", "members_of", "open_folder", "read_parts"]

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
    members = members_of(found, bounds)
    count = checked_count(num_images, len(members), folder)
    members = [members[i * len(members) // count] for i in range(count)]
    part = Part(folder, found, members, describe(folder, found, count, image_size, channels))
    return part.info, lambda: read_parts(part)


class Part(NamedTuple):
    """Images of a split of a folder; of pairs, image i of one part belongs to that of the other.

    Attributes:
        folder: str.
        found: `Split`.
        members: list of int. Which of its files are used.
        info: `DataInfo` of these.
    """

    folder: str
    found: Split
    members: list
    info: DataInfo


def describe(
    folder: str, found: Split, count: int, image_size: tuple | None, channels: int | None
) -> DataInfo:
    """The `DataInfo` of `count` images of a split, see `open_folder`.

    Raises:
        InputError: several sizes without `image_size`.
    """
    sizes = sorted({header.size for header in found.headers})
    if image_size is None and len(sizes) > 1:
        raise InputError(
            "Images of several sizes need image_size, to which they are cropped and resized. "
            f"Received: {folder!r}, with (height, width) from {sizes[0]} to {sizes[-1]}."
        )
    channels = channels or (1 if all(header.grey for header in found.headers) else 3)
    image_shape = (*(image_size or sizes[0]), channels)
    names = found.class_names
    content = _digest(str([(file.parts, file.stamp[0]) for file in found.files])).hex()[:12]
    return DataInfo(image_shape, count, None if names is None else len(names), names, content)


def read_parts(*parts: Part) -> Reader:
    """Opens the `Reader` of one folder, or of the pairs of two, and warns of what it skips.

    Args:
        *parts: `Part`s with as many members. A pair of which one image is skipped is not used.

    Raises:
        InputError: no readable image, or no readable pair.
    """
    whites, refused = zip(*(_deep_values(part.folder, part.found) for part in parts))
    rows = [
        row for row in zip(*(part.members for part in parts))
        if not any(index in those for index, those in zip(row, refused))
    ]  # fmt: skip
    labels = np.array([parts[0].found.labels[row[0]] for row in rows], "int32")
    in_memory = all(fits_in_memory(part.info) for part in parts)
    files, images, failures = [], [], []
    for number, (part, white) in enumerate(zip(parts, whites)):
        mine = tuple(part.found.files[row[number]] for row in rows)
        if in_memory:
            decoded, whys = _decode_all(mine, part.info.image_shape, tuple(white.items()))
            images.append(decoded)
        else:
            headers = [part.found.headers[row[number]] for row in rows]
            with ThreadPoolExecutor() as pool:
                whys = list(pool.map(_damage, mine, headers))
        files.append(mine)
        failures.append(whys)
    skipped = collections.Counter()
    for part, those, mine, whys in zip(parts, refused, files, failures):
        left_out = [*part.found.skipped]
        left_out += [(why, part.found.files[index].path) for index, why in those.items()]
        left_out += [(why, file.path) for file, why in zip(mine, whys) if why]
        left_out.sort(key=lambda each: each[1])
        if all(whys):
            raise none_readable(part.folder, left_out)
        unread = sum(why != NOT_IMAGES for why, _ in part.found.skipped)
        _warn_of(part.folder, left_out, len(part.found.files) + unread)
        skipped.update(why for why, _ in left_out)
    readable = np.array([not any(whys) for whys in zip(*failures)], bool)
    if not readable.any():
        raise InputError(
            "Two folders must hold a pair of which both images can be read. "
            f"Received: {' and '.join(repr(part.folder) for part in parts)}, which have none."
        )
    if in_memory:
        # Decoded are those that can be read; of pairs, the other image too.
        keep = [readable[[not why for why in whys]] for whys in failures]
        images = [each if kept.all() else each[kept] for each, kept in zip(images, keep)]
        reader = read_from_memory(*images, labels[readable])
    else:
        rows = [row for row, good in zip(zip(*files), readable) if good]
        reader = _read_from_disk(parts, rows, labels[readable], whites)
    return reader._replace(skipped=skipped)


def members_of(found: Split, bounds: Callable) -> list:
    """Which files are in a slice, in sorted order.

    Args:
        found: `Split`.
        bounds: see `split_and_slice`.
    """
    files = found.files
    start, stop = bounds(len(files))
    if (start, stop) == (0, len(files)):
        return list(range(len(files)))

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


def _read_from_disk(parts, rows, labels, whites):
    """The `Reader` of files that are decoded again in each epoch; a row has one of each part."""
    warned = set()

    def read_row(place):
        images = []
        for part, file, white in zip(parts, rows[place], whites):
            try:
                images.append(decode(file.path, part.info.image_shape, white))
            except Exception as error:
                if file.path not in warned:
                    warned.add(file.path)
                    _warn_of(part.folder, [(reason_of(error, file.path), file.path)], len(rows))
                return None
        return images

    def read_one(index):
        # An undetected truncated file must not end a long training: the next row replaces its.
        for step in range(len(rows)):
            place = (index + step) % len(rows)
            images = read_row(place)
            if images is not None:
                return images, labels[place]
        raise OSError(f"None of the {len(rows)} images can be read any more.")

    def read_all(indices):
        shapes = [(len(indices), *part.info.image_shape) for part in parts]
        batches = [np.empty(shape, "uint8") for shape in shapes]
        batch_labels = np.empty(len(indices), "int32")

        def read_part(first):
            for place in range(first, len(indices), THREADS):
                stop_at_exit()
                images, batch_labels[place] = read_one(indices[place])
                for batch, image in zip(batches, images):
                    batch[place] = image

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read_part, range(THREADS)))
        return *batches, batch_labels

    def read(indices):
        dtypes = (*[tf.uint8] * len(parts), tf.int32)
        *batches, batch_labels = call_python(read_all, [indices], dtypes)
        for batch, part in zip(batches, parts):
            batch.set_shape((indices.shape[0], *part.info.image_shape))
        batch_labels.set_shape((indices.shape[0],))
        return *batches, batch_labels

    return read_by_index(len(rows), read)
