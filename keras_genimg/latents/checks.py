"""Checks of latents and of what belongs to them: each raises one clear `InputError`."""

import numpy as np

from keras_genimg.errors import InputError
from keras_genimg.models.checks import check_labels

__all__ = ["checked_floats", "checked_labels", "checked_latents", "latent_dim_of"]


def latent_dim_of(model):
    """Length of the latents that a model makes pictures of."""
    size = getattr(model, "latent_dim", None)
    if not isinstance(size, int) or not hasattr(model, "images_from_latents"):
        raise InputError(
            "The tools of latents need a model that makes pictures of latents (n, latent_dim). "
            f"Received: {type(model).__name__}."
        )
    return size


def checked_floats(values, name):
    """Finite numbers as float32, in an array of their own or not."""
    array = np.asarray(values)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"{name} must be numbers. Received: {array.dtype}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite numbers. Received: NaN or infinity among them.")
    return array.astype("float32")


def checked_latents(model, latents, name):
    """Latents `(..., latent_dim)` as float32."""
    size = latent_dim_of(model)
    array = checked_floats(latents, name)
    if array.ndim == 0 or array.shape[-1] != size or not array.size:
        raise InputError(
            f"{name} must be latents of {type(model).__name__}, of shape (..., {size}). "
            f"Received: shape {array.shape}."
        )
    return array


def checked_labels(model, labels, places):
    """What `images_from_latents` takes beside latents: `[]`, or `[int32 (n,)]`, a place each."""
    if not model.needs_labels:
        if labels is not None:
            raise InputError(
                f"{type(model).__name__} makes pictures without labels. Received: labels."
            )
        return []
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != places[: labels.ndim]:
            raise InputError(
                f"labels must be one class, or begin as the latents do, {places}. "
                f"Received: shape {labels.shape}."
            )
        labels = labels.reshape(labels.shape + (1,) * (len(places) - labels.ndim))
        labels = np.broadcast_to(labels, places).ravel()
    return [check_labels(labels, model.num_classes, int(np.prod(places)))]
