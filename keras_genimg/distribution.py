"""Everything the package knows about replicas.

The promise is that one global batch gives the same weights on one replica, on
several (`tf.distribute.MirroredStrategy`) and on several workers
(`tf.distribute.MultiWorkerMirroredStrategy`). Three things keep it:

- a loss is weighted by the replica's share of the global batch, because an
  optimizer sums gradients over replicas;
- random numbers are drawn for the global batch and each replica keeps the rows
  of its own images, because a `keras.random.SeedGenerator` gives every replica
  the same seed;
- statistics that are not sums of per-image terms (batch moments, codebook
  counts) are summed over replicas before they are used.

Without a strategy each function here reduces to the obvious one-liner.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from keras_genimg.precision import at_least_float32
from keras_genimg.workers import from_chief, get_strategy, is_chief

__all__ = [
    "GlobalBatch", "batch_mean", "from_chief", "get_strategy", "global_batch", "is_chief",
    "random_normal", "random_truncated_normal", "random_uniform", "sum_over_replicas",
    "weighted", "whole_batch",
]


class GlobalBatch(NamedTuple):
    """The position of a replica's images in the global batch.

    Attributes:
        size: int or int32 scalar. Images on this replica (n).
        first: int or int32 scalar. Row of this replica's first image in the
            global batch.
        global_size: int or int32 scalar. Images on all replicas (N).
        share: float scalar, n / N. A loss that is a mean over this replica's
            images, times `share`, sums over replicas to the mean over the
            global batch.
        weights: float tensor `(n,)`, the `sample_weight` of this replica's images, or None.
    """

    size: int | tf.Tensor
    first: int | tf.Tensor
    global_size: int | tf.Tensor
    share: float | tf.Tensor
    weights: tf.Tensor | None = None

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Mean over this replica's images, weighted as Keras weights a loss: sum(w v) / n.

        Args:
            values: float tensor `(n, ...)`, this replica's rows.

        Returns:
            Scalar. Times `share` it sums over replicas to the mean over the global batch.
        """
        return tf.reduce_mean(weighted(values, self.weights))


def weighted(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Values times the weights of their images.

    Args:
        values: float tensor `(n, ...)`, one row per image.
        weights: float tensor `(n,)`, or None for `values` as they are.

    Returns:
        tensor of the shape and type of `values`.
    """
    if weights is None:
        return values
    shape = (-1, *[1] * (len(values.shape) - 1))  # (n,) -> (n, 1, ..., 1)
    return values * tf.reshape(tf.cast(weights, values.dtype), shape)


def _several_replicas():
    """The replica context if there is more than one replica, else None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def global_batch(tensor: tf.Tensor, dtype: str | None = None) -> GlobalBatch:
    """Finds the position of this replica's batch in the global batch.

    Args:
        tensor: tensor of shape `(n, ...)`, this replica's part of the batch.
        dtype: string. Type of `share`, by default float64 for a float64 tensor and float32 for
            all others.

    Returns:
        A `GlobalBatch`. Replicas may hold different numbers of images (the
        last batch of an epoch).
    """
    dtype = dtype or at_least_float32(tf.as_dtype(tensor.dtype))
    size = tensor.shape[0] if tensor.shape[0] is not None else tf.shape(tensor)[0]
    context = _several_replicas()
    if context is None:
        return GlobalBatch(size, 0, size, tf.ones((), dtype))
    number = context.num_replicas_in_sync
    here = tf.one_hot(context.replica_id_in_sync_group, number, dtype=tf.int32)
    sizes = context.all_reduce(tf.distribute.ReduceOp.SUM, here * size)  # (replicas,)
    first = tf.reduce_sum(sizes * tf.cumsum(here, exclusive=True, reverse=True))
    total = tf.reduce_sum(sizes)
    share = tf.cast(size, dtype) / tf.cast(total, dtype)
    return GlobalBatch(tf.convert_to_tensor(size), first, total, share)


def whole_batch(size: int | tf.Tensor) -> GlobalBatch:
    """The `GlobalBatch` of images that are all in one place, outside any replica.

    Args:
        size: int or int32 scalar. Number of images.

    Returns:
        `GlobalBatch` of that size, from row 0, with a share of 1.
    """
    return GlobalBatch(size, 0, size, 1.0)


def sum_over_replicas(tensors: tf.Tensor | list) -> tf.Tensor | list:
    """Sums tensors over the replicas.

    Args:
        tensors: tensor, or a list of tensors, of this replica.

    Returns:
        their sums, in the same structure; the argument itself with one replica and outside a
        replica context (while a model is built, or used for sampling).
    """
    context = _several_replicas()
    if context is None:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def batch_mean(values: tf.Tensor, batch: GlobalBatch) -> tf.Tensor:
    """Mean over the images of the global batch, for losses that are not a sum of their terms.

    Args:
        values: float tensor `(n, ...)`, this replica's rows.
        batch: `GlobalBatch`.

    Returns:
        Scalar, the same on every replica. Gradients flow to the rows of all of them.
    """
    total = sum_over_replicas(tf.reduce_sum(values))
    columns = tf.size(values) / tf.shape(values)[0]  # values per image
    return total / tf.cast(columns * tf.cast(batch.global_size, tf.float64), total.dtype)


def _rows_of(draw, batch, shape):
    """Draws for the global batch and keeps this replica's rows."""
    if _several_replicas() is None:
        return draw((batch.size, *shape))
    return draw((batch.global_size, *shape))[batch.first : batch.first + batch.size]


def _unit_uniform(shape, seed):
    """Uniform in [0, 1), from 24 random bits: float32.

    TensorFlow's random floats differ between XLA and plain execution. Its random
    integers do not, and neither does what is computed from them.
    """
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox")
    bits = tf.bitwise.right_shift(tf.bitcast(bits, tf.uint32), tf.constant(8, tf.uint32))
    return tf.cast(bits, tf.float32) * 2.0**-24


def _normal(shape, seed):
    """Standard normal by the transform of Box and Muller (1958), finite for any bits."""
    radius, angle = tf.unstack(_unit_uniform((2, *shape), seed))
    # 1 - u lies in (0, 1]: its logarithm is finite.
    return tf.sqrt(-2.0 * tf.math.log(1.0 - radius)) * tf.cos(2.0 * math.pi * angle)


def _truncated_normal(shape, seed, limit):
    """Standard normal within +-limit, by the inverse of its distribution function."""
    uniform = 2.0 * _unit_uniform(shape, seed) - 1.0  # [-1, 1)
    inside = math.erf(limit * math.sqrt(0.5))  # share of the whole distribution
    values = math.sqrt(2.0) * tf.math.erfinv(inside * uniform)
    # From a limit of about 5.5 on `inside` rounds to 1, and the inverse of -1 is infinite.
    return tf.clip_by_value(values, -limit, limit)


def random_normal(
    batch: GlobalBatch, shape: tuple, seed: tf.Tensor, dtype: str = "float32"
) -> tf.Tensor:
    """Standard normal noise, one row per image.

    Args:
        batch: `GlobalBatch`.
        shape: tuple of int. Shape of one row.
        seed: int tensor of shape `(2,)`, the same on every replica.
        dtype: string. The draws are float32 and are cast: the numbers of every type are equal.

    Returns:
        tensor `(n, *shape)` of that type: row i belongs to image i for any number of replicas.

    Example:
    >>> random_normal(whole_batch(8), (64,), seed=(1, 2)).shape
    TensorShape([8, 64])
    """
    return tf.cast(_rows_of(lambda full: _normal(full, seed), batch, shape), dtype)


def random_truncated_normal(
    batch: GlobalBatch, shape: tuple, seed: tf.Tensor, limit: float = 2.0, dtype: str = "float32"
) -> tf.Tensor:
    """Noise of the standard normal distribution truncated at +-limit, one row per image.

    Args:
        batch, shape, seed, dtype: see `random_normal`.
        limit: float above 0, in standard deviations.

    Returns:
        tensor `(n, *shape)` in [-limit, limit].
    """
    return tf.cast(_rows_of(lambda full: _truncated_normal(full, seed, limit), batch, shape), dtype)


def random_uniform(
    batch: GlobalBatch, shape: tuple, seed: tf.Tensor, low: float = 0.0, high: float = 1.0,
    dtype: str = "float32",
) -> tf.Tensor:
    """Uniform noise in [low, high), one row per image.

    Args:
        batch, shape, seed, dtype: see `random_normal`.
        low, high: floats.

    Returns:
        tensor `(n, *shape)`.
    """
    uniform = _rows_of(lambda full: low + (high - low) * _unit_uniform(full, seed), batch, shape)
    return tf.cast(uniform, dtype)
