"""Content losses: how far a picture is from the one it should be."""

import keras
from keras import ops

__all__ = ["content_loss", "perceptual_loss"]

EPSILON = 1e-10  # a place without any feature has a length of 0


def content_loss(real_images, fake_images, network=None):
    """Mean squared difference of pictures, or of what a network sees in them.

    Args:
        real_images: float tensor `(batch, height, width, channels)`.
        fake_images: float tensor of the same shape.
        network: callable, pictures to a feature map or a list of them, which may have any
            shape; None for the pixels themselves. Of several maps each counts the same.

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
    terms = [ops.mean(ops.square(ops.cast(a - b, "float32"))) for a, b in pairs]
    return sum(terms) / len(terms)


def perceptual_loss(real_images, fake_images, network):
    """Squared difference of what a network sees in pictures, of features of length 1.

    At each place of a map the features are divided by their length, and the squares of their
    differences are added up: from 0 for features of one direction to 4 for opposite ones,
    however large or small a network's features are. That is LPIPS with all weights of channels
    1 (in Eq. 1, w_l = 1), which is twice the cosine distance.

    Args:
        real_images: float tensor `(batch, height, width, channels)`.
        fake_images: float tensor of the same shape.
        network: callable, pictures to a feature map or a list of them, features along the last
            axis.

    Returns:
        Scalar tensor: the mean over pictures and places, added up over the maps.

    Example:
    >>> black, white = -keras.ops.ones((4, 8, 8, 3)), keras.ops.ones((4, 8, 8, 3))
    >>> perceptual_loss(black, white, lambda images: images)
    <tf.Tensor: shape=(), dtype=float32, numpy=4.0>

    Reference: Zhang et al. (2018), Eq. 1, https://arxiv.org/abs/1801.03924
    """

    def directions(features):
        features = ops.cast(features, "float32")
        # Inside the root, where its gradient at 0 stays finite.
        return features * ops.rsqrt(ops.sum(ops.square(features), -1, keepdims=True) + EPSILON)

    pairs = zip(keras.tree.flatten(network(real_images)), keras.tree.flatten(network(fake_images)))
    differences = [ops.square(directions(a) - directions(b)) for a, b in pairs]
    return sum(ops.mean(ops.sum(difference, -1)) for difference in differences)
