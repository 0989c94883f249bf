"""Adversarial losses in named pairs: functions of logits that return a scalar.

Every function takes the discriminator's logits (no sigmoid) of any shape and
returns the mean over all elements. D(x) below is sigmoid(logit).
"""

import keras
import tensorflow as tf
from keras import ops

from keras_genimg.distribution import batch_mean, global_batch
from keras_genimg.errors import InputError
from keras_genimg.losses.checks import of_tensors

__all__ = [
    "ADVERSARIAL_LOSSES", "RELATIVISTIC_LOSSES", "get_adversarial_loss",
    "hinge_discriminator_loss", "hinge_generator_loss", "least_squares_discriminator_loss",
    "least_squares_generator_loss", "minimax_discriminator_loss", "minimax_generator_loss",
    "non_saturating_discriminator_loss", "non_saturating_generator_loss",
    "relativistic_average_discriminator_loss", "relativistic_average_generator_loss",
    "wasserstein_discriminator_loss", "wasserstein_generator_loss",
]


@of_tensors
def minimax_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))].

    Args:
        real_logits: float tensor, logits of real images.
        fake_logits: float tensor, logits of generated images.

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


@of_tensors
def minimax_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """E[log(1 - D(G(z)))]: the zero-sum objective, with a vanishing gradient where D is confident.

    Args:
        fake_logits: float tensor, logits of generated images.

    Returns:
        Scalar tensor, nats (never positive).

    Example:
    >>> round(float(minimax_generator_loss(keras.ops.zeros((8, 1)))), 4)  # -log 2
    -0.6931

    Reference: Goodfellow et al. (2014), Eq. 1, https://arxiv.org/abs/1406.2661
    """
    return -ops.mean(ops.softplus(fake_logits))


@of_tensors
def non_saturating_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """Same as `minimax_discriminator_loss`: only the generator's loss differs.

    Args:
        real_logits, fake_logits: float tensors, see `minimax_discriminator_loss`.

    Returns:
        Scalar tensor, nats.

    Reference: Goodfellow et al. (2014), section 3, https://arxiv.org/abs/1406.2661
    """
    return minimax_discriminator_loss(real_logits, fake_logits)


@of_tensors
def non_saturating_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(G(z))]: the same fixed point, with a gradient where D is confident.

    Args:
        fake_logits: float tensor, logits of generated images.

    Returns:
        Scalar tensor, nats.

    Example:
    >>> round(float(non_saturating_generator_loss(keras.ops.zeros((8, 1)))), 4)  # log 2
    0.6931

    Reference: Goodfellow et al. (2014), section 3, https://arxiv.org/abs/1406.2661
    """
    return ops.mean(ops.softplus(-fake_logits))


@of_tensors
def least_squares_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2, on raw logits.

    Args:
        real_logits: float tensor, outputs for real images.
        fake_logits: float tensor, outputs for generated images.

    Returns:
        Scalar tensor.

    Reference: Mao et al. (2017), Eq. 9 (a=0, b=c=1), https://arxiv.org/abs/1611.04076
    """
    return 0.5 * (ops.mean(ops.square(real_logits - 1.0)) + ops.mean(ops.square(fake_logits)))


@of_tensors
def least_squares_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """E[(D(G(z)) - 1)^2] / 2, on raw logits.

    Args:
        fake_logits: float tensor, outputs for generated images.

    Returns:
        Scalar tensor.

    Example:
    >>> least_squares_generator_loss(keras.ops.zeros((8, 1)))
    <tf.Tensor: shape=(), dtype=float32, numpy=0.5>

    Reference: Mao et al. (2017), Eq. 9, https://arxiv.org/abs/1611.04076
    """
    return 0.5 * ops.mean(ops.square(fake_logits - 1.0))


@of_tensors
def hinge_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))], on raw logits.

    Args:
        real_logits: float tensor, outputs for real images.
        fake_logits: float tensor, outputs for generated images.

    Returns:
        Scalar tensor.

    Example:
    >>> hinge_discriminator_loss(keras.ops.zeros((8, 1)), keras.ops.zeros((8, 1)))
    <tf.Tensor: shape=(), dtype=float32, numpy=2.0>

    Reference: Miyato et al. (2018), Eq. 16, https://arxiv.org/abs/1802.05957
    """
    return ops.mean(ops.relu(1.0 - real_logits)) + ops.mean(ops.relu(1.0 + fake_logits))


@of_tensors
def hinge_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[D(G(z))], on raw logits.

    Args:
        fake_logits: float tensor, outputs for generated images.

    Returns:
        Scalar tensor.

    Reference: Miyato et al. (2018), Eq. 17, https://arxiv.org/abs/1802.05957
    """
    return -ops.mean(fake_logits)


@of_tensors
def wasserstein_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E[f(G(z))] - E[f(x)]: minus the critic's estimate of the distance.

    Args:
        real_logits: float tensor, critic's values of real images.
        fake_logits: float tensor, critic's values of generated images.

    Returns:
        Scalar tensor.

    Reference: Arjovsky et al. (2017), Eq. 2, https://arxiv.org/abs/1701.07875
    """
    return ops.mean(fake_logits) - ops.mean(real_logits)


@of_tensors
def wasserstein_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[f(G(z))].

    Args:
        fake_logits: float tensor, critic's values of generated images.

    Returns:
        Scalar tensor.

    Reference: Arjovsky et al. (2017), Algorithm 1, https://arxiv.org/abs/1701.07875
    """
    return -ops.mean(fake_logits)


@of_tensors
def relativistic_average_discriminator_loss(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tf.Tensor:
    """Relativistic average loss: real images against the average generated one, and the reverse.

    -E[log sigmoid(C(x) - E C(G(z)))] - E[log(1 - sigmoid(C(G(z)) - E C(x)))] as printed,
    without a factor 1/2. The inner means are those of the global batch: under a strategy they
    run over all replicas, and so do their gradients.

    Args:
        real_logits: float tensor, C(x).
        fake_logits: float tensor, C(G(z)).

    Returns:
        Scalar tensor, nats: the mean over the logits of this replica.

    Reference: Jolicoeur-Martineau (2019), section 4.2, https://arxiv.org/abs/1807.00734
    """
    real_mean = batch_mean(real_logits, global_batch(real_logits))
    fake_mean = batch_mean(fake_logits, global_batch(fake_logits))
    return minimax_discriminator_loss(real_logits - fake_mean, fake_logits - real_mean)


@of_tensors
def relativistic_average_generator_loss(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tf.Tensor:
    """The discriminator's loss with real and generated images exchanged.

    Args:
        real_logits: float tensor, C(x).
        fake_logits: float tensor, C(G(z)).

    Returns:
        Scalar tensor, nats: the mean over the logits of this replica.

    Reference: Jolicoeur-Martineau (2019), section 4.2, https://arxiv.org/abs/1807.00734
    """
    return relativistic_average_discriminator_loss(fake_logits, real_logits)


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


def get_adversarial_loss(name: str | tuple | list, relativistic: bool = False) -> tuple:
    """The pair of losses called `name`, with one signature for all names.

    Args:
        name: string, a key of `ADVERSARIAL_LOSSES`, or a custom pair of functions
            `(generator_loss(fake_logits), discriminator_loss(real_logits,
            fake_logits))`, registered with Keras if the model is to be saved.
        relativistic: bool. Whether the names of `RELATIVISTIC_LOSSES` are allowed too. The
            model must then pass `real_logits` to the generator's loss.

    Returns:
        generator_loss: function `(fake_logits, real_logits=None)`. Only relativistic losses
            depend on `real_logits`, and require it.
        discriminator_loss: function `(real_logits, fake_logits)`.

    Raises:
        InputError: an unknown name, or anything else that is not a pair of functions.

    Example:
    >>> generator_loss, discriminator_loss = get_adversarial_loss("hinge")
    >>> generator_loss(keras.ops.ones((8, 1))).shape
    TensorShape([])
    """
    if relativistic and isinstance(name, str) and name in RELATIVISTIC_LOSSES:
        pair = RELATIVISTIC_LOSSES[name]

        def generator_loss(fake_logits, real_logits):
            return pair[0](real_logits, fake_logits)

    else:
        pair = _pair(name, relativistic)

        def generator_loss(fake_logits, real_logits=None):
            return pair[0](fake_logits)

    return generator_loss, pair[1]


def _pair(name, relativistic):
    if isinstance(name, str) and name in ADVERSARIAL_LOSSES:
        return ADVERSARIAL_LOSSES[name]
    if isinstance(name, (tuple, list)) and len(name) == 2:
        restore = keras.saving.deserialize_keras_object
        pair = [restore(function) if isinstance(function, dict) else function for function in name]
        if all(callable(function) for function in pair):
            return pair
    known = [*ADVERSARIAL_LOSSES, *(RELATIVISTIC_LOSSES if relativistic else ())]
    raise InputError(
        f"loss must be one of {', '.join(known)}, or a pair of functions "
        f"(generator_loss, discriminator_loss). Received: loss={name!r}."
    )
