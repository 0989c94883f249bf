"""Interpolation and traversal of latents, and their images."""

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.checks import check_choice, check_count
from keras_genimg.core import ImageModel
from keras_genimg.errors import InputError
from keras_genimg.latents.checks import checked_floats, checked_labels, checked_latents

__all__ = ["attribute_direction", "decode", "interpolate", "traverse"]


def decode(
    model: ImageModel, latents: ArrayLike, labels: ArrayLike | None = None, *, batch_size: int = 256
) -> np.ndarray:
    """Generates the images of latents, in batches.

    Args:
        model: a model with a `latent_dim`.
        latents: float array `(..., latent_dim)`, such as `(n, k, latent_dim)` of n
            interpolations.
        labels: integers or names of classes, for conditional models: one, or an array whose shape
            begins that of the latents: `(n,)` is one class per interpolation.
        batch_size: int. Images per batch.

    Returns:
        NumPy float32 array `(..., height, width, channels)` in [-1, 1].

    Raises:
        InputError: invalid latents or labels.

    Example:
    >>> walks = latents.interpolate(gan, starts, ends, 10)  # (8, 64), (8, 64) -> (8, 10, 64)
    >>> latents.decode(gan, walks).shape
    (8, 10, 28, 28, 1)
    """
    latents = checked_latents(model, latents, "latents")
    check_count("batch_size", batch_size)
    shape = latents.shape[:-1]
    labels = checked_labels(model, labels, shape)
    latents = latents.reshape(-1, latents.shape[-1])  # (..., d) -> (n, d)
    images = model.decode(latents, *labels, batch_size=batch_size)
    return images.reshape(*shape, *images.shape[1:])  # (n, h, w, c) -> (..., h, w, c)


def interpolate(
    model: ImageModel, start: ArrayLike, end: ArrayLike, num_steps: int, method: str = "linear"
) -> np.ndarray:
    """Latents from one to another, both included.

    Args:
        model: a model with a `latent_dim`.
        start: float array `(latent_dim,)`, or `(n, latent_dim)` for n interpolations.
        end: float array of the same shape.
        num_steps: int of at least 2. Latents per interpolation (k).
        method: `"linear"`, the straight line; or `"spherical"`, along the great circle, with
            the norm interpolated linearly. Normal noise in many dimensions has a nearly
            constant norm; the middle of a line is much shorter, unlike any latent that the
            model was trained on.

    Returns:
        NumPy float32 array `(k, latent_dim)`, or `(n, k, latent_dim)`.

    Raises:
        InputError: invalid latents; ends without a unique great circle.

    Example:
    >>> start, end = gan.draw_latents(2, seed=0)
    >>> latents.interpolate(gan, start, end, 10, method="spherical").shape
    (10, 64)

    Reference: White (2016), section 2.1, https://arxiv.org/abs/1609.04468
    """
    start, end = (checked_latents(model, *given) for given in ((start, "start"), (end, "end")))
    if start.shape != end.shape or start.ndim > 2:
        raise InputError(
            "start and end must have the same shape, (latent_dim,) or (n, latent_dim). "
            f"Received: {start.shape} and {end.shape}."
        )
    check_count("num_steps", num_steps, minimum=2)
    check_choice("method", method, METHODS)
    start, end = (array[..., None, :].astype("float64") for array in (start, end))  # (..., 1, d)
    t = np.linspace(0.0, 1.0, num_steps)[:, None]  # (k, 1)
    return METHODS[method](start, end, t).astype("float32")  # (..., k, d)


def _linear(start, end, t):
    return (1.0 - t) * start + t * end


def _spherical(start, end, t):
    norms = [np.linalg.norm(array, axis=-1, keepdims=True) for array in (start, end)]
    if min(norm.min() for norm in norms) == 0:
        raise InputError(
            "A spherical interpolation needs ends other than 0. Received: a latent of zeros."
        )
    start, end = start / norms[0], end / norms[1]
    angle = np.arccos(np.clip(np.sum(start * end, axis=-1, keepdims=True), -1.0, 1.0))
    if angle.max() > np.pi - 1e-6:
        raise InputError(
            "A spherical interpolation needs ends that are not opposite, because the great circle "
            "between those is not unique. Received: such a pair."
        )
    # If the ends have the same direction, the sines are 0 and the circle is the line.
    straight = angle < 1e-6
    sine = np.where(straight, 1.0, np.sin(angle))
    first = np.where(straight, 1.0 - t, np.sin((1.0 - t) * angle) / sine)
    second = np.where(straight, t, np.sin(t * angle) / sine)
    return (first * start + second * end) * _linear(*norms, t)


METHODS = {"linear": _linear, "spherical": _spherical}


def traverse(
    model: ImageModel, latents: ArrayLike, dimension: int, values: ArrayLike
) -> np.ndarray:
    """Latents with one dimension set to each of several values.

    Args:
        model: a model with a `latent_dim`.
        latents: float array `(latent_dim,)` or `(n, latent_dim)`.
        dimension: int. Index of the dimension that changes.
        values: float sequence `(k,)`, such as `np.linspace(-3, 3, 9)`.

    Returns:
        NumPy float32 array `(k, latent_dim)`, or `(n, k, latent_dim)`.

    Raises:
        InputError: invalid latents or values, or a dimension out of range.

    Example:
    >>> latents.traverse(vae, vae.encode(images), 3, np.linspace(-3, 3, 9)).shape
    (8, 9, 32)
    """
    latents = checked_latents(model, latents, "latents")
    values = checked_floats(values, "values")
    if values.ndim != 1 or not values.size or latents.ndim > 2:
        raise InputError(
            "traverse takes latents (latent_dim,) or (n, latent_dim), and values (k,). "
            f"Received: shapes {latents.shape} and {values.shape}."
        )
    check_count("dimension", dimension, 0, latents.shape[-1] - 1)
    walks = np.repeat(latents[..., None, :], len(values), axis=-2)  # (..., d) -> (..., k, d)
    walks[..., dimension] = values
    return walks


def attribute_direction(latents: ArrayLike, has_attribute: ArrayLike) -> np.ndarray:
    """The direction of an attribute: from the mean latent without it to the mean with it.

    For random latents, whose variance is the same in all directions, it also separates the
    two groups best (Fisher's discriminant).

    Args:
        latents: float array `(n, latent_dim)`.
        has_attribute: bool array `(n,)`: whether the image of each latent has the attribute,
            according to labels, a classifier or inspection.

    Returns:
        NumPy float32 array `(latent_dim,)` of length 1.

    Raises:
        InputError: other shapes, or an attribute of all latents or of none.

    Example:
    >>> drawn = gan.draw_latents(5000, seed=0).numpy()
    >>> is_bag = classifier.classify(latents.decode(gan, drawn)) == 8
    >>> direction = latents.attribute_direction(drawn, is_bag)
    >>> walk = drawn[0] + np.linspace(-3, 3, 9)[:, None] * direction  # (9, 64)

    Reference: Larsen et al. (2016), https://arxiv.org/abs/1512.09300
    """
    latents = checked_floats(latents, "latents")
    positive = np.asarray(has_attribute)
    if positive.dtype != bool and np.isin(positive, (0, 1)).all():
        positive = positive.astype(bool)
    if latents.ndim != 2 or positive.dtype != bool or positive.shape != latents.shape[:1]:
        raise InputError(
            "attribute_direction takes latents (n, latent_dim) and one bool per latent, (n,). "
            f"Received: shapes {latents.shape} and {positive.shape} of {positive.dtype}."
        )
    if positive.all() or not positive.any():
        raise InputError(
            "has_attribute must be true of some latents and false of others. "
            f"Received: true of {positive.sum()} of {len(positive)}."
        )
    latents = latents.astype("float64")
    difference = latents[positive].mean(axis=0) - latents[~positive].mean(axis=0)  # (d,)
    length = np.linalg.norm(difference)
    if length == 0:
        raise InputError(
            "attribute_direction needs two groups with different means. Received: equal means."
        )
    return (difference / length).astype("float32")
