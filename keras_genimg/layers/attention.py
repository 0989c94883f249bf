"""Causal self-attention, over a whole sequence or one position at a time with a cache."""

import math

import keras
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["CausalSelfAttention"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class CausalSelfAttention(keras.layers.Layer):
    """Multi-head attention of each position to itself and those before it.

    softmax(q k^T / sqrt(d)) v in every head, with queries, keys and values of width / heads = d.
    `call` computes all positions at once; `step` computes one from the cached keys and values
    of earlier positions, with the same result.

    Args:
        num_heads: int. A divisor of the width of the inputs.

    Call arguments:
        inputs: float tensor `(B, T, width)`.

    Returns:
        float tensor `(B, T, width)`.

    Raises:
        InputError: a width that is not a multiple of `num_heads`.

    Example:
    >>> CausalSelfAttention(num_heads=4)(keras.ops.ones((2, 49, 64))).shape
    (2, 49, 64)

    Reference: Vaswani et al. (2017), section 3.2, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, num_heads: int, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, input_shape: tuple) -> None:
        width = input_shape[-1]
        if width % self.num_heads:
            raise InputError(
                "The width of the inputs must be a multiple of num_heads. "
                f"Received: a width of {width}, num_heads={self.num_heads}."
            )
        self.project = keras.layers.Dense(3 * width, dtype=self.dtype_policy)
        self.mix = keras.layers.Dense(width, dtype=self.dtype_policy)
        self.project.build(input_shape)
        self.mix.build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        queries, keys, values = self._heads(inputs)  # (B, heads, T, d)
        positions = tf.range(tf.shape(inputs)[1])
        visible = positions[:, None] >= positions  # (T, T)
        return self._attend(queries, keys, values, visible)

    def step(
        self, inputs: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, position: int | tf.Tensor
    ) -> tuple:
        """The output at one position.

        Args:
            inputs: float tensor `(B, 1, width)`.
            keys, values: float tensors `(B, heads, T, d)`, filled at the positions before
                this one.
            position: int32 scalar.

        Returns:
            float tensor `(B, 1, width)`, and the keys and values with this position added.
        """
        query, key, value = self._heads(inputs)  # (B, heads, 1, d)
        positions = tf.range(tf.shape(keys)[2])
        here = (positions == position)[:, None]  # (T, 1)
        keys, values = tf.where(here, key, keys), tf.where(here, value, values)
        return self._attend(query, keys, values, positions <= position), keys, values

    def _heads(self, inputs):
        x = self.project(inputs)  # (B, T, 3 * width)
        size = x.shape[-1] // (3 * self.num_heads)
        x = tf.reshape(x, (-1, tf.shape(x)[1], 3, self.num_heads, size))
        return tf.unstack(tf.transpose(x, (2, 0, 3, 1, 4)))  # 3 times (B, heads, T, d)

    def _attend(self, queries, keys, values, visible):
        scores = tf.matmul(queries, keys, transpose_b=True) / math.sqrt(keys.shape[-1])
        # In at least 32 bits under every policy: sums of exponentials.
        scores = tf.where(visible, tf.cast(scores, at_least_float32(scores.dtype)), -1e9)
        weights = tf.cast(tf.nn.softmax(scores), values.dtype)  # (B, heads, t, T)
        x = tf.transpose(tf.matmul(weights, values), (0, 2, 1, 3))  # (B, t, heads, d)
        width = self.num_heads * values.shape[-1]
        return self.mix(tf.reshape(x, (-1, tf.shape(x)[1], width)))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict:
        return {**super().get_config(), "num_heads": self.num_heads}
