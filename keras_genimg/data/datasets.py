"""Finds the image set that a name means."""

import difflib
import os

from keras_genimg.data import glyphs, moving, pictures
from keras_genimg.data.folders import open_folder
from keras_genimg.data.tfds_sets import is_tfds_name, open_tfds, tfds_names
from keras_genimg.errors import InputError

__all__ = ["open_set"]

MOVING = ("moving_glyphs", "moving_mnist")  # the sets of clips


def open_set(name, split, *, image_size, channels, num_images, data_dir, num_frames=None):
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
    if num_frames is not None and name not in MOVING:
        raise InputError(
            f"num_frames is for sets of clips, {' and '.join(MOVING)}. "
            f"Received: num_frames={num_frames} for {os.fspath(name)!r}"
        )
    folder = os.path.expanduser(os.fspath(name))
    is_path = isinstance(name, os.PathLike) or os.path.basename(folder) != folder
    if is_path and os.path.isdir(folder):
        return open_folder(folder, split, **options)
    if name == "glyphs":
        return _open_glyphs(split, **options)
    if name in MOVING:
        return _open_moving(name, split, data_dir=data_dir, num_frames=num_frames, **options)
    # Names come before folders of the same name in the working directory, so that a run kept in
    # the folder "mnist" does not become the data of the next one. "lsun/church" is a name too.
    if isinstance(name, str) and is_tfds_name(name, data_dir):
        return open_tfds(name, split, data_dir=data_dir, **options)
    if is_path or os.path.isdir(folder):
        return open_folder(folder, split, **options)
    near = difflib.get_close_matches(name, ["glyphs", *MOVING, *tfds_names()], n=3)
    hint = f"; the nearest names are {', '.join(near)}" if near else ""
    raise InputError(
        'name must be "glyphs", "moving_glyphs", "moving_mnist", an image set of '
        "tensorflow-datasets or a folder of pictures. "
        f"Received: name={name!r}{hint}"
    )


def _check_glyph_split(split, name):
    if split not in glyphs.SPLIT_SIZES:
        raise InputError(
            f'The split must be one of {sorted(glyphs.SPLIT_SIZES)} for "{name}". '
            f"Received: split={split!r}"
        )


def _open_glyphs(split, *, image_size, channels, num_images):
    _check_glyph_split(split, "glyphs")
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


def _open_moving(name, split, *, image_size, channels, num_images, data_dir, num_frames):
    """Clips of glyphs or of MNIST's digits, scaled down; the shape in `DataInfo` is that of a frame."""
    image_size, num_frames = image_size or (28, 28), num_frames or moving.NUM_FRAMES
    if not all(16 <= side <= 128 for side in image_size):
        raise InputError(
            f'image_size must be from 16 to 128 for "{name}". Received: image_size={image_size}'
        )
    box = (moving.box_side(image_size),) * 2
    if name == "moving_glyphs":
        _check_glyph_split(split, name)
        channels, count = channels or 1, num_images or glyphs.SPLIT_SIZES[split]
        classes = glyphs.NUM_CLASSES

        def open_digits():
            return pictures.read_by_index(
                count, lambda indices: glyphs.draw_glyphs(indices, split, box, channels)
            )

    else:
        digits, open_digits = open_tfds(
            "mnist", split, image_size=box, channels=channels, num_images=num_images, data_dir=data_dir
        )
        (*_, channels), count, classes = digits

    def open_reader():
        reader = open_digits()

        def read(indices):
            images, labels = reader.read(indices)
            return moving.move(images, indices, split, image_size, num_frames), labels

        return reader._replace(read=read)

    return pictures.DataInfo((*image_size, channels), count, classes), open_reader
