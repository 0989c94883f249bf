"""Ways among latents, and the pictures along them."""

import numpy as np
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.latents.checks import checked_floats, checked_labels, checked_latents
from keras_genimg.networks import check_count

__all__ = ["attribute_direction", "decode", "interpolate", "traverse"]

METHODS = ("linear", "spherical")


def decode(model, latents, labels=None, *, batch_size=256):
    """Makes pictures of latents, in batches.

    Args:
        model: a model with a `latent_dim`.
        latents: float array `(..., latent_dim)`, such as the `(n, k, latent_dim)` of n walks.
        labels: integers, for conditional models: one, or an array that begins as the latents
            do: `(n,)` is one class a walk.
        batch_size: int. Pictures made at once.

    Returns:
        NumPy float32 array `(..., height, width, channels)` in [-1, 1].

    Raises:
        InputError: latents or labels that do not fit the model.

    Example:
    >>> walks = latents.interpolate(gan, starts, ends, 10)  # (8, 64), (8, 64) -> (8, 10, 64)
    >>> latents.decode(gan, walks).shape
    (8, 10, 28, 28, 1)
    """
    latents = checked_latents(model, latents, "latents")
    check_count("batch_size", batch_size)
    places = latents.shape[:-1]
    latents = latents.reshape(-1, latents.shape[-1])  # (..., d) -> (n, d)
    given = [latents, *checked_labels(model, labels, places)]
    make = model._compiled("images_from_latents")
    parts = [
        make(*(tf.constant(array[first : first + batch_size]) for array in given)).numpy()
        for first in range(0, len(latents), batch_size)
    ]
    images = np.concatenate(parts)
    return images.reshape(*places, *images.shape[1:])  # (n, h, w, c) -> (..., h, w, c)


def interpolate(model, start, end, num_steps, method="linear"):
    """Latents on the way from one to another, both ends among them.

    Args:
        model: a model with a `latent_dim`.
        start: float array `(latent_dim,)`, or `(n, latent_dim)` for n walks.
        end: float array of the same shape.
        num_steps: int from 2. Latents a walk (k).
        method: `"linear"`, the straight line; or `"spherical"`, along the great circle, the
            norm going evenly from that of the start to that of the end. Normal noise in many
            dimensions has nearly one norm, and the middle of a line is much shorter: no
            latent that the model was trained on.

    Returns:
        NumPy float32 array `(k, latent_dim)`, or `(n, k, latent_dim)`.

    Raises:
        InputError: latents that do not fit; ends between which there is no great circle.

    Example:
    >>> start, end = gan.draw_latents(2, seed=0)
    >>> latents.interpolate(gan, start, end, 10, method="spherical").shape
    (10, 64)

    Reference: White (2016), section 2.1, https://arxiv.org/abs/1609.04468
    """
    start, end = (checked_latents(model, *given) for given in ((start, "start"), (end, "end")))
    if start.shape != end.shape or start.ndim > 2:
        raise InputError(
            "start and end must have one shape, (latent_dim,) or (n, latent_dim). "
            f"Received: {start.shape} and {end.shape}."
        )
    check_count("num_steps", num_steps, minimum=2)
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}. Received: {method!r}.")
    start, end = (array[..., None, :].astype("float64") for array in (start, end))  # (..., 1, d)
    way = np.linspace(0.0, 1.0, num_steps)[:, None]  # (k, 1)
    walk = _on_the_sphere if method == "spherical" else _on_the_line
    return walk(start, end, way).astype("float32")  # (..., k, d)


def _on_the_line(start, end, way):
    return (1.0 - way) * start + way * end


def _on_the_sphere(start, end, way):
    norms = [np.linalg.norm(array, axis=-1, keepdims=True) for array in (start, end)]
    if min(norm.min() for norm in norms) == 0:
        raise InputError("A spherical interpolation needs ends other than 0. Received: a latent of zeros.")
    start, end = start / norms[0], end / norms[1]
    angle = np.arccos(np.clip(np.sum(start * end, axis=-1, keepdims=True), -1.0, 1.0))
    if angle.max() > np.pi - 1e-6:
        raise InputError(
            "A spherical interpolation needs ends that are not opposite, between which every great "
            "circle is as short. Received: such a pair."
        )
    # Where the ends have one direction the sines are 0, and the line is the circle.
    straight = angle < 1e-6
    sine = np.where(straight, 1.0, np.sin(angle))
    first = np.where(straight, 1.0 - way, np.sin((1.0 - way) * angle) / sine)
    second = np.where(straight, way, np.sin(way * angle) / sine)
    return (first * start + second * end) * _on_the_line(*norms, way)


def traverse(model, latents, dimension, values):
    """Latents with one of their numbers set to each of several values.

    Args:
        model: a model with a `latent_dim`.
        latents: float array `(latent_dim,)` or `(n, latent_dim)`.
        dimension: int. Which number of the latent.
        values: float sequence `(k,)`, such as `np.linspace(-3, 3, 9)`.

    Returns:
        NumPy float32 array `(k, latent_dim)`, or `(n, k, latent_dim)`.

    Raises:
        InputError: latents or values that do not fit, a dimension that is not there.

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
    size = latents.shape[-1]
    whole = isinstance(dimension, (int, np.integer)) and not isinstance(dimension, bool)
    if not whole or not 0 <= dimension < size:
        raise InputError(
            f"dimension must be an integer from 0 to {size - 1}. Received: dimension={dimension!r}."
        )
    walks = np.repeat(latents[..., None, :], len(values), axis=-2)  # (..., d) -> (..., k, d)
    walks[..., dimension] = values
    return walks


def attribute_direction(latents, has_attribute):
    """The direction in which pictures gain an attribute: from the mean without to that with.

    Of latents that were drawn at random, and so are spread alike in all directions, it is
    also the one that tells the two groups apart best (Fisher's discriminant).

    Args:
        latents: float array `(n, latent_dim)`.
        has_attribute: bool array `(n,)`: whether the picture of each has the attribute, as
            labels, a classifier or a look at it tell.

    Returns:
        NumPy float32 array `(latent_dim,)` of length 1.

    Raises:
        InputError: other shapes, or an attribute that all or none have.

    Example:
    >>> drawn = gan.draw_latents(5000, seed=0).numpy()
    >>> is_bag = classifier.classify(latents.decode(gan, drawn)) == 8
    >>> direction = latents.attribute_direction(drawn, is_bag)
    >>> walk = drawn[0] + np.linspace(-3, 3, 9)[:, None] * direction  # (9, 64)

    Reference: Larsen et al. (2016), https://arxiv.org/abs/1512.09300
    """
    latents = checked_floats(latents, "latents")
    with_it = np.asarray(has_attribute)
    if with_it.dtype != bool and np.isin(with_it, (0, 1)).all():
        with_it = with_it.astype(bool)
    if latents.ndim != 2 or with_it.dtype != bool or with_it.shape != latents.shape[:1]:
        raise InputError(
            "attribute_direction takes latents (n, latent_dim) and a bool for each, (n,). "
            f"Received: shapes {latents.shape} and {with_it.shape} of {with_it.dtype}."
        )
    if with_it.all() or not with_it.any():
        raise InputError(
            "has_attribute must be true of some latents and false of others. "
            f"Received: true of {with_it.sum()} of {len(with_it)}."
        )
    latents = latents.astype("float64")
    difference = latents[with_it].mean(axis=0) - latents[~with_it].mean(axis=0)  # (d,)
    length = np.linalg.norm(difference)
    if length == 0:
        raise InputError(
            "attribute_direction needs two groups with different means. Received: one mean for both."
        )
    return (difference / length).astype("float32")
