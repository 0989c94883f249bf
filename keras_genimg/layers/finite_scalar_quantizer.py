"""Quantisation without a codebook: a few levels per channel."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import is_integer
from keras_genimg.errors import InputError
from keras_genimg.layers.codebook import Quantizer
from keras_genimg.precision import at_least_float32

__all__ = ["FiniteScalarQuantizer"]

EPSILON = 1e-3  # keeps the outermost levels within reach of the tanh


@keras.saving.register_keras_serializable(package="keras_genimg")
class FiniteScalarQuantizer(Quantizer):
    """Rounds each channel to one of a few levels; every combination is a code.

    A channel with L levels is bounded by a shifted tanh, f(z) = (L - 1) / 2 * tanh(z + s) - o,
    rounded, and divided by floor(L / 2). The output has the gradient of the bounded value
    (straight-through). There is no codebook to learn, no dead code, and no loss.

    With an even L the offset o is 1/2, and the shift s takes z = 0 to a level. Two levels have no
    shift, unlike in the paper: z = 0 lies between them.

    Args:
        levels: sequence of ints of at least 2, one per channel, such as `(8, 5, 5, 5)` for
            1,000 codes.

    Call arguments:
        inputs: float tensor `(B, h, w, len(levels))` (any number of axes before the last).
        training, sample_weight: no effect; see `VectorQuantizer`.

    Returns:
        quantized: float tensor `(B, h, w, len(levels))` in [-1, 1]; with an even number of
            levels the highest is 1 - 2 / levels.
        indices: int32 tensor `(B, h, w)`; the first channel changes fastest.
        loss: float scalar, 0; float32 also under a 16-bit policy.

    Raises:
        InputError: levels that are not integers of at least 2, 2^31 codes or more, inputs
            with another number of channels.

    Example:
    >>> layer = FiniteScalarQuantizer((8, 5, 5, 5))
    >>> quantized, indices, loss = layer(keras.ops.zeros((2, 7, 7, 4)))
    >>> layer.num_embeddings, quantized.shape
    (1000, (2, 7, 7, 4))

    Reference: Mentzer et al. (2023), section 3 and appendix A.1,
        https://arxiv.org/abs/2309.15505
    """

    def __init__(self, levels: tuple | list, **kwargs):
        super().__init__(**kwargs)
        whole = isinstance(levels, (tuple, list)) and all(
            is_integer(level) and level >= 2 for level in levels
        )
        if not whole or not levels or math.prod(levels) >= 2**31:
            raise InputError(
                "levels must be integers of at least 2, one per channel, with a product below "
                f"2^31. Received: levels={levels!r}."
            )
        self.levels = tuple(int(level) for level in levels)
        self.embedding_dim = len(levels)
        self.num_embeddings = math.prod(levels)
        # In 16 bits inputs would round to other levels.
        self._precision = at_least_float32(self.dtype_policy)
        counts = np.array(levels, self._precision)
        self._half_width = np.floor(counts / 2)  # levels are the integers from -half_width
        self._reach = (counts - 1) * (1 + EPSILON) / 2
        self._offset = np.where(counts % 2 == 0, 0.5, 0.0).astype(counts.dtype)
        # Of two levels the shift would put one below z = -3.8 (-1.6 with the tangent of the paper's
        # code), where normalised vectors hardly come: perplexities of 1.0 (2.5) of 16 for N(0, I).
        self._shift = np.arctanh(self._offset / self._reach) * (counts > 2)
        self._basis = np.cumprod([1, *levels[:-1]]).astype("int32")
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, sample_weight: tf.Tensor | None = None
    ) -> tuple:
        if inputs.shape[-1] != self.embedding_dim:
            raise InputError(
                f"The last axis of the inputs must be {self.embedding_dim}, one channel for each "
                f"of levels={self.levels}. Received: inputs of shape {tuple(inputs.shape)}."
            )
        vectors = tf.cast(inputs, self._precision)
        bounded = self._reach * tf.tanh(vectors + self._shift) - self._offset  # (B, h, w, D)
        rounded = tf.round(bounded)
        digits = tf.cast(rounded + self._half_width, tf.int32)
        indices = tf.reduce_sum(digits * self._basis, axis=-1)  # (B, h, w)
        quantized = (bounded + tf.stop_gradient(rounded - bounded)) / self._half_width
        return tf.cast(quantized, self.compute_dtype), indices, tf.zeros((), self._precision)

    def decode(self, indices: tf.Tensor) -> tf.Tensor:
        """Decodes codes to vectors.

        Args:
            indices: int tensor `(B, h, w)`, from 0 to num_embeddings - 1.

        Returns:
            float tensor `(B, h, w, len(levels))` in [-1, 1].
        """
        digits = indices[..., None] // self._basis % np.array(self.levels, "int32")
        return (tf.cast(digits, self._precision) - self._half_width) / self._half_width

    def get_config(self) -> dict:
        return {**super().get_config(), "levels": list(self.levels)}
