"""Penalties on the gradient of a critic with respect to its images."""

from collections.abc import Callable

import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.losses.checks import of_tensors

__all__ = ["gradient_penalty", "r1_penalty"]

# Inside the root: the slope of a root at zero is infinite, and infinite times a gradient of
# zero is NaN. It changes a norm of 1 by less than float32 resolves.
EPSILON = 1e-12


@of_tensors
def gradient_penalty(
    critic: Callable, real_images: tf.Tensor, fake_images: tf.Tensor, *, alpha: tf.Tensor
) -> tf.Tensor:
    """E[(||grad_x f(x_hat)|| - 1)^2] with x_hat = alpha * real + (1 - alpha) * fake.

    Keeps the norm of the critic's gradient near 1 on the lines between real and
    generated images; alpha = 1 is the real end. The norm is that of each
    example's gradient, so f must not mix examples (no batch normalisation).

    Args:
        critic: callable f, images to logits `(n, 1)`.
        real_images: float tensor `(n, ...)`.
        fake_images: float tensor of the same shape.
        alpha: float tensor `(n,)` or `(n, 1, 1, 1)`, uniform in [0, 1), one number
            per example (epsilon in the paper).

    Returns:
        Scalar tensor: the mean over the examples, without a weight (lambda).

    Raises:
        InputError: alpha of the wrong shape.

    Example:
    >>> images, alpha = tf.zeros((4, 28, 28, 1)), tf.random.uniform((4,))
    >>> critic = lambda images: tf.reduce_sum(images, axis=(1, 2))
    >>> gradient_penalty(critic, images, images, alpha=alpha).shape
    TensorShape([])

    Reference: Gulrajani et al. (2017), Algorithm 1, https://arxiv.org/abs/1704.00028
    """
    real_images = tf.convert_to_tensor(real_images)
    alpha = tf.cast(alpha, real_images.dtype)
    ones = (1,) * (real_images.shape.rank - 1)
    sizes = tf.TensorShape([real_images.shape[0]])
    if not any(alpha.shape.is_compatible_with(sizes + shape) for shape in ((), ones)):
        raise InputError(
            "alpha must hold one number per example, of shape (n,) or "
            f"{('n', *ones)}, for images {tuple(real_images.shape)}. "
            f"Received: shape {tuple(alpha.shape)}."
        )
    alpha = tf.reshape(alpha, (-1, *ones))  # (n,) -> (n, 1, 1, 1)
    images = alpha * real_images + (1.0 - alpha) * fake_images
    norms = tf.sqrt(_squared_gradients(critic, images) + EPSILON)  # (n,)
    return tf.reduce_mean(tf.square(norms - 1.0))


@of_tensors
def r1_penalty(discriminator: Callable, real_images: tf.Tensor) -> tf.Tensor:
    """E[||grad_x D(x)||^2] / 2 on real images, where the discriminator should be flat.

    Args:
        discriminator: callable, images to logits `(n, 1)`, which must not mix examples.
        real_images: float tensor `(n, ...)`.

    Returns:
        Scalar tensor: the mean over the examples, without a weight (gamma).

    Example:
    >>> discriminator = lambda images: tf.reduce_sum(images, axis=(1, 2))
    >>> r1_penalty(discriminator, tf.zeros((4, 28, 28, 1))).shape
    TensorShape([])

    Reference: Mescheder et al. (2018), Eq. 9, https://arxiv.org/abs/1801.04406
    """
    real_images = tf.convert_to_tensor(real_images)
    return 0.5 * tf.reduce_mean(_squared_gradients(discriminator, real_images))


def _squared_gradients(critic, images):
    """||grad_x f(x)||^2 of each example: `(n, ...)` -> `(n,)`."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = critic(images)  # (n, 1)
    # The tape sums the logits; each depends on its own image alone.
    gradients = tape.gradient(logits, images)  # (n, h, w, c)
    if gradients is None:  # a critic that does not depend on its images
        gradients = tf.zeros_like(images)
    return tf.reduce_sum(tf.square(gradients), axis=list(range(1, images.shape.rank)))
