"""Divergences between distributions, in nats."""

import tensorflow as tf
from keras import ops

__all__ = ["gaussian_kl"]


def gaussian_kl(z_mean: tf.Tensor, z_log_var: tf.Tensor) -> tf.Tensor:
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)), summed over the latent axes.

    Args:
        z_mean: float tensor `(batch, ...)`.
        z_log_var: float tensor of the same shape, logarithm of the variance.

    Returns:
        float tensor `(batch,)`, nats, never negative.

    Example:
    >>> gaussian_kl(keras.ops.ones((8, 4)), keras.ops.zeros((8, 4))).shape  # 8 times 2.0
    TensorShape([8])

    Reference: Kingma and Welling (2014), appendix B, https://arxiv.org/abs/1312.6114
    """
    terms = ops.square(z_mean) + ops.exp(z_log_var) - 1.0 - z_log_var
    return 0.5 * ops.sum(terms, axis=tuple(range(1, len(terms.shape))))
