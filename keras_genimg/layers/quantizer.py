"""The interface of all quantisers: the three tensors that they return."""

import keras
import tensorflow as tf

from keras_genimg.precision import at_least_float32

__all__ = ["Quantizer"]


class Quantizer(keras.layers.Layer):
    """A layer from vectors `(B, h, w, D)` to `(quantized, indices, loss)`.

    Subclasses have `num_embeddings` and `embedding_dim`, and `decode` from indices to vectors.
    """

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape), tuple(input_shape[:-1]), ()

    def compute_output_spec(self, inputs: tf.Tensor, training: bool = False) -> tuple:
        quantized, indices, loss = self.compute_output_shape(inputs.shape)
        return (
            keras.KerasTensor(quantized, dtype=self.compute_dtype),
            keras.KerasTensor(indices, dtype="int32"),
            keras.KerasTensor(loss, dtype=at_least_float32(self.dtype_policy)),
        )
