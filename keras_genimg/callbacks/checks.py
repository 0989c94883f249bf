"""Checks that callbacks share."""

from numpy.typing import ArrayLike

from keras_genimg.core import ImageModel
from keras_genimg.errors import InputError

__all__ = ["check_generates", "check_one_label_per_image"]


def check_generates(model: ImageModel, seed: int, callback: str) -> None:
    """Checks that a model can generate images now.

    Args:
        model: an image model.
        seed: int. Seed of the latents.
        callback: string. The callback's name, for the message.

    Raises:
        InputError: a model that does not generate images, or has no prior yet.
    """
    if model.makes not in ("images", "reconstructions"):
        raise InputError(
            f"{callback} needs a model that generates images. Received: {type(model).__name__}."
        )
    model.draw_latents(1, seed)  # raises if a prior is missing


def check_one_label_per_image(labels: ArrayLike | None, num_images: int) -> None:
    """Checks the number of labels.

    Args:
        labels: array, or None for no labels.
        num_images: int.

    Raises:
        InputError: another number of labels than of images.
    """
    if labels is not None and len(labels) != num_images:
        raise InputError(
            "labels must hold one label per image. "
            f"Received: {len(labels)} labels for num_images={num_images}."
        )
