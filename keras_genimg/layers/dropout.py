"""Dropout with a mask that does not depend on the number of replicas."""

import keras
import tensorflow as tf

from keras_genimg.checks import is_number
from keras_genimg.distribution import global_batch, random_uniform
from keras_genimg.errors import InputError

__all__ = ["Dropout"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class Dropout(keras.layers.Layer):
    """Sets a fraction of the units to zero during training.

    Keras's own layer gives every replica the same mask, so that two replicas train
    differently from one. Here the mask is drawn for the global batch and each
    replica uses the rows of its own images.

    Args:
        rate: float in [0, 1). Fraction of the units set to zero; the others are
            divided by `1 - rate`.
        seed: int, optional. Makes the masks reproducible.

    Call arguments:
        inputs: float tensor `(batch, ...)`.
        training: bool. Otherwise the layer is the identity.

    Returns:
        float tensor of the same shape.

    Raises:
        InputError: a rate outside [0, 1).

    Example:
    >>> Dropout(0.25)(keras.ops.ones((8, 7, 7, 16)), training=True).shape
    (8, 7, 7, 16)

    Reference: Srivastava et al. (2014), Journal of Machine Learning Research 15,
        https://jmlr.org/papers/v15/srivastava14a.html
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not is_number(rate) or not 0 <= rate < 1:
            raise InputError(
                f"rate must be a number of at least 0 and below 1. Received: rate={rate!r}."
            )
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return inputs
        uniform = random_uniform(global_batch(inputs), inputs.shape[1:], self.seed_generator.next())
        keep = tf.cast(uniform >= self.rate, inputs.dtype)
        return inputs * keep / (1.0 - self.rate)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
