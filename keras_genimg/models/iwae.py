"""IWAE: the importance-weighted bound of Burda et al. (2016)."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_count
from keras_genimg.core import log_ratio
from keras_genimg.errors import InputError
from keras_genimg.layers import GaussianMixture
from keras_genimg.losses import gaussian_kl, importance_weighted_bound
from keras_genimg.models.vae import VAE

__all__ = ["IWAE"]

# How a VAE may weight its KL term; IWAE takes only these values.
UNWEIGHTED = {"beta": 1.0, "kl_warmup_steps": 0, "free_bits": 0.0}


@keras.saving.register_keras_serializable(package="keras_genimg")
class IWAE(VAE):
    """Importance-weighted autoencoder (Burda et al., 2016).

    A `VAE` that is trained on a tighter bound on log p(x): the logarithm of the mean of k
    importance weights,
    L_k = E[log 1/k sum_i p(x, z_i) / q(z_i|x)] with z_1, ..., z_k ~ q(z|x).
    L_1 is the evidence lower bound, and L_k approaches log p(x) as k grows.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        importance_samples: int. Draws of z per image (k).
        networks, network_options, encoder, decoder, likelihood, prior, seed: see `VAE`.

    Logs: see `VAE`; `elbo` is L_k.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> iwae = IWAE(image_shape=(28, 28, 1), latent_dim=16, importance_samples=5)
    >>> iwae.compile()
    >>> iwae.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1509.00519
    """

    about = "importance-weighted autoencoder"
    paper = "Burda et al., 2016"
    weighs_images = True

    def __init__(
        self, image_shape=(28, 28, 1), latent_dim: int = 32, *, importance_samples: int = 5,
        networks: str = "conv", network_options: dict | None = None, encoder=None, decoder=None,
        likelihood: str = "bernoulli", prior: GaussianMixture | None = None,
        seed: int | None = None, **kwargs,
    ):
        weighting = {name: kwargs.pop(name, value) for name, value in UNWEIGHTED.items()}
        if weighting != UNWEIGHTED:
            raise InputError(
                "IWAE is trained on its bound alone, without beta, kl_warmup_steps or free_bits. "
                f"Received: {', '.join(f'{name}={value!r}' for name, value in weighting.items())}."
            )
        super().__init__(
            image_shape, latent_dim, networks=networks, network_options=network_options,
            encoder=encoder, decoder=decoder, likelihood=likelihood, prior=prior, seed=seed,
            **kwargs,
        )
        self.importance_samples = check_count("importance_samples", importance_samples)

    def train_step(self, data):
        """One update of section 3 of Burda et al. (2016)."""
        images, _, batch = self.unpack(data)  # x: (B, h, w, c)
        with tf.GradientTape() as tape:
            # 1. q(z|x), and z_1, ..., z_k ~ q(z|x) by the reparameterisation trick.
            z_mean, z_log_var = self.encoder(images, training=True)  # (B, latent_dim) each
            z = self.draw(z_mean, z_log_var)  # (k, B, latent_dim)

            # 2. Importance weights w_i = p(x|z_i) p(z_i) / q(z_i|x), as logarithms.
            log_likelihoods = self.log_likelihoods(images, z, training=True)  # (k, B)
            log_weights = log_likelihoods + log_ratio(z, z_mean, z_log_var)  # (k, B)

            # 3. Descend -L_k = -log 1/k sum_i w_i (Eq. 8).
            loss = -batch.mean(importance_weighted_bound(log_weights))
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, batch.share)  # adds up to the global mean
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 4. Logs.
        reconstruction_loss = -batch.mean(tf.reduce_mean(log_likelihoods, axis=0))
        kl_loss = batch.mean(gaussian_kl(z_mean, z_log_var))
        return self.log_terms(batch, loss, reconstruction_loss, kl_loss, elbo=-loss)

    def test_step(self, data):
        """The bound L_k on held-out images."""
        images, _, batch = self.unpack(data)
        z_mean, z_log_var = self.posterior(images)
        z = self.draw(z_mean, z_log_var)
        log_likelihoods = self.log_likelihoods(images, z)
        log_weights = log_likelihoods + log_ratio(z, z_mean, z_log_var)
        loss = -batch.mean(importance_weighted_bound(log_weights))
        reconstruction_loss = -batch.mean(tf.reduce_mean(log_likelihoods, axis=0))
        kl_loss = batch.mean(gaussian_kl(z_mean, z_log_var))
        return self.log_terms(batch, loss, reconstruction_loss, kl_loss, elbo=-loss)

    def draw(self, z_mean, z_log_var) -> tf.Tensor:
        """k draws of z ~ N(z_mean, exp(z_log_var)) per image, k being `importance_samples`.

        Args:
            z_mean, z_log_var: float tensors `(batch, latent_dim)`.

        Returns:
            float tensor `(k, batch, latent_dim)`.
        """
        k = self.importance_samples
        means, log_vars = (tf.repeat(each[:, None], k, axis=1) for each in (z_mean, z_log_var))
        return tf.transpose(self.sampling(means, log_vars), (1, 0, 2))  # (B, k, d) -> (k, B, d)
