"""Training in plain TensorFlow and sampling in plain NumPy, for tests that compare with them."""

import keras
import numpy as np
import tensorflow as tf


def sgd(rate):
    """The arguments of `compile` for plain descent."""
    names = ("generator_optimizer", "discriminator_optimizer")
    return {name: keras.optimizers.SGD(rate) for name in names}


def copy_of(network):
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def assert_same_weights(network, other, atol=1e-5):
    assert len(network.weights) == len(other.weights) > 0
    for mine, theirs in zip(network.weights, other.weights):
        np.testing.assert_allclose(mine, theirs, atol=atol, err_msg=mine.path)


def descend(network, loss, tape, rate):
    weights = network.trainable_weights
    for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights])):
        weight.assign_sub(rate * tf.convert_to_tensor(gradient))


def moved(network, start):
    """The longest way of a trainable weight."""
    ways = [np.abs(weight - old).max() for weight, old in zip(network.weights, start)]
    return max(way for way, weight in zip(ways, network.weights) if weight.trainable)


def formulas(loss):
    """(generator, discriminator) losses in TensorFlow's own words."""

    def cross_entropy(target, logits):
        targets = tf.fill(tf.shape(logits), target)
        return tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        )

    if loss == "hinge":
        return (
            lambda fake: -tf.reduce_mean(fake),
            lambda real, fake: tf.reduce_mean(tf.maximum(0.0, 1.0 - real))
            + tf.reduce_mean(tf.maximum(0.0, 1.0 + fake)),
        )
    return (
        lambda fake: cross_entropy(1.0, fake),
        lambda real, fake: cross_entropy(1.0, real) + cross_entropy(0.0, fake),
    )


def warped(logits, temperature=1.0, top_k=None, top_p=None):
    """Hugging Face's TemperatureLogitsWarper, TopKLogitsWarper and TopPLogitsWarper.

    The logits are multiplied back at the end.
    """
    scores = logits / temperature
    if top_k is not None:
        smallest = np.sort(scores)[:, -min(top_k, scores.shape[1])]
        scores = np.where(scores < smallest[:, None], -np.inf, scores)
    if top_p is not None:
        order = np.argsort(scores)
        ordered = np.take_along_axis(scores, order, axis=1)
        shares = np.exp(ordered - ordered[:, -1:])
        below = np.cumsum(shares / shares.sum(1, keepdims=True), axis=1)
        remove = below <= 1 - top_p
        remove[:, -1] = False  # min_tokens_to_keep
        removed = np.zeros_like(remove)
        np.put_along_axis(removed, order, remove, axis=1)
        scores = np.where(removed, -np.inf, scores)
    return scores * temperature
