"""What quantisers have in common: the three tensors that they return."""

import keras

__all__ = ["Quantizer"]


class Quantizer(keras.layers.Layer):
    """A layer from vectors `(B, h, w, D)` to `(quantized, indices, loss)`.

    Subclasses have `num_embeddings` and `embedding_dim`, and `decode` from indices to vectors.
    """

    def compute_output_shape(self, input_shape):
        return tuple(input_shape), tuple(input_shape[:-1]), ()

    def compute_output_spec(self, inputs, training=False):
        quantized, indices, loss = self.compute_output_shape(inputs.shape)
        return (
            keras.KerasTensor(quantized, dtype=self.compute_dtype),
            keras.KerasTensor(indices, dtype="int32"),
            keras.KerasTensor(loss, dtype="float32"),
        )
