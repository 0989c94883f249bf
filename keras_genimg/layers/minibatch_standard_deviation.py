"""The variation of images within a batch, as one more feature map."""

import keras
import tensorflow as tf

from keras_genimg.distribution import sum_over_replicas
from keras_genimg.precision import at_least_float32

__all__ = ["MinibatchStandardDeviation"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class MinibatchStandardDeviation(keras.layers.Layer):
    """Appends the mean standard deviation over the batch as a constant feature map.

    The standard deviation of each feature at each position is taken over the
    batch; their mean is one number, which is appended to every image at every
    position. It lets a discriminator detect mode collapse. The batch is one group:
    under a strategy the global batch, so that the result does not depend on the
    number of replicas.

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

    def __init__(self, epsilon: float = 1e-8, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs = tf.convert_to_tensor(inputs)
        dtype = at_least_float32(inputs.dtype)
        values, shape = tf.cast(inputs, dtype), tf.shape(inputs)
        total, count = sum_over_replicas([tf.reduce_sum(values, 0), tf.cast(shape[0], dtype)])
        mean = total / count  # (h, w, c)
        # A second pass around the common mean: E[x^2] - E[x]^2 would lose digits.
        variance = sum_over_replicas(tf.reduce_sum((values - mean) ** 2, 0)) / count
        deviation = tf.reduce_mean(tf.sqrt(variance + self.epsilon))  # (h, w, c) -> ()
        feature = tf.fill((*tf.unstack(shape[:-1]), 1), tf.cast(deviation, inputs.dtype))
        return tf.concat([inputs, feature], axis=-1)  # (B, h, w, c) -> (B, h, w, c + 1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] + 1)

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self.epsilon}
