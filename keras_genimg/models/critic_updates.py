"""How the batch of a step is shared out among its n_critic updates of the critic."""

import numpy as np
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError
from keras_genimg.models.checks import first_two
from keras_genimg.networks import check_count

__all__ = ["check_step_batch", "images_of_update"]

UPDATE_BATCH = 32  # pictures an update, where nothing is said: Keras's own default


def check_step_batch(model, x, batch_size):
    """Checks that the batches of `fit` divide by n_critic, as far as their size is known.

    Args:
        model: model with an attribute `n_critic`.
        x, batch_size: as `fit` was given them.

    Returns:
        int or None: the `batch_size` to hand to Keras; 32 pictures an update where
        an array came without one.

    Raises:
        InputError: a size that does not divide.
    """
    size, number = None, model.n_critic
    if isinstance(x, (np.ndarray, tf.Tensor)):
        batch_size = number * UPDATE_BATCH if batch_size is None else batch_size
        size = check_count("batch_size", batch_size)
    elif isinstance(x, tf.data.Dataset):
        shape = tf.TensorShape(getattr(first_two(x.element_spec)[0], "shape", None))
        size = shape[0] if shape.rank else None
    if size is not None and size % number:
        below = size // number * number
        fitting = f"{below} or {below + number}" if below else f"{number}"
        raise InputError(
            f"{type(model).__name__} takes batches of n_critic={number} times the pictures of one "
            f"update of the critic, such as {fitting}. Received: batches of {size}."
        )
    return batch_size


def images_of_update(images, batch, update, n_critic):
    """The pictures of one update: every n_critic-th of the global batch from `update` on.

    Strided over the global batch, so that the parts of the replicas add up to the
    same pictures whatever the number of replicas. Where the batch does not divide
    (the last of a pass), updates differ by one picture; where it leaves a replica
    fewer pictures than updates, that replica goes through them again, as an
    update cannot go without.

    Args:
        images: tensor `(n, ...)`, this replica's part of the batch of the step.
        batch: its `keras_genimg.distribution.GlobalBatch`.
        update: int from 0 to n_critic - 1.
        n_critic: int.

    Returns:
        images: tensor `(about n / n_critic, ...)`.
        batch: the `GlobalBatch` of the update.
    """
    # Global row r is local row r - first.
    first = (update - batch.first) % n_critic % batch.size
    images = images[first::n_critic]  # (n, h, w, c) -> (B, h, w, c)
    return images, distribution.global_batch(images)
