"""Log-likelihoods of images and a divergence, in nats, summed over all but the batch axis.

Images are in [-1, 1] as everywhere in the package; each function says how it
interprets them. Divide by `height * width * channels * log(2)` for bits per dimension.
"""

import math

import tensorflow as tf
from keras import ops

from keras_genimg.losses.checks import of_tensors

__all__ = [
    "bernoulli_log_likelihood", "discretized_logistic_log_likelihood", "gaussian_kl",
    "gaussian_log_likelihood", "importance_weighted_bound",
]


def _sum_but_batch(terms):
    return ops.sum(terms, axis=tuple(range(1, len(terms.shape))))


@of_tensors
def bernoulli_log_likelihood(images: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """x log p + (1 - x) log(1 - p) with x = (images + 1) / 2 and p = sigmoid(logits).

    For binarised images (-1 or 1) this is a likelihood. For grey values it is
    the customary cross-entropy, which is not: say so wherever a value is reported.

    Args:
        images: float tensor `(batch, ...)` in [-1, 1].
        logits: float tensor of the same shape.

    Returns:
        float tensor `(batch,)`, nats.

    Example:
    >>> images = keras.ops.ones((8, 28, 28, 1))
    >>> bernoulli_log_likelihood(images, logits=0.0 * images).shape  # 8 times -784 log 2
    TensorShape([8])

    Reference: Kingma and Welling (2014), appendix C.1, https://arxiv.org/abs/1312.6114
    """
    x = (images + 1.0) / 2.0
    # x log p + (1 - x) log(1 - p) = x * logit - softplus(logit)
    return _sum_but_batch(x * logits - ops.softplus(logits))


@of_tensors
def gaussian_log_likelihood(images: tf.Tensor, mean: tf.Tensor, log_var: tf.Tensor) -> tf.Tensor:
    """Density of N(mean, exp(log_var)) at the images, each value in [-1, 1].

    Args:
        images: float tensor `(batch, ...)`.
        mean: float tensor of the same shape.
        log_var: float tensor that broadcasts to it, logarithm of the variance.

    Returns:
        float tensor `(batch,)`, nats of a density: comparable only between
        models of images on the same scale.

    Example:
    >>> images = keras.ops.ones((8, 28, 28, 1))
    >>> gaussian_log_likelihood(images, mean=images, log_var=keras.ops.zeros((1,))).shape
    TensorShape([8])

    Reference: Kingma and Welling (2014), appendix C.2, https://arxiv.org/abs/1312.6114
    """
    log_var = log_var + ops.zeros_like(mean)
    squares = ops.square(images - mean) * ops.exp(-log_var)
    return _sum_but_batch(-0.5 * (squares + log_var + math.log(2.0 * math.pi)))


@of_tensors
def discretized_logistic_log_likelihood(
    images: tf.Tensor, mean: tf.Tensor, log_scale: tf.Tensor
) -> tf.Tensor:
    """Probability of 256 grey levels under a logistic distribution cut into bins.

    A value v in [-1, 1] is the bin [v - 1/255, v + 1/255]; the first bin extends
    to minus infinity and the last to infinity, so that the 256 probabilities sum
    to one.

    Args:
        images: float tensor `(batch, ...)`, level / 127.5 - 1.
        mean: float tensor of the same shape.
        log_scale: float tensor that broadcasts to it, logarithm of the scale s.

    Returns:
        float tensor `(batch,)`, nats (never positive).

    Example:
    >>> images = keras.ops.ones((8, 28, 28, 1))
    >>> discretized_logistic_log_likelihood(images, images, keras.ops.zeros((1,))).shape
    TensorShape([8])

    Reference: Kingma et al. (2016), appendix A.2, https://arxiv.org/abs/1606.04934
        and Salimans et al. (2017), section 2.1, https://arxiv.org/abs/1701.05517
    """
    inverse_scale = ops.exp(-log_scale)
    upper = (images - mean + 1.0 / 255.0) * inverse_scale
    lower = (images - mean - 1.0 / 255.0) * inverse_scale
    # log(sigmoid(u) - sigmoid(l)) = log sigmoid(u) + log sigmoid(-l) + log(1 - exp(l - u)),
    # exact and without cancellation, since sigmoid(u) - sigmoid(l)
    #   = sigmoid(u) * sigmoid(-l) * (1 - exp(l - u)).
    inside = -ops.softplus(-upper) - ops.softplus(lower) + ops.log(-ops.expm1(lower - upper))
    first_bin = -ops.softplus(-upper)  # log sigmoid(u)
    last_bin = -ops.softplus(lower)  # log(1 - sigmoid(l))
    terms = ops.where(
        images < -1.0 + 1.0 / 255.0,
        first_bin,
        ops.where(images > 1.0 - 1.0 / 255.0, last_bin, inside),
    )
    return _sum_but_batch(terms)


@of_tensors
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
    return 0.5 * _sum_but_batch(terms)


@of_tensors
def importance_weighted_bound(log_weights: tf.Tensor) -> tf.Tensor:
    """log of the mean of k importance weights: L_k, a lower bound of log p(x).

    With one weight it is the evidence lower bound; it approaches log p(x) as k grows.

    Args:
        log_weights: float tensor `(k, batch)`: log p(x, z_i) - log q(z_i | x), nats.

    Returns:
        float tensor `(batch,)`, nats.

    Example:
    >>> importance_weighted_bound(keras.ops.zeros((50, 8))).shape
    TensorShape([8])

    Reference: Burda et al. (2016), Eq. 8, https://arxiv.org/abs/1509.00519
    """
    return ops.logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])
