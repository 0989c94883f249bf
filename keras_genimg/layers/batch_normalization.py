"""Batch normalisation with the moments of the global batch."""

import keras
import tensorflow as tf

from keras_genimg.distribution import sum_over_replicas
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["BatchNormalization"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation over channels, synchronised and fused.

    Under a strategy the moments are those of the global batch, so that the result
    does not depend on the number of replicas. On one replica TensorFlow's fused
    kernel does in one pass what Keras composes from several (about twice as fast
    on a CPU). Variables, arguments and results are those of
    `keras.layers.BatchNormalization`. It normalises the last axis only and takes
    no mask.

    Args:
        **kwargs: `momentum`, `epsilon`, `center`, `scale`, ...: see
            `keras.layers.BatchNormalization`.

    Call arguments:
        inputs: float tensor `(batch, ..., channels)`.
        training: bool. Whether to use the moments of the batch and update the moving ones.
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

    def build(self, input_shape: tuple) -> None:
        if self.axis not in (-1, len(input_shape) - 1):
            raise InputError(
                "BatchNormalization normalises the last axis only, axis=-1. "
                f"Received: axis={self.axis}."
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        if not training or not self.trainable:
            return super().call(inputs, training=False)
        inputs = tf.convert_to_tensor(inputs)
        context = tf.distribute.get_replica_context()
        several = context is not None and context.num_replicas_in_sync > 1
        if several or inputs.dtype == tf.float64:  # the kernel has no float64
            outputs, mean, variance = self._synchronized(inputs)
        else:
            outputs, mean, variance = self._fused(inputs)
        for moving, moment in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moment = tf.cast(moment, moving.dtype)
            moving.assign(moving.value * self.momentum + moment * (1.0 - self.momentum))
        return outputs

    def _scale_and_offset(self, dtype):
        channels = self.moving_mean.shape
        scale = tf.cast(self.gamma, dtype) if self.scale else tf.ones(channels, dtype)
        offset = tf.cast(self.beta, dtype) if self.center else tf.zeros(channels, dtype)
        return scale, offset

    def _fused(self, inputs):
        scale, offset = self._scale_and_offset(tf.float32)
        shape = tf.shape(inputs)
        if inputs.shape.rank != 4:
            inputs = tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))  # (..., C) -> (N, 1, 1, C)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, epsilon=self.epsilon, is_training=True
        )
        # The kernel reports the unbiased variance; Keras tracks the biased one.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance = variance * (count - 1.0) / tf.maximum(count, 1.0)
        return tf.reshape(outputs, shape), mean, variance

    def _synchronized(self, inputs):
        dtype = at_least_float32(inputs.dtype)  # moments of 16-bit activations need 32 bits
        scale, offset = self._scale_and_offset(dtype)
        values = tf.cast(inputs, dtype)
        axes = list(range(inputs.shape.rank - 1))
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], dtype)
        total, count = sum_over_replicas([tf.reduce_sum(values, axes), count])
        mean = total / count
        # A second pass around the common mean: E[x^2] - E[x]^2 would lose digits.
        variance = sum_over_replicas(tf.reduce_sum((values - mean) ** 2, axes)) / count
        outputs = tf.nn.batch_normalization(values, mean, variance, offset, scale, self.epsilon)
        return tf.cast(outputs, inputs.dtype), mean, variance
