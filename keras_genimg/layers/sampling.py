"""The reparameterisation trick."""

import keras
import tensorflow as tf

from keras_genimg.distribution import global_batch, random_normal

__all__ = ["Sampling"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class Sampling(keras.layers.Layer):
    """Draws z from a Gaussian so that gradients reach its mean and variance.

    z = z_mean + exp(z_log_var / 2) * epsilon, with epsilon ~ N(0, I) drawn for
    the global batch: the same numbers on any number of replicas.

    Args:
        seed: int, optional. Makes the draws reproducible.

    Call arguments:
        z_mean: float tensor `(batch, latent_dim)`, or the pair
            `(z_mean, z_log_var)`.
        z_log_var: float tensor of the same shape, the logarithm of the variance.

    Returns:
        float tensor `(batch, latent_dim)`.

    Example:
    >>> Sampling()(keras.ops.zeros((8, 2)), keras.ops.zeros((8, 2))).shape
    (8, 2)

    Reference: Kingma and Welling (2014), section 2.4, https://arxiv.org/abs/1312.6114
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, z_mean: tf.Tensor | tuple, z_log_var: tf.Tensor | None = None) -> tf.Tensor:
        if z_log_var is None:
            z_mean, z_log_var = z_mean
        seed = self.seed_generator.next()
        epsilon = random_normal(global_batch(z_mean), z_mean.shape[1:], seed, z_mean.dtype)
        return z_mean + tf.exp(0.5 * z_log_var) * epsilon

    def compute_output_shape(
        self, z_mean_shape: tuple, z_log_var_shape: tuple | None = None
    ) -> tuple:
        return z_mean_shape if z_log_var_shape is not None else z_mean_shape[0]

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": self.seed}
