"""Batch normalisation with a scale and an offset per class."""

import keras
import tensorflow as tf
from keras import ops

from keras_genimg.checks import check_count, check_number
from keras_genimg.errors import InputError
from keras_genimg.layers.batch_normalization import BatchNormalization

__all__ = ["ConditionalBatchNormalization"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class ConditionalBatchNormalization(keras.layers.Layer):
    """Normalises over the batch, then scales and shifts by class: gamma_y x + beta_y.

    The moments are those of the whole batch, over all classes (and, under a
    strategy, all replicas). Each class has its own gamma, initially 1, and beta,
    initially 0.

    Args:
        num_classes: int. Rows of the tables of gamma and beta.
        momentum: float. Momentum of the moving moments.
        epsilon: float. Added to the variance.

    Raises:
        InputError: inputs other than `[inputs, labels]`.

    Example:
    >>> layer = ConditionalBatchNormalization(num_classes=10)
    >>> layer([keras.ops.ones((8, 7, 7, 16)), keras.ops.arange(8)]).shape
    (8, 7, 7, 16)

    Reference: Dumoulin et al. (2017), Eq. 5 with moments of the batch,
        https://arxiv.org/abs/1610.07629; de Vries et al. (2017),
        https://arxiv.org/abs/1707.00683; in the generator of a GAN: Miyato and
        Koyama (2018), https://arxiv.org/abs/1802.05637
    """

    def __init__(self, num_classes: int, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = check_count("num_classes", num_classes)
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)
        self.epsilon = check_number("epsilon", epsilon)
        self.normalization = BatchNormalization(
            momentum=momentum, epsilon=epsilon, center=False, scale=False, dtype=self.dtype_policy
        )

    def build(self, input_shape: tuple) -> None:
        ranks = [len(part) if isinstance(part, (tuple, list)) else None for part in input_shape]
        if ranks != [4, 1]:
            raise InputError(
                "ConditionalBatchNormalization takes [inputs, labels] of shapes (batch, height, "
                f"width, channels) and (batch,). Received: {input_shape}."
            )
        channels = input_shape[0][-1]
        self.normalization.build(input_shape[0])
        self.gamma = self.add_weight((self.num_classes, channels), "ones", name="gamma")
        self.beta = self.add_weight((self.num_classes, channels), "zeros", name="beta")

    def call(self, inputs: list, training: bool | None = None) -> tf.Tensor:
        """Normalises a batch.

        Args:
            inputs: list of float inputs `(batch, height, width, channels)` and
                int32 labels `(batch,)`.
            training: bool. Whether to use the moments of the batch.

        Returns:
            float tensor of the shape of the inputs.
        """
        inputs, labels = inputs
        normalized = self.normalization(inputs, training=training)
        gamma = ops.take(self.gamma, labels, axis=0)[:, None, None, :]  # (B,) -> (B, 1, 1, c)
        beta = ops.take(self.beta, labels, axis=0)[:, None, None, :]
        return normalized * gamma + beta

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape[0]

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }
