"""Checks that callbacks share."""

import numpy as np

from keras_genimg.core import ImageModel
from keras_genimg.errors import InputError

__all__ = ["check_generates", "check_one_label_per_image"]


def check_generates(model: ImageModel, callback: str, num_images: int, labels, seed: int) -> None:
    """Checks, before the first step, that a model can generate what a callback will ask for.

    Args:
        model: an image model.
        callback: string. The callback's name, for the message.
        num_images, labels, seed: see `ImageModel.generate`.

    Raises:
        InputError: a model that does not generate images, or has no prior yet; invalid labels or
            seed.
    """
    if model.makes not in ("images", "reconstructions"):
        raise InputError(
            f"{callback} needs a model that generates images. Received: {type(model).__name__}."
        )
    model.generate_batches(num_images, labels, seed)  # checks its arguments, and generates none


def check_one_label_per_image(labels, num_images: int) -> None:
    """Checks the number of labels.

    Args:
        labels: array or list; or one label for all images, or None for the classes in turn.
        num_images: int.

    Raises:
        InputError: another number of labels than of images.
    """
    if np.ndim(labels) and len(labels) != num_images:
        raise InputError(
            "labels must hold one label per image. "
            f"Received: {len(labels)} labels for num_images={num_images}."
        )
