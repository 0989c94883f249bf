"""The image files of a folder: its splits, its classes, and what is not used."""

import functools
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from keras_genimg.data.decoding import NOT_IMAGES, Header, read_header
from keras_genimg.data.images import UnknownSplit
from keras_genimg.errors import InputError

__all__ = ["NAMES_PER_REASON", "File", "Split", "find_split", "none_readable", "reasons"]

# Names of sub-folders that are splits, in any case.
SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
          "validation": "validation", "test": "test", "testing": "test"}  # fmt: skip
SPLIT_NAMES = "train, val (valid, validation) and test"
NAMES_PER_REASON = 5
CIRCLE = "linked in a circle"
NO_FILE = "neither file nor folder"
BESIDE = "beside the splits"


class File(NamedTuple):
    """A file that may be an image.

    Attributes:
        parts: tuple of str. The path from the folder.
        path: str.
        stamp: tuple of its size and times of change, so that a file that changed is read anew.
    """

    parts: tuple
    path: str
    stamp: tuple


class Split(NamedTuple):
    """The images of a split of a folder.

    Attributes:
        files: list of `File`, sorted by class and path. Each has a readable header.
        headers: list of their `Header`s.
        labels: list of int; 0 in a set without labels.
        class_names: tuple of str, or None for a set without labels.
        skipped: list of (reason, path) of what is not used.
        depth: int. Parts of the files' paths that lead to the split.
    """

    files: list
    headers: list
    labels: list
    class_names: tuple | None
    skipped: list
    depth: int


def find_split(folder: str, split: str) -> Split:
    """Finds the images of a split, by the content of the files and not by their names.

    Args:
        folder: str, see `open_folder`.
        split: str, in any case; "val", "valid" and "validation" are the same.

    Raises:
        UnknownSplit: no such split.
        InputError: no such folder, one that could be read in two ways, or no readable image.
    """
    if not os.path.isdir(folder):
        raise InputError(f"A folder of images must exist. Received: {folder!r}.")
    if os.path.realpath(folder) == os.path.abspath(os.sep):
        raise InputError(
            "A folder of images must lie below the root of the file system, all of which would be "
            f"searched. Received: {folder!r}."
        )
    files, problems = _walk(folder)
    roots = _roots(folder, files)
    root = roots.get(_split_of(split))
    if root is None:
        names = sorted(root[0] if root else name for name, root in roots.items())
        raise UnknownSplit(
            f"split must be one of {names} for the folder {folder!r}; sub-folders named "
            f"{SPLIT_NAMES} would be its splits. Received: split={split!r}."
        )
    depth = len(root)
    mine = [file for file in files if file.parts[:depth] == root]
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, mine))
    skipped = [(reason, path) for reason, path, parts in problems if parts[:depth] == root]
    skipped += [(why, file.path) for file, why in zip(mine, headers) if isinstance(why, str)]
    if depth:
        skipped += [(BESIDE, file.path) for file in files if len(file.parts) == 1
                    and _is_image(file)]  # fmt: skip
    good = [(file, header) for file, header in zip(mine, headers) if isinstance(header, Header)]
    flat = [file for file, _ in good if len(file.parts) == depth + 1]
    where = os.path.join(folder, *root)
    if not good:
        raise none_readable(folder, skipped)
    if flat and len(flat) < len(good):
        raise InputError(
            "A folder holds either images (no labels) or one sub-folder of images per class. "
            f"Received: {where!r}, with {len(flat)} images next to its sub-folders."
        )
    if flat:
        return Split(*map(list, zip(*good)), [0] * len(good), None, skipped, depth)
    classes = {file.parts[depth] for file, _ in good}
    for other in roots.values():  # all splits use the same labels, even where one lacks a class
        groups = _by_folder([file for file in files if file.parts[: len(other)] == other], depth)
        classes |= {name for name in groups.keys() - classes if any(map(_is_image, groups[name]))}
    classes = sorted(classes)
    good.sort(key=lambda one: one[0].parts[depth])  # classes first: "a b/1" < "a/1"
    labels = [classes.index(file.parts[depth]) for file, _ in good]
    names = tuple(os.fsencode(name).decode("utf-8", "replace") for name in classes)
    return Split(*map(list, zip(*good)), labels, names, skipped, depth)


def reasons(folder: str, skipped: list) -> str:
    """What is not used and why: "2 damaged or cut off (a.png, cat/b.png); 1 empty (c.png)".

    Args:
        folder: str, from which the paths are shown.
        skipped: list of (reason, path).
    """
    paths = {}
    for reason, path in skipped:
        paths.setdefault(reason, []).append(os.path.relpath(path, folder))
    told = []
    for reason, those in paths.items():
        more = ", ..." if len(those) > NAMES_PER_REASON else ""
        told.append(f"{len(those)} {reason} ({', '.join(those[:NAMES_PER_REASON])}{more})")
    return "; ".join(told)


def none_readable(folder: str, skipped: list) -> InputError:
    """The error for a folder of which nothing can be used."""
    images = [(reason, path) for reason, path in skipped if reason != NOT_IMAGES]
    if not images:
        return InputError(
            f"A folder of images must hold images. Received: {folder!r}, which has none."
        )
    return InputError(
        "A folder of images must hold at least one readable image. "
        f"Received: {folder!r}, with {len(images)} that cannot be read: {reasons(folder, images)}."
    )


def _walk(folder):
    """All files below a folder, sorted by path, and (reason, path, parts) of other things.

    Hidden files and folders and `__MACOSX` are left out. Links are followed, except to a folder
    that the link lies in. What is neither a file nor a folder is never opened: it might block.
    """
    files, problems = [], []
    parents, parent = set(), os.path.realpath(folder)
    while True:
        parents.add(_identity(os.stat(parent)))
        parent, last = os.path.dirname(parent), parent
        if parent == last:
            break
    waiting = [((), folder, frozenset(parents))]
    while waiting:
        above, path, passed = waiting.pop()
        try:
            entries = list(os.scandir(path))
        except OSError as error:
            problems.append((f"that cannot be opened ({error.strerror})", path, above))
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            parts, reason = (*above, entry.name), None
            try:
                status = os.stat(entry.path)
            except OSError as error:  # a link to nothing, or to itself
                reason = f"that cannot be opened ({error.strerror})"
            else:
                own = _identity(status)
                if stat.S_ISREG(status.st_mode):
                    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                    files.append(File(parts, entry.path, stamp))
                elif not stat.S_ISDIR(status.st_mode):
                    reason = NO_FILE
                elif own in passed:
                    reason = CIRCLE
                else:
                    waiting.append((parts, entry.path, passed | {own}))
            if reason:
                problems.append((reason, entry.path, parts))
    return sorted(files, key=lambda file: file.path), sorted(problems)


def _identity(status):
    return status.st_dev, status.st_ino


def _roots(folder, files):
    """The splits of a folder: name -> parts of the path to it, `()` for the folder itself."""
    groups = _by_folder(files, 0)
    with_images = [name for name in groups if any(map(_is_image, groups[name]))]
    splits = [name for name in with_images if name.lower() in SPLITS]
    if not splits:
        for name in with_images:
            inner = _by_folder(groups[name], 1)
            inner = [each for each in inner if each.lower() in SPLITS
                     and any(map(_is_image, inner[each]))]  # fmt: skip
            if len(inner) > 1:
                raise InputError(
                    "A folder has classes or splits as its sub-folders. Received: "
                    f"{folder!r}, whose sub-folder {name!r} has the splits {', '.join(inner)}; "
                    "name that one."
                )
        return {"train": ()}
    roots = {_split_of(name): (name,) for name in splits}
    if len(roots) < len(splits):
        raise InputError(
            "A folder has one sub-folder per split. "
            f"Received: {folder!r}, with {', '.join(sorted(splits))}."
        )
    others = [name for name in with_images if name not in splits]
    flat = [file for file in files if len(file.parts) == 1 and _is_image(file)]
    if others and len(splits) == 1 or flat and "train" not in roots:
        beside = ", ".join(others[:NAMES_PER_REASON]) or f"{len(flat)} images"
        raise InputError(
            f"Sub-folders named {SPLIT_NAMES} are splits, and others are classes: a folder has "
            f"one or the other. Received: {folder!r}, with {splits[0]} beside {beside}."
        )
    return roots | {name: (name,) for name in others}


def _by_folder(files, depth):
    """The files by the sub-folder that they lie in: name -> files; those in none are left out."""
    groups = {}
    for file in files:
        if len(file.parts) > depth + 1:
            groups.setdefault(file.parts[depth], []).append(file)
    return groups


def _split_of(name):
    return SPLITS.get(name.lower(), name)


def _header(file):
    return _read_once(file.path, file.stamp)


def _is_image(file):
    return isinstance(_header(file), Header)


@functools.lru_cache(maxsize=2**20)
def _read_once(path, stamp):
    return read_header(path)
