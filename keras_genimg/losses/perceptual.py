"""Content losses: how far a picture is from the one it should be."""

import keras
from keras import ops

__all__ = ["content_loss"]


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
