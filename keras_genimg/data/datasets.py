"""Finds the image set that a name means."""

import difflib
import os

from keras_genimg.data import glyphs, pictures
from keras_genimg.data.folders import open_folder
from keras_genimg.data.tfds_sets import is_tfds_name, open_tfds, tfds_names
from keras_genimg.errors import InputError

__all__ = ["open_set"]


def open_set(name, split, *, image_size, channels, num_images, data_dir):
    """Describes the set that `name` means and how to read it.

    Args: as `load` has them, checked; `image_size` is a tuple or None.

    Returns:
        A `DataInfo`, and a function without arguments that opens a `Reader`, which
        may take long.

    Raises:
        InputError: if the name, the split or an argument does not fit the set.
    """
    options = {"image_size": image_size, "channels": channels, "num_images": num_images}
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"name must be a string or a path. Received: name={name!r}")
    folder = os.path.expanduser(os.fspath(name))
    is_path = isinstance(name, os.PathLike) or os.path.basename(folder) != folder
    if is_path and os.path.isdir(folder):
        return open_folder(folder, split, **options)
    if name == "glyphs":
        return _open_glyphs(split, **options)
    # Names come before folders of the same name in the working directory, so that a run kept in
    # the folder "mnist" does not become the data of the next one. "lsun/church" is a name too.
    if isinstance(name, str) and is_tfds_name(name, data_dir):
        return open_tfds(name, split, data_dir=data_dir, **options)
    if is_path or os.path.isdir(folder):
        return open_folder(folder, split, **options)
    near = difflib.get_close_matches(name, ["glyphs", *tfds_names()], n=3)
    hint = f"; the nearest names are {', '.join(near)}" if near else ""
    raise InputError(
        'name must be "glyphs", an image set of tensorflow-datasets or a folder of pictures. '
        f"Received: name={name!r}{hint}"
    )


def _open_glyphs(split, *, image_size, channels, num_images):
    if split not in glyphs.SPLIT_SIZES:
        raise InputError(
            f'The split must be one of {sorted(glyphs.SPLIT_SIZES)} for "glyphs". '
            f"Received: split={split!r}"
        )
    image_size, channels = image_size or (28, 28), channels or 1
    if not all(16 <= side <= 256 for side in image_size):
        raise InputError(
            f'image_size must be from 16 to 256 for "glyphs". Received: image_size={image_size}'
        )
    count = num_images or glyphs.SPLIT_SIZES[split]
    info = pictures.DataInfo((*image_size, channels), count, glyphs.NUM_CLASSES)

    def read(indices):
        return glyphs.draw_glyphs(indices, split, image_size, channels)

    return info, lambda: pictures.read_by_index(count, read)
