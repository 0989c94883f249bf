"""Checks of latents and their labels."""

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.checks import is_integer
from keras_genimg.core import ImageModel
from keras_genimg.errors import InputError

__all__ = ["checked_floats", "checked_labels", "checked_latents", "latent_dim_of"]


def latent_dim_of(model: ImageModel) -> int:
    """Length of a model's latents.

    Args:
        model: a model with a `latent_dim`.

    Returns:
        int.

    Raises:
        InputError: any other model.
    """
    size = getattr(model, "latent_dim", None)
    if not isinstance(model, ImageModel) or not is_integer(size):
        raise InputError(
            "Functions of latents need a model that generates images from latents "
            f"(n, latent_dim). Received: {type(model).__name__}."
        )
    return size


def checked_floats(values: ArrayLike, name: str) -> np.ndarray:
    """Finite numbers as a new float32 array.

    Args:
        values: numbers.
        name: string. Their name in messages.

    Returns:
        float32 array.

    Raises:
        InputError: values that are not finite numbers.
    """
    array = np.asarray(values)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"{name} must be numbers. Received: {array.dtype}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite numbers. Received: NaN or infinity among them.")
    return array.astype("float32")


def checked_latents(model: ImageModel, latents: ArrayLike, name: str) -> np.ndarray:
    """Latents of a model.

    Args:
        model: a model with a `latent_dim`.
        latents: floats `(..., latent_dim)`.
        name: string. Their name in messages.

    Returns:
        float32 array of the same shape.

    Raises:
        InputError: any other model, the wrong shape, or values that are not finite numbers.
    """
    size = latent_dim_of(model)
    array = checked_floats(latents, name)
    if array.ndim == 0 or array.shape[-1] != size or not array.size:
        raise InputError(
            f"{name} must be latents of {type(model).__name__}, of shape (..., {size}). "
            f"Received: shape {array.shape}."
        )
    return array


def checked_labels(model: ImageModel, labels: ArrayLike | None, shape: tuple) -> list:
    """Labels as a list of arguments of `images_from_latents`.

    Args:
        model: an image model.
        labels: one integer or name of a class, or an array of them whose shape begins `shape`;
            None for a model without classes.
        shape: tuple. The shape of the latents without their last axis.

    Returns:
        `[int32 (n,)]` for a conditional model, one label per latent; `[]` for any other.

    Raises:
        InputError: labels that are missing, invalid, or for a model without classes.
    """
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != shape[: labels.ndim]:
            raise InputError(
                "labels must be one label, or an array over the first axes of the latents, "
                f"{shape}. Received: shape {labels.shape}."
            )
        labels = labels.reshape(labels.shape + (1,) * (len(shape) - labels.ndim))
        labels = np.broadcast_to(labels, shape).ravel()
    return model.checked_labels(labels, int(np.prod(shape)))
