"""Batch normalisation whose moments are those of the global batch."""

import keras
import tensorflow as tf

from keras_genimg.distribution import sum_over_replicas
from keras_genimg.errors import InputError

__all__ = ["BatchNormalization"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation over channels, synchronised and fused.

    Under a strategy the moments are those of the global batch, so that replicas
    change nothing. On one replica TensorFlow's fused kernel does in one pass
    what Keras composes of several (about twice as fast on a CPU). Variables,
    arguments and results are those of `keras.layers.BatchNormalization`; only
    the last axis can be normalised and masks are not taken.

    Args:
        **kwargs: `momentum`, `epsilon`, `center`, `scale`, ... as
            `keras.layers.BatchNormalization` has them.

    Call arguments:
        inputs: float tensor `(batch, ..., channels)`.
        training: bool. Whether the moments are those of the batch, and the moving ones follow.
        mask: None.

    Returns:
        float tensor of the same shape.

    Raises:
        InputError: an `axis` that is not the last.

    Example:
    >>> BatchNormalization(momentum=0.9)(keras.ops.ones((8, 7, 7, 16))).shape
    (8, 7, 7, 16)

    Reference: Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167
    """

    def build(self, input_shape):
        if self.axis not in (-1, len(input_shape) - 1):
            raise InputError(
                "BatchNormalization normalises the last axis alone, axis=-1. "
                f"Received: axis={self.axis}."
            )
        super().build(input_shape)

    def call(self, inputs, training=None, mask=None):
        if not training or not self.trainable:
            return super().call(inputs, training=False)
        inputs = tf.convert_to_tensor(inputs)
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            outputs, mean, variance = self._synchronized(inputs)
        else:
            outputs, mean, variance = self._fused(inputs)
        momentum = self.momentum
        for moving, moment in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving.value * momentum + tf.cast(moment, moving.dtype) * (1.0 - momentum))
        return outputs

    def _scale_and_offset(self):
        dtype = tf.float32  # moments of 16-bit activations are still taken in 32 bits
        channels = self.moving_mean.shape
        scale = tf.cast(self.gamma, dtype) if self.scale else tf.ones(channels, dtype)
        offset = tf.cast(self.beta, dtype) if self.center else tf.zeros(channels, dtype)
        return scale, offset

    def _fused(self, inputs):
        scale, offset = self._scale_and_offset()
        shape = tf.shape(inputs)
        images = inputs
        if inputs.shape.rank != 4:
            images = tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))  # (..., C) -> (N, 1, 1, C)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            images, scale, offset, epsilon=self.epsilon, is_training=True
        )
        # The kernel reports the unbiased variance; Keras tracks the biased one.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance = variance * (count - 1.0) / tf.maximum(count, 1.0)
        return tf.reshape(outputs, shape), mean, variance

    def _synchronized(self, inputs):
        scale, offset = self._scale_and_offset()
        values = tf.cast(inputs, tf.float32)
        axes = list(range(inputs.shape.rank - 1))
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        total, count = sum_over_replicas([tf.reduce_sum(values, axes), count])
        mean = total / count
        # A second pass around the common mean: E[x^2] - E[x]^2 would lose digits.
        variance = sum_over_replicas(tf.reduce_sum((values - mean) ** 2, axes)) / count
        outputs = tf.nn.batch_normalization(values, mean, variance, offset, scale, self.epsilon)
        return tf.cast(outputs, inputs.dtype), mean, variance
