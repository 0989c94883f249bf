"""How much of a codebook is in use."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count
from keras_genimg.errors import InputError

__all__ = ["CodesUsed", "codebook_perplexity"]


def codebook_perplexity(indices: ArrayLike, num_embeddings: int) -> float:
    """exp(entropy) of the codes: num_embeddings if all are equally frequent, 1 if only one occurs.

    The value depends on the number of codes counted, since a small batch cannot use a
    large codebook. Report the batch size with it.

    Args:
        indices: integer array of any shape, codes from 0.
        num_embeddings: int. Vectors in the codebook.

    Returns:
        float, from 1 to num_embeddings.

    Raises:
        InputError: no codes, or codes outside 0 ... num_embeddings - 1.

    Example:
    >>> codebook_perplexity(np.zeros((2, 7, 7), "int32"), 128)
    1.0

    Reference: van den Oord et al. (2017), https://arxiv.org/abs/1711.00937, as in the
        authors' code.
    """
    num_embeddings = check_count("num_embeddings", num_embeddings)
    flat = np.asarray(indices).reshape(-1)
    if not np.issubdtype(flat.dtype, np.integer):
        raise InputError(f"indices must be integers. Received: dtype={flat.dtype}.")
    if flat.size == 0 or flat.min() < 0 or flat.max() >= num_embeddings:
        found = f"{flat.min()} to {flat.max()}" if flat.size else "no codes"
        raise InputError(
            f"indices must be codes from 0 to {num_embeddings - 1}, at least one. "
            f"Received: {found}."
        )
    shares = np.bincount(flat, minlength=num_embeddings) / flat.size
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))


class CodesUsed(keras.metrics.Metric):
    """Number of distinct codes used since the last reset (in `fit`: in the current epoch).

    Args:
        num_embeddings: int. Vectors in the codebook.
        name: string.

    Raises:
        InputError: a size that is not a positive integer.

    Example:
    >>> metric = CodesUsed(num_embeddings=4)
    >>> metric.update_state(tf.constant([3.0, 0.0, 1.0, 0.0]))
    >>> metric.result()
    <tf.Tensor: shape=(), dtype=float32, numpy=2.0>
    """

    def __init__(self, num_embeddings: int, name: str = "codes_used", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_embeddings = num_embeddings = check_count("num_embeddings", num_embeddings)
        self.counts = self.add_variable(
            shape=(num_embeddings,), initializer="zeros", dtype="float32", name="counts"
        )

    def update_state(self, counts: tf.Tensor) -> None:
        """Adds how often each code was used in a batch.

        Args:
            counts: float tensor `(num_embeddings,)`, of the global batch.
        """
        self.counts.assign_add(tf.cast(counts, "float32"))

    def result(self) -> tf.Tensor:
        """The number of codes used at least once.

        Returns:
            float32 scalar, from 0 to num_embeddings.
        """
        return tf.reduce_sum(tf.cast(tf.convert_to_tensor(self.counts) > 0, tf.float32))

    def get_config(self) -> dict:
        return {**super().get_config(), "num_embeddings": self.num_embeddings}
