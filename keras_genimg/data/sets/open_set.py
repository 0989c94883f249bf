"""Finds the image set with a given name."""

import difflib
import os

from keras_genimg.data.sets.folders import open_folder
from keras_genimg.data.sets.glyphs import open_glyphs
from keras_genimg.data.sets.moving import open_moving
from keras_genimg.data.sets.tfds import is_tfds_name, open_tfds, tfds_names
from keras_genimg.errors import InputError

__all__ = ["open_set"]

MOVING = ("moving_glyphs", "moving_mnist")  # the sets of clips


def open_set(
    name: str | os.PathLike, split: str, data_dir: str | os.PathLike | None,
    num_frames: int | None, **options,
) -> tuple:  # fmt: skip
    """Describes the set with a given name and how to read it.

    Args:
        name, split, data_dir, num_frames: see `load`; already checked.
        **options: `image_size`, a tuple or None, `channels` and `num_images`.

    Returns:
        A `DataInfo`, and a function without arguments that opens a `Reader`, which
        may take long.

    Raises:
        InputError: an unknown name or split, or an argument that is invalid for the set.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"name must be a string or a path. Received: name={name!r}.")
    if num_frames is not None and name not in MOVING:
        raise InputError(
            f"num_frames is only for sets of clips, {' and '.join(MOVING)}. "
            f"Received: num_frames={num_frames} for {os.fspath(name)!r}."
        )
    folder = os.path.expanduser(os.fspath(name))
    is_path = isinstance(name, os.PathLike) or os.path.basename(folder) != folder
    if is_path and os.path.isdir(folder):
        return open_folder(folder, split, **options)
    if name == "glyphs":
        return open_glyphs(split, **options)
    if name in MOVING:
        return open_moving(name, split, data_dir, num_frames, **options)
    # Names take precedence over folders of the same name in the working directory, so that a
    # run saved in the folder "mnist" does not become the data of the next one. "lsun/church"
    # is a name too.
    if isinstance(name, str) and is_tfds_name(name, data_dir):
        return open_tfds(name, split, data_dir, **options)
    if is_path or os.path.isdir(folder):
        return open_folder(folder, split, **options)
    near = difflib.get_close_matches(name, ["glyphs", *MOVING, *tfds_names()], n=3)
    hint = f"; the closest names are {', '.join(near)}" if near else ""
    raise InputError(
        'name must be "glyphs", "moving_glyphs", "moving_mnist", an image set of '
        f"tensorflow-datasets or a folder of images. Received: name={name!r}{hint}."
    )
