"""Inversion: finds a latent whose image matches a given image or part of one."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count, check_number, check_seed
from keras_genimg.core import ImageModel
from keras_genimg.errors import InputError
from keras_genimg.latents.checks import checked_labels, latent_dim_of
from keras_genimg.precision import at_least_float32

__all__ = ["Inversion", "invert"]

# Noise -> largest absolute value of its latents.
LIMITS = {"uniform": 1.0, "truncated_normal": 2.0}


class Inversion(NamedTuple):
    """Results of `invert`.

    Attributes:
        latents: float32 `(n, latent_dim)`.
        images: float32 `(n, height, width, channels)` in [-1, 1], generated from the latents.
        errors: float32 `(n,)`, mean squared error over the known pixels.
    """

    latents: np.ndarray
    images: np.ndarray
    errors: np.ndarray


def invert(
    model: ImageModel, images: ArrayLike, labels: ArrayLike | None = None, *,
    mask: ArrayLike | None = None, num_steps: int = 300, learning_rate: float = 0.2,
    prior_weight: float = 0.01, num_starts: int = 4, batch_size: int = 32, seed: int | None = None,
) -> Inversion:
    """Finds latents whose images are as near as possible to given ones.

    Gradient descent through the model, whose weights stay fixed. It starts from random latents
    and uses Adam with cosine decay to 0. The loss is the mean squared error over the known
    pixels plus `prior_weight` times the mean square of the latent (-log p(z) of normal noise,
    up to a factor). The start with the smallest loss is kept. With a mask it completes images:
    `np.where(mask[..., None], images, found.images)` fills in the missing pixels.

    Args:
        model: a model with a `latent_dim`.
        images: float array `(n, height, width, channels)` in [-1, 1].
        labels: integers or names of classes `(n,)`, or one for all, for conditional models.
        mask: bool array `(height, width)` or `(n, height, width)`, True for known pixels; None
            if all are known. Unknown pixels may have any value in [-1, 1].
        num_steps: int. Updates of each latent.
        learning_rate: float. Initial learning rate of Adam.
        prior_weight: float. Larger values give more probable images that match less well. A
            small value also helps the search, which otherwise leaves the latents that the
            model was trained on.
        num_starts: int. Searches per image, each from a different latent.
        batch_size: int. Images per batch, each with `num_starts` searches.
        seed: int, optional. Makes the starting points reproducible.

    Returns:
        `Inversion(latents, images, errors)`.

    Raises:
        InputError: invalid images, masks, labels or numbers.

    Example:
    >>> upper = np.arange(28)[:, None] < np.full((28, 28), 14)  # the lower half is missing
    >>> found = latents.invert(gan, images, mask=upper, seed=0)  # (8, 28, 28, 1)
    >>> found.latents.shape, found.images.shape, found.errors.shape
    ((8, 64), (8, 28, 28, 1), (8,))

    Reference: completion: Yeh et al. (2017), https://arxiv.org/abs/1607.07539 (with the
        discriminator's loss as the prior); inversion: Lipton and Tripathi (2017),
        https://arxiv.org/abs/1702.04782
    """
    size = latent_dim_of(model)
    images = model.checked_images(images)
    mask = _checked_mask(mask, images.shape)
    labels = checked_labels(model, labels, images.shape[:1])
    check_count("num_steps", num_steps)
    check_count("num_starts", num_starts)
    check_count("batch_size", batch_size)
    check_number("learning_rate", learning_rate)
    check_number("prior_weight", prior_weight)
    # All at once, so that the latents do not depend on the batch size.
    starts = model.draw_latents(num_starts * len(images), check_seed(seed)).numpy()
    starts = starts.reshape(num_starts, len(images), size)
    found = []
    for first in range(0, len(images), batch_size):
        rows = slice(first, first + batch_size)
        given = [array[rows] for array in (images, mask, *labels)]
        found.append(_search(model, starts[:, rows], *given, num_steps=num_steps,
                             learning_rate=learning_rate, prior_weight=prior_weight))
    return Inversion(*(np.concatenate(parts).astype("float32") for parts in zip(*found)))


def _search(model, starts, images, mask, *labels, num_steps, learning_rate, prior_weight):
    """`Inversion` of one batch, from starts `(S, n, latent_dim)`."""
    count, number, size = starts.shape
    dtype = at_least_float32(model.dtype_policy)
    latents = keras.Variable(starts.reshape(-1, size), dtype=dtype)  # (S*n, d)
    images, mask, *labels = (
        tf.constant(np.concatenate([array] * count)) for array in (images, mask, *labels)
    )
    images, mask = tf.cast(images, dtype), tf.cast(mask, dtype)  # (S*n, h, w, c), (S*n, h, w, 1)
    known = tf.reduce_sum(mask, (1, 2, 3)) * images.shape[-1]  # (S*n,) number of known values
    limit = LIMITS.get(getattr(model, "noise", None))

    def images_and_losses(z):
        """Images of z, their errors and their losses: `(S*n, ...)`."""
        generated = model.images_from_latents(z, *labels)
        errors = tf.reduce_sum(mask * tf.square(generated - images), (1, 2, 3)) / known
        return generated, errors, errors + prior_weight * tf.reduce_mean(tf.square(z), axis=1)

    # Adam is elementwise: the searches of a batch are independent.
    rates = keras.optimizers.schedules.CosineDecay(learning_rate, num_steps)
    optimizer = keras.optimizers.Adam(rates)
    optimizer.build([latents])

    @tf.function(autograph=False)
    def step():
        z = tf.convert_to_tensor(latents)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            loss = tf.reduce_sum(images_and_losses(z)[2])
        optimizer.apply([tape.gradient(loss, z)], [latents])
        if limit is not None:  # the noise never exceeds it
            latents.assign(tf.clip_by_value(latents.value, -limit, limit))

    for _ in range(num_steps):
        step()
    generated, errors, losses = images_and_losses(tf.convert_to_tensor(latents))
    best = np.argmin(tf.reshape(losses, (count, number)), axis=0)  # (n,)
    rows = best * number + np.arange(number)
    return Inversion(*(np.asarray(array)[rows] for array in (latents, generated, errors)))


def _checked_mask(mask, shape):
    """The mask as float32 `(n, height, width, 1)` of 0 and 1."""
    if mask is None:
        return np.ones((*shape[:3], 1), "float32")
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (shape[1:3], shape[:3]):
        raise InputError(
            f"mask must be a bool array {shape[1:3]} or {shape[:3]}. "
            f"Received: {mask.dtype} of shape {mask.shape}."
        )
    mask = np.broadcast_to(mask, shape[:3])
    if not mask.any(axis=(1, 2)).all():
        raise InputError("mask must keep at least one pixel per image. Received: none for one.")
    return mask[..., None].astype("float32")
