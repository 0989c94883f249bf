"""Adversarial losses in named pairs: logits in, a scalar out.

Every function takes the discriminator's logits (no sigmoid) of any shape and
returns the mean over all elements of them. D(x) below is sigmoid(logit).
"""

import keras
from keras import ops

from keras_genimg.errors import InputError

__all__ = [
    "ADVERSARIAL_LOSSES",
    "RELATIVISTIC_LOSSES",
    "get_adversarial_loss",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "non_saturating_discriminator_loss",
    "non_saturating_generator_loss",
    "relativistic_average_discriminator_loss",
    "relativistic_average_generator_loss",
    "wasserstein_discriminator_loss",
    "wasserstein_generator_loss",
]


def minimax_discriminator_loss(real_logits, fake_logits):
    """-E[log D(x)] - E[log(1 - D(G(z)))].

    Args:
        real_logits: float tensor, logits of real pictures.
        fake_logits: float tensor, logits of generated pictures.

    Returns:
        Scalar tensor, nats.

    Example:
    >>> logits = keras.ops.zeros((8, 1))
    >>> round(float(minimax_discriminator_loss(logits, logits)), 4)  # 2 log 2
    1.3863

    Reference: Goodfellow et al. (2014), Eq. 1, https://arxiv.org/abs/1406.2661
    """
    # -log sigmoid(l) = softplus(-l) and -log(1 - sigmoid(l)) = softplus(l), without overflow.
    return ops.mean(ops.softplus(-real_logits)) + ops.mean(ops.softplus(fake_logits))


def minimax_generator_loss(fake_logits):
    """E[log(1 - D(G(z)))]: the zero-sum game, whose gradient vanishes where D is sure.

    Args:
        fake_logits: float tensor, logits of generated pictures.

    Returns:
        Scalar tensor, nats (never positive).

    Example:
    >>> round(float(minimax_generator_loss(keras.ops.zeros((8, 1)))), 4)  # -log 2
    -0.6931

    Reference: Goodfellow et al. (2014), Eq. 1, https://arxiv.org/abs/1406.2661
    """
    return -ops.mean(ops.softplus(fake_logits))


def non_saturating_discriminator_loss(real_logits, fake_logits):
    """As `minimax_discriminator_loss`: only the generator's side differs.

    Args:
        real_logits, fake_logits: float tensors, as `minimax_discriminator_loss` has them.

    Returns:
        Scalar tensor, nats.

    Reference: Goodfellow et al. (2014), section 3, https://arxiv.org/abs/1406.2661
    """
    return minimax_discriminator_loss(real_logits, fake_logits)


def non_saturating_generator_loss(fake_logits):
    """-E[log D(G(z))]: the same fixed point, a gradient where D is sure.

    Args:
        fake_logits: float tensor, logits of generated pictures.

    Returns:
        Scalar tensor, nats.

    Example:
    >>> round(float(non_saturating_generator_loss(keras.ops.zeros((8, 1)))), 4)  # log 2
    0.6931

    Reference: Goodfellow et al. (2014), section 3, https://arxiv.org/abs/1406.2661
    """
    return ops.mean(ops.softplus(-fake_logits))


def least_squares_discriminator_loss(real_logits, fake_logits):
    """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2, on raw logits.

    Args:
        real_logits: float tensor, outputs for real pictures.
        fake_logits: float tensor, outputs for generated pictures.

    Returns:
        Scalar tensor.

    Reference: Mao et al. (2017), Eq. 9 (a=0, b=c=1), https://arxiv.org/abs/1611.04076
    """
    return 0.5 * (ops.mean(ops.square(real_logits - 1.0)) + ops.mean(ops.square(fake_logits)))


def least_squares_generator_loss(fake_logits):
    """E[(D(G(z)) - 1)^2] / 2, on raw logits.

    Args:
        fake_logits: float tensor, outputs for generated pictures.

    Returns:
        Scalar tensor.

    Example:
    >>> least_squares_generator_loss(keras.ops.zeros((8, 1)))
    <tf.Tensor: shape=(), dtype=float32, numpy=0.5>

    Reference: Mao et al. (2017), Eq. 9, https://arxiv.org/abs/1611.04076
    """
    return 0.5 * ops.mean(ops.square(fake_logits - 1.0))


def hinge_discriminator_loss(real_logits, fake_logits):
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))], on raw logits.

    Args:
        real_logits: float tensor, outputs for real pictures.
        fake_logits: float tensor, outputs for generated pictures.

    Returns:
        Scalar tensor.

    Example:
    >>> hinge_discriminator_loss(keras.ops.zeros((8, 1)), keras.ops.zeros((8, 1)))
    <tf.Tensor: shape=(), dtype=float32, numpy=2.0>

    Reference: Miyato et al. (2018), Eq. 16, https://arxiv.org/abs/1802.05957
    """
    return ops.mean(ops.relu(1.0 - real_logits)) + ops.mean(ops.relu(1.0 + fake_logits))


def hinge_generator_loss(fake_logits):
    """-E[D(G(z))], on raw logits.

    Args:
        fake_logits: float tensor, outputs for generated pictures.

    Returns:
        Scalar tensor.

    Reference: Miyato et al. (2018), Eq. 17, https://arxiv.org/abs/1802.05957
    """
    return -ops.mean(fake_logits)


def wasserstein_discriminator_loss(real_logits, fake_logits):
    """E[f(G(z))] - E[f(x)]: minus the critic's estimate of the distance.

    Args:
        real_logits: float tensor, critic's values of real pictures.
        fake_logits: float tensor, critic's values of generated pictures.

    Returns:
        Scalar tensor.

    Reference: Arjovsky et al. (2017), Eq. 2, https://arxiv.org/abs/1701.07875
    """
    return ops.mean(fake_logits) - ops.mean(real_logits)


def wasserstein_generator_loss(fake_logits):
    """-E[f(G(z))].

    Args:
        fake_logits: float tensor, critic's values of generated pictures.

    Returns:
        Scalar tensor.

    Reference: Arjovsky et al. (2017), Algorithm 1, https://arxiv.org/abs/1701.07875
    """
    return -ops.mean(fake_logits)


def relativistic_average_discriminator_loss(
    real_logits, fake_logits, *, real_mean=None, fake_mean=None
):
    """Is a real picture more real than the average generated one, and the reverse?

    (-E[log sigmoid(C(x) - E C(G(z)))] - E[log(1 - sigmoid(C(G(z)) - E C(x)))]) as printed,
    without a factor 1/2.

    Args:
        real_logits: float tensor, C(x).
        fake_logits: float tensor, C(G(z)).
        real_mean: scalar, E C(x); by default the mean of `real_logits`, which is not that of
            the batch where the batch is spread over replicas.
        fake_mean: scalar, E C(G(z)), likewise.

    Returns:
        Scalar tensor, nats.

    Reference: Jolicoeur-Martineau (2019), section 4.2, https://arxiv.org/abs/1807.00734
    """
    real_mean = ops.mean(real_logits) if real_mean is None else real_mean
    fake_mean = ops.mean(fake_logits) if fake_mean is None else fake_mean
    return minimax_discriminator_loss(real_logits - fake_mean, fake_logits - real_mean)


def relativistic_average_generator_loss(
    real_logits, fake_logits, *, real_mean=None, fake_mean=None
):
    """The discriminator's loss with real and generated pictures exchanged.

    Args:
        real_logits: float tensor, C(x).
        fake_logits: float tensor, C(G(z)).
        real_mean: scalar, optional, as for the discriminator's loss.
        fake_mean: scalar, optional.

    Returns:
        Scalar tensor, nats.

    Reference: Jolicoeur-Martineau (2019), section 4.2, https://arxiv.org/abs/1807.00734
    """
    return relativistic_average_discriminator_loss(
        fake_logits, real_logits, real_mean=fake_mean, fake_mean=real_mean
    )


ADVERSARIAL_LOSSES = {
    "minimax": (minimax_generator_loss, minimax_discriminator_loss),
    "non_saturating": (non_saturating_generator_loss, non_saturating_discriminator_loss),
    "least_squares": (least_squares_generator_loss, least_squares_discriminator_loss),
    "hinge": (hinge_generator_loss, hinge_discriminator_loss),
    "wasserstein": (wasserstein_generator_loss, wasserstein_discriminator_loss),
}


RELATIVISTIC_LOSSES = {
    "relativistic_average": (
        relativistic_average_generator_loss,
        relativistic_average_discriminator_loss,
    ),
}


def get_adversarial_loss(name, relativistic=False):
    """The pair of losses called `name`.

    Args:
        name: string, a key of `ADVERSARIAL_LOSSES`, or a pair of functions
            `(generator_loss(fake_logits), discriminator_loss(real_logits,
            fake_logits))` of one's own (registered with Keras if the model is
            to be saved).
        relativistic: bool. Whether the model also has a use for the names of
            `RELATIVISTIC_LOSSES`, whose functions both take `real_logits, fake_logits` and
            the means of both.

    Returns:
        The pair of functions, generator's first.

    Raises:
        InputError: an unknown name, or something that is not a pair of functions.

    Example:
    >>> generator_loss, discriminator_loss = get_adversarial_loss("hinge")
    >>> generator_loss(keras.ops.ones((8, 1))).shape
    TensorShape([])
    """
    known = {**ADVERSARIAL_LOSSES, **(RELATIVISTIC_LOSSES if relativistic else {})}
    if isinstance(name, str) and name in known:
        return known[name]
    if isinstance(name, (tuple, list)) and len(name) == 2:
        pair = tuple(keras.saving.deserialize_keras_object(f) if isinstance(f, dict) else f for f in name)
        if all(callable(function) for function in pair):
            return pair
    raise InputError(
        f"loss must be one of {', '.join(known)}, or a pair of functions "
        f"(generator_loss, discriminator_loss). Received: loss={name!r}."
    )
