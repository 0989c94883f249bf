"""How much the pictures of a batch differ, as one more feature map."""

import keras
import tensorflow as tf

from keras_genimg.distribution import sum_over_replicas

__all__ = ["MinibatchStandardDeviation"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class MinibatchStandardDeviation(keras.layers.Layer):
    """Appends the mean standard deviation over the batch as a constant feature map.

    The standard deviation of each feature at each place is taken over the
    batch; the mean of them all is one number, which every picture is given at
    every place. A discriminator that sees it can tell a generator that makes
    the same picture again and again. The batch is one group, and under a strategy
    it is the global batch, so that replicas change nothing.

    Args:
        epsilon: float. Added to the variance inside the root, whose slope at 0
            is infinite.

    Call arguments:
        inputs: float tensor `(batch, h, w, c)`.

    Returns:
        float tensor `(batch, h, w, c + 1)`.

    Example:
    >>> MinibatchStandardDeviation()(keras.ops.ones((8, 4, 4, 16))).shape
    (8, 4, 4, 17)

    Reference: Karras et al. (2018), section 3, https://arxiv.org/abs/1710.10196
    """

    def __init__(self, epsilon=1e-8, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.built = True

    def call(self, inputs):
        inputs = tf.convert_to_tensor(inputs)
        values = tf.cast(inputs, tf.float32)
        shape = tf.shape(inputs)
        total, count = sum_over_replicas([tf.reduce_sum(values, 0), tf.cast(shape[0], tf.float32)])
        mean = total / count  # (h, w, c)
        # A second pass around the common mean: E[x^2] - E[x]^2 would lose digits.
        variance = sum_over_replicas(tf.reduce_sum((values - mean) ** 2, 0)) / count
        deviation = tf.reduce_mean(tf.sqrt(variance + self.epsilon))  # (h, w, c) -> ()
        feature = tf.fill((*tf.unstack(shape[:-1]), 1), tf.cast(deviation, inputs.dtype))
        return tf.concat([inputs, feature], axis=-1)  # (B, h, w, c) -> (B, h, w, c + 1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
