"""Which images a run is trained on, and which are held out."""

import os

from keras_genimg.data import data_info
from keras_genimg.data.images import UnknownSplit
from keras_genimg.data.pipeline import open_set
from keras_genimg.errors import InputError

__all__ = ["held_out_split", "readable_images", "same_set", "training_split"]


def training_split(name: str, holdout: float | None = None, **source) -> str:
    """The split or slice of a set that a run is trained on.

    Args:
        name: str, see `load`.
        holdout: float, optional. The share of the training images that is held out.
        **source: other arguments of `data_info`.

    Raises:
        InputError: a share that leaves no image on one side.
    """
    return f"train[:{_cut(name, holdout, source)}]" if holdout else "train"


def held_out_split(name: str, holdout: float | None = None, **source) -> str:
    """The split or slice to evaluate on: what a run has held out, or else the test split.

    A set without a test split is evaluated on its validation split, one without either on its
    training images.

    Args:
        name, holdout, **source: see `training_split`.
    """
    if holdout:
        return f"train[{_cut(name, holdout, source)}:]"
    for split in ("test", "validation"):
        try:
            data_info(name, split, **source)
            return split
        except UnknownSplit:
            pass
    return "train"


def readable_images(
    name: str, split: str, image_size: int | tuple | None = None,
    data_dir: str | None = None, channels: int | None = None, num_images: int | None = None,
    num_frames: int | None = None,
) -> tuple:  # fmt: skip
    """The number of images of a split that can be read, and what is skipped: reason -> count."""
    opened = open_set(name, split, image_size, data_dir, channels, num_images, num_frames)
    reader = opened[1]()
    return reader.num_images, dict(reader.skipped)


def same_set(name: str, other: str) -> bool:
    """Whether two names stand for the same set: "photos" and "photos/" do."""
    return name == other or os.path.realpath(name) == os.path.realpath(other)


def _cut(name, holdout, source):
    """How many images come before those that are held out."""
    count = data_info(name, "train", **source).num_images
    cut = count - round(holdout * count)
    if not 0 < cut < count:
        raise InputError(
            "--holdout must leave images to train on and images to evaluate on. "
            f"Received: --holdout {holdout:g} of {count} images."
        )
    return cut
