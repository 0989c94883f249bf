"""A check that callbacks share."""

from keras_genimg.core import ImageModel
from keras_genimg.errors import InputError

__all__ = ["check_generates"]


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
