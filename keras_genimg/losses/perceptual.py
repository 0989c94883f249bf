"""Content losses: distances between an image and its target, in pixels or in features."""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from keras_genimg.losses.checks import of_tensors
from keras_genimg.precision import at_least_float32

__all__ = ["content_loss", "perceptual_loss"]

EPSILON = 1e-10  # a position without any feature has length 0


@of_tensors
def content_loss(
    real_images: tf.Tensor, fake_images: tf.Tensor, network: Callable | None = None
) -> tf.Tensor:
    """Mean squared difference of images, or of a network's features of them.

    Args:
        real_images: float tensor `(batch, height, width, channels)`.
        fake_images: float tensor of the same shape.
        network: callable, images to a feature map or a list of them, of any shape; None for
            the pixels themselves. Several maps have equal weights.

    Returns:
        Scalar tensor: the mean over all values, Eq. 4 for pixels and Eq. 5 for features.

    Example:
    >>> content_loss(keras.ops.ones((4, 8, 8, 3)), keras.ops.zeros((4, 8, 8, 3)))
    <tf.Tensor: shape=(), dtype=float32, numpy=1.0>

    Reference: Ledig et al. (2017), https://arxiv.org/abs/1609.04802; several maps: Johnson
        et al. (2016), https://arxiv.org/abs/1603.08155
    """
    if network is None:
        return ops.mean(ops.square(real_images - fake_images))
    pairs = zip(keras.tree.flatten(network(real_images)), keras.tree.flatten(network(fake_images)))
    terms = [ops.mean(ops.square(_precise(a - b))) for a, b in pairs]
    return sum(terms) / len(terms)


@of_tensors
def perceptual_loss(real_images: tf.Tensor, fake_images: tf.Tensor, network: Callable) -> tf.Tensor:
    """Squared difference of a network's features of images, normalised to length 1.

    At each position of a map the features are divided by their length, and the squares of
    their differences are summed: from 0 for parallel features to 4 for opposite ones, at any
    scale of the features. This is LPIPS with all channel weights 1 (in Eq. 1, w_l = 1), which
    is twice the cosine distance. The weights that LPIPS learned from human judgements are not
    part of this package.

    Args:
        real_images: float tensor `(batch, height, width, channels)`.
        fake_images: float tensor of the same shape.
        network: callable, images to a feature map or a list of them, features along the last
            axis.

    Returns:
        Scalar tensor: the mean over images and positions, summed over the maps.

    Example:
    >>> black, white = -keras.ops.ones((4, 8, 8, 3)), keras.ops.ones((4, 8, 8, 3))
    >>> perceptual_loss(black, white, lambda images: images)
    <tf.Tensor: shape=(), dtype=float32, numpy=4.0>

    Reference: Zhang et al. (2018), Eq. 1, https://arxiv.org/abs/1801.03924
    """

    def directions(features):
        features = _precise(features)
        # Inside the root, so that its gradient at 0 stays finite.
        return features * ops.rsqrt(ops.sum(ops.square(features), -1, keepdims=True) + EPSILON)

    pairs = zip(keras.tree.flatten(network(real_images)), keras.tree.flatten(network(fake_images)))
    differences = [ops.square(directions(a) - directions(b)) for a, b in pairs]
    return sum(ops.mean(ops.sum(difference, -1)) for difference in differences)


def _precise(features):
    return ops.cast(features, at_least_float32(keras.backend.standardize_dtype(features.dtype)))
