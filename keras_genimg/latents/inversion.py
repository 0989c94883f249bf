"""From a picture, or a part of one, to the latent that it could be made of."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.latents.checks import checked_labels, latent_dim_of
from keras_genimg.models.checks import check_number, check_seed
from keras_genimg.networks import check_count

__all__ = ["Inversion", "invert"]

# Noise -> how far from 0 a latent of it can be.
LIMITS = {"uniform": 1.0, "truncated_normal": 2.0}


class Inversion(NamedTuple):
    """What `invert` found.

    Attributes:
        latents: float32 `(n, latent_dim)`.
        images: float32 `(n, height, width, channels)` in [-1, 1], made of those latents.
        errors: float32 `(n,)`, mean squared error over the pixels that count.
    """

    latents: np.ndarray
    images: np.ndarray
    errors: np.ndarray


def invert(
    model,
    images,
    *,
    mask=None,
    labels=None,
    num_steps=300,
    learning_rate=0.2,
    prior_weight=0.01,
    num_starts=4,
    batch_size=32,
    seed=None,
):
    """Searches for latents whose pictures are as near as can be to given ones.

    Gradient descent through the model, whose weights stay as they are: from latents drawn at
    random, by Adam with a rate that falls to 0 along a cosine, on the mean squared error over
    the pixels that count, plus `prior_weight` times the mean square of the latent (-log p(z)
    of normal noise but for a factor). Of several starts the one with the least loss is kept.
    With a mask it completes pictures: the model makes up what is missing,
    `np.where(mask[..., None], images, found.images)`.

    Args:
        model: a model with a `latent_dim`.
        images: float array `(n, height, width, channels)` in [-1, 1].
        mask: bool array `(height, width)` or `(n, height, width)`, True where a pixel counts;
            None where all do. What is masked may hold any value in [-1, 1].
        labels: integers `(n,)`, for conditional models: the class of each picture.
        num_steps: int. Updates of each latent.
        learning_rate: float. Rate of Adam at the start.
        prior_weight: float. More of it gives likelier pictures that fit less well. A little
            also helps the search, which otherwise strays far from what the model knows.
        num_starts: int. Searches a picture, each from a latent of its own.
        batch_size: int. Pictures searched for at once, times `num_starts`.
        seed: int, optional. Makes the starts repeatable.

    Returns:
        `Inversion(latents, images, errors)`.

    Raises:
        InputError: pictures, masks, labels or numbers that do not fit.

    Example:
    >>> upper = np.arange(28)[:, None] < np.full((28, 28), 14)  # the lower half is missing
    >>> found = latents.invert(gan, pictures, mask=upper, seed=0)  # (8, 28, 28, 1)
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
    for name, value in (("num_steps", num_steps), ("num_starts", num_starts), ("batch_size", batch_size)):
        check_count(name, value)
    check_number("learning_rate", learning_rate)
    check_number("prior_weight", prior_weight)
    # All at once: no batch size in the numbers.
    starts = model.draw_latents(num_starts * len(images), check_seed(seed)).numpy()
    starts = starts.reshape(num_starts, len(images), size)
    found = []
    for first in range(0, len(images), batch_size):
        rows = slice(first, first + batch_size)
        given = [array[rows] for array in (images, mask, *labels)]
        found.append(_search(model, starts[:, rows], *given, num_steps=num_steps,
                             learning_rate=learning_rate, prior_weight=prior_weight))
    return Inversion(*(np.concatenate(parts) for parts in zip(*found)))


def _search(model, starts, images, mask, *labels, num_steps, learning_rate, prior_weight):
    """`Inversion` of one batch, from starts `(S, n, latent_dim)`."""
    count, number, size = starts.shape
    latents = keras.Variable(starts.reshape(-1, size), dtype="float32")  # (S*n, d)
    images, mask, *labels = (np.concatenate([array] * count) for array in (images, mask, *labels))
    images, mask = tf.constant(images), tf.constant(mask)  # (S*n, h, w, c), (S*n, h, w, 1)
    labels = [tf.constant(array) for array in labels]
    kept = tf.reduce_sum(mask, (1, 2, 3)) * images.shape[-1]  # (S*n,) values that count
    limit = LIMITS.get(getattr(model, "noise", None))

    def look(z):
        """Pictures of z, their errors and their losses: `(S*n, ...)`."""
        made = model.images_from_latents(z, *labels)
        errors = tf.reduce_sum(mask * tf.square(made - images), (1, 2, 3)) / kept
        return made, errors, errors + prior_weight * tf.reduce_mean(tf.square(z), axis=1)

    # Adam looks at each number by itself: the searches of a batch do not mix.
    rates = keras.optimizers.schedules.CosineDecay(learning_rate, num_steps)
    optimizer = keras.optimizers.Adam(rates)
    optimizer.build([latents])

    @tf.function(autograph=False)
    def step():
        z = tf.convert_to_tensor(latents)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            loss = tf.reduce_sum(look(z)[2])
        optimizer.apply([tape.gradient(loss, z)], [latents])
        if limit is not None:  # no noise lies beyond
            latents.assign(tf.clip_by_value(latents.value, -limit, limit))

    for _ in range(num_steps):
        step()
    made, errors, losses = look(tf.convert_to_tensor(latents))
    best = np.argmin(tf.reshape(losses, (count, number)), axis=0)  # (n,)
    rows = best * number + np.arange(number)
    return Inversion(*(np.asarray(array)[rows] for array in (latents, made, errors)))


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
        raise InputError("mask must leave a pixel of every picture. Received: one that leaves none.")
    return mask[..., None].astype("float32")
