"""Pairs of images from two folders: the files of one name belong together."""

import os
import unicodedata
import warnings

from keras_genimg.data.images import checked_count, split_and_slice
from keras_genimg.data.sets.folder_files import NAMES_PER_REASON, Split, find_split
from keras_genimg.data.sets.folders import Part, describe, members_of, read_parts
from keras_genimg.errors import InputError

__all__ = ["open_folder_pairs"]

ALONE = "without a partner"


def open_folder_pairs(
    folders: tuple, split: str, *, image_size: tuple | None, channels: int | None,
    num_images: int | None,
) -> tuple:  # fmt: skip
    """Describes the pairs of two folders and how to read them.

    Args:
        folders: tuple of two strs, see `open_folder`. Files with the same path in the split of
            each folder, but for the ending, are a pair.
        split: str, or a slice of the first folder's split, see `open_folder`.
        image_size: tuple `(height, width)`, or None for the size of the images of the first
            folder, to which those of the second are cropped and resized.
        channels: 1, 3, or None for 3 in a folder with any image in colour.
        num_images: int or None. Uses this many pairs, evenly spaced.

    Returns:
        Two `DataInfo`s, and a function without arguments that opens a `Reader` of pairs.

    Raises:
        InputError: see `open_folder`; two files of one name in a folder, or no pair.
    """
    name, bounds = split_and_slice(split)
    splits = [find_split(folder, name) for folder in folders]
    first, second = map(_names_of, folders, splits)
    inside = set(members_of(splits[0], bounds))
    rows = [(i, second[key]) for key, i in first.items() if key in second and i in inside]
    alone = [
        [i for key, i in first.items() if key not in second and i in inside],
        [i for key, i in second.items() if key not in first],
    ]
    if not rows:
        raise InputError(
            "Images of two folders are paired by the names of their files. "
            f"Received: {folders[0]!r} and {folders[1]!r}, which share none in {split!r}."
        )
    count = checked_count(num_images, len(rows), " and ".join(folders))
    rows = [rows[i * len(rows) // count] for i in range(count)]
    parts = []
    for folder, found, members in zip(folders, splits, zip(*rows)):
        info = describe(folder, found, count, image_size, channels)
        parts.append(Part(folder, found, list(members), info))
        image_size = info.image_shape[:2]

    def open_reader():
        if any(alone):
            _warn_of_lonely(folders, splits, alone)
        reader = read_parts(*parts)
        lonely = {ALONE: sum(map(len, alone))} if any(alone) else {}
        return reader._replace(skipped={**reader.skipped, **lonely})

    return *(part.info for part in parts), open_reader


def _names_of(folder: str, found: Split) -> dict:
    """The files by their path in the split, without its ending: name -> index.

    Raises:
        InputError: two files of one name.
    """
    names = {}
    for index, file in enumerate(found.files):
        name = os.path.splitext("/".join(file.parts[found.depth :]))[0]
        name = unicodedata.normalize("NFC", name)  # an e and an accent are an é
        if name in names:
            twins = " and ".join("/".join(found.files[i].parts) for i in (names[name], index))
            raise InputError(
                "Images are paired by the names of their files without endings, which must "
                f"differ within a folder. Received: {folder!r}, with {twins}."
            )
        names[name] = index
    return names


def _warn_of_lonely(folders, splits, alone):
    told = []
    for folder, found, indices in zip(folders, splits, alone):
        if indices:
            paths = ["/".join(found.files[i].parts) for i in indices[:NAMES_PER_REASON]]
            more = ", ..." if len(indices) > NAMES_PER_REASON else ""
            told.append(f"{len(indices)} in {folder!r} ({', '.join(paths)}{more})")
    warnings.warn(
        f"Images {ALONE} of the same name in the other folder are not used: {'; '.join(told)}.",
        stacklevel=2,
    )
