"""Centering of inputs around a fixed mean."""

import keras
import tensorflow as tf

__all__ = ["Centering"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class Centering(keras.layers.Layer):
    """Subtracts a fixed mean, 0 until `mean` is assigned.

    Dense layers with tanh learn much faster from inputs with mean 0.

    Attributes:
        mean: non-trainable weight of the shape of one input.

    Call arguments:
        inputs: float tensor `(batch, ...)`.

    Returns:
        float tensor of the same shape.

    Example:
    >>> layer = Centering()
    >>> layer(keras.ops.ones((2, 28, 28, 1))).shape
    (2, 28, 28, 1)

    Reference: LeCun et al. (1998), "Efficient BackProp", section 4.3
    """

    def build(self, input_shape: tuple) -> None:
        self.mean = self.add_weight(
            name="mean", shape=tuple(input_shape[1:]), initializer="zeros", trainable=False
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs - keras.ops.cast(self.mean, inputs.dtype)
