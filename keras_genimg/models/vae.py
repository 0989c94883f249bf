"""VAE: the evidence lower bound of Kingma and Welling (2014)."""

import inspect
import math

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_choice, check_count, check_number, check_seed
from keras_genimg.core import (
    LatentVariableModel,
    build_network,
    check_network_options,
    history_of,
)
from keras_genimg.errors import InputError
from keras_genimg.layers import Centering, GaussianMixture, Sampling
from keras_genimg.losses import (
    bernoulli_log_likelihood,
    discretized_logistic_log_likelihood,
    gaussian_kl,
    gaussian_log_likelihood,
)
from keras_genimg.networks import (
    conv_decoder,
    conv_encoder,
    mlp_decoder,
    mlp_encoder,
    residual_decoder,
    residual_encoder,
)
from keras_genimg.precision import at_least_float32

__all__ = ["VAE"]

LIKELIHOODS = ("bernoulli", "gaussian", "discretized_logistic")
NETWORKS = {
    "conv": (conv_encoder, conv_decoder),
    "mlp": (mlp_encoder, mlp_decoder),
    "residual": (residual_encoder, residual_decoder),
}


@keras.saving.register_keras_serializable(package="keras_genimg")
class VAE(LatentVariableModel):
    """Variational autoencoder (Kingma and Welling, 2014).

    The encoder gives q(z|x) = N(z_mean, exp(z_log_var)), the decoder p(x|z); both
    are trained jointly by maximising the evidence lower bound
    E_q[log p(x|z)] - KL(q(z|x) || N(0, I)).

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        networks: the default networks, `"conv"`, `"mlp"` or `"residual"` (slower, with a higher
            likelihood).
        network_options: dict, keyword arguments of the functions that make them: for `"conv"`
            `filters`, `widest` and `kernel_size`; for `"mlp"` `activation` and `units`, the
            widths of the encoder, reversed in the decoder; for `"residual"` `filters`, `widest`,
            `blocks` and `units`.
        encoder: custom `keras.Model`, images to `[z_mean, z_log_var]`.
        decoder: custom `keras.Model`, `(batch, latent_dim)` to one unbounded value per pixel
            (a logit or a mean).
        beta: float. Weight of the KL term; 1 is the bound itself, more than 1 is
            the beta-VAE (Higgins et al., 2017).
        likelihood: p(x|z). `"bernoulli"` (grey values count as probabilities),
            `"gaussian"` or `"discretized_logistic"` (256 levels); the scale of
            the last two is learned, one number per channel.
        kl_warmup_steps: int. Steps over which the KL weight rises from 0 to beta.
        free_bits: float, nats. Lower bound on the KL term of each latent dimension, averaged
            over the batch, so that no dimension collapses early (lambda in Eq. 15 of Kingma et
            al., 2016).
        prior: `GaussianMixture` that `generate` draws z from, usually set by `fit_prior`; None
            for N(0, I). The bound and the likelihood do not depend on it.
        seed: int, optional. Makes the training noise reproducible.

    Logs: `loss`, `reconstruction_loss` (-log p(x|z)), `kl_loss` and `elbo`, in
    nats per image: summed over pixels and averaged over the batch. With the discretised
    logistic also `bits_per_dim`, -elbo / (height width channels log 2). `loss` is what training
    descends, with `beta`, `kl_warmup_steps` and `free_bits`, on held-out images too; `elbo` is the
    bound without them, and comparable between epochs.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> vae = VAE(image_shape=(28, 28, 1), latent_dim=16)
    >>> vae.compile()
    >>> vae.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1312.6114; `free_bits`: https://arxiv.org/abs/1606.04934
    """

    about = "variational autoencoder"
    paper = "Kingma and Welling, 2014"
    weighs_images = True

    def __init__(
        self, image_shape=(28, 28, 1), latent_dim: int = 32, *, networks: str = "conv",
        network_options: dict | None = None, encoder=None, decoder=None, beta: float = 1.0,
        likelihood: str = "bernoulli", kl_warmup_steps: int = 0, free_bits: float = 0.0,
        prior: GaussianMixture | None = None, seed: int | None = None, **kwargs,
    ):
        draws = check_count("importance_samples", kwargs.pop("importance_samples", 1))
        if draws > 1:
            raise InputError(
                "importance_samples above 1 are for IWAE. "
                f"Received: importance_samples={draws!r} for {type(self).__name__}."
            )
        super().__init__(image_shape, seed=seed, **kwargs)
        self.latent_dim = check_count("latent_dim", latent_dim)
        self.networks = check_choice("networks", networks, NETWORKS)
        self.beta = check_number("beta", beta)
        self.likelihood = check_choice("likelihood", likelihood, LIKELIHOODS)
        self.kl_warmup_steps = check_count("kl_warmup_steps", kl_warmup_steps, minimum=0)
        self.free_bits = check_number("free_bits", free_bits)

        options = check_network_options(
            network_options, NETWORKS[networks], default_networks=encoder is None or decoder is None
        )
        reverse = dict(options)
        if isinstance(options.get("units"), (list, tuple)):
            reverse["units"] = options["units"][::-1]
        make_encoder, make_decoder = self.default_networks(networks)
        shape, latents = self.image_shape, (latent_dim,)
        self.encoder = self.make_network(
            "encoder", encoder, lambda: build_network(make_encoder, shape, latent_dim, **options),
            takes=self.conditioned(shape, ()), makes=[latents, latents],
        )
        self.decoder = self.make_network(
            "decoder", decoder, lambda: build_network(make_decoder, shape, latent_dim, **reverse),
            takes=self.conditioned(latents, ()), makes=shape,
        )
        self.prior = None if prior is None else self.make_network("prior", prior, None, latents)
        dtype = at_least_float32(self.dtype_policy)
        self.sampling = Sampling(seed=seed, dtype=dtype)
        # Logarithm of the standard deviation (Gaussian) or of the scale s (logistic).
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(shape[2],),
            initializer=keras.initializers.Constant(-2.0),
            dtype=dtype,
            trainable=likelihood != "bernoulli",
        )
        self.built = True

    def __new__(cls, *args, **kwargs):
        if cls is VAE and kwargs.get("importance_samples", 1) != 1:  # an option of version 0.1
            from keras_genimg.models.iwae import IWAE as cls
        return super().__new__(cls, *args, **kwargs)

    __new__.__signature__ = inspect.signature(__init__)  # what help(VAE) shows

    def default_networks(self, networks: str) -> tuple:
        """The functions that make the default networks.

        Args:
            networks: `"conv"`, `"mlp"` or `"residual"`.

        Returns:
            two functions `(image_shape, latent_dim, **network_options)`: encoder's and decoder's.
        """
        return NETWORKS[networks]

    def train_step(self, data):
        """Algorithm 1 of Kingma and Welling (2014), with one draw of z per image (L = 1)."""
        images, labels, batch = self.unpack(data)  # x: (B, h, w, c)
        with tf.GradientTape() as tape:
            # 1. q(z|x), and z ~ q(z|x) by the reparameterisation trick.
            inputs = self.conditioned(images, labels)
            z_mean, z_log_var = self.encoder(inputs, training=True)  # (B, latent_dim) each
            z = self.sampling(z_mean, z_log_var)  # (B, latent_dim)

            # 2. p(x|z), and the two terms of the bound (Eq. 10), in nats per image.
            outputs = self.decoder(self.conditioned(z, labels), training=True)  # (B, h, w, c)
            reconstruction_loss = -batch.mean(self.log_likelihood_of(images, outputs))
            kl_loss = batch.mean(gaussian_kl(z_mean, z_log_var))

            # 3. Descend -E_q[log p(x|z)] + KL(q(z|x) || N(0, I)).
            loss = reconstruction_loss + self.weighted_kl(z_mean, z_log_var, batch)
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, batch.share)  # adds up to the global mean
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 4. Logs.
        return self.log_terms(batch, loss, reconstruction_loss, kl_loss)

    def test_step(self, data):
        """The bound on held-out images, and the loss that training descends."""
        images, labels, batch = self.unpack(data)
        z_mean, z_log_var = self.posterior(images, labels)
        z = self.conditioned(self.sampling(z_mean, z_log_var), labels)
        outputs = self.decoder(z, training=False)
        reconstruction_loss = -batch.mean(self.log_likelihood_of(images, outputs))
        kl_loss = batch.mean(gaussian_kl(z_mean, z_log_var))
        loss = reconstruction_loss + self.weighted_kl(z_mean, z_log_var, batch)
        return self.log_terms(batch, loss, reconstruction_loss, kl_loss)

    def log_likelihood_of(self, images, outputs) -> tf.Tensor:
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(images, outputs)
        log_scale = tf.convert_to_tensor(self.log_scale)
        if self.likelihood == "gaussian":
            return gaussian_log_likelihood(images, outputs, 2.0 * log_scale)
        return discretized_logistic_log_likelihood(images, outputs, log_scale)

    def means_of(self, outputs) -> tf.Tensor:
        if self.likelihood == "bernoulli":
            return 2.0 * tf.sigmoid(outputs) - 1.0
        return tf.clip_by_value(outputs, -1.0, 1.0)

    def weighted_kl(self, z_mean, z_log_var, batch: distribution.GlobalBatch) -> tf.Tensor:
        """The KL term of the loss: with `free_bits`, times `kl_weight`.

        Args:
            z_mean, z_log_var: float tensors `(batch, latent_dim)`.
            batch: `GlobalBatch`; `free_bits` averages over all its images.

        Returns:
            float scalar, nats per image.
        """
        if not self.free_bits:
            return self.kl_weight() * batch.mean(gaussian_kl(z_mean, z_log_var))
        # Eq. 15 of Kingma et al. (2016): the sum over dimensions of max(lambda, mean KL), the
        # mean being that of the global batch.
        columns = (tf.reshape(each, (-1, 1)) for each in (z_mean, z_log_var))  # (B*d, 1)
        terms = tf.reshape(gaussian_kl(*columns), tf.shape(z_mean))  # (B*d,) -> (B, d)
        sums = tf.reduce_sum(distribution.weighted(terms, batch.weights), axis=0)  # (d,)
        means = distribution.sum_over_replicas(sums)
        means /= tf.cast(batch.global_size, means.dtype)
        return self.kl_weight() * tf.reduce_sum(tf.maximum(means, self.free_bits))

    def kl_weight(self) -> float | tf.Tensor:
        """beta, reached linearly over `kl_warmup_steps` steps of the optimizer.

        Returns:
            float or float scalar tensor, from 0 to beta.
        """
        if not self.kl_warmup_steps:
            return self.beta
        step = tf.cast(self.optimizer.iterations, at_least_float32(self.dtype_policy))
        return self.beta * tf.minimum(step / self.kl_warmup_steps, 1.0)

    def log_terms(self, batch, loss, reconstruction_loss, kl_loss, elbo=None) -> dict:
        """Logs a step.

        Args:
            batch: its `GlobalBatch`.
            loss, reconstruction_loss, kl_loss: float scalars.
            elbo: float scalar, the bound; None for -reconstruction_loss - kl_loss.

        Returns:
            dict, see `log`.
        """
        elbo = -reconstruction_loss - kl_loss if elbo is None else elbo
        terms = {"reconstruction_loss": reconstruction_loss, "kl_loss": kl_loss, "elbo": elbo}
        if self.likelihood == "discretized_logistic":
            terms["bits_per_dim"] = -elbo / (math.prod(self.image_shape) * math.log(2.0))
        return self.log(batch, loss=loss, **terms)

    def adapt(self, images) -> None:
        if self.networks == "mlp" and not self.is_custom("encoder", "decoder"):
            self.start_at_mean(images)

    def start_at_mean(self, images) -> None:
        """Centres the inputs of the dense encoder, and starts the decoder at the mean image.

        Call it, or `adapt`, before `fit`. The encoder's input stays centred, and the decoder's
        last bias is set so that the initial output is the mean image, as in the code of Burda et
        al. (2016). The networks then learn differences between images, in a fraction of the
        steps. With several workers, each must call it with the same images.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; a thousand are enough.

        Raises:
            InputError: invalid images; other networks than those of `networks="mlp"`.
        """
        mean = self.checked_images(images).mean(axis=0)
        if self.networks != "mlp" or self.is_custom("encoder", "decoder"):
            raise InputError(
                'start_at_mean is for the default networks of networks="mlp". '
                f"Received: networks={self.networks!r}, or custom networks."
            )
        outputs = mean
        if self.likelihood == "bernoulli":  # logits, with probabilities from 0.001 to 0.999
            share = np.clip((mean + 1) / 2, 1e-3, 1 - 1e-3)
            outputs = np.log(share / (1 - share))
        for layer in self._flatten_layers():
            if isinstance(layer, Centering):  # a conditional encoder's also covers one-hot classes
                centre = np.zeros(layer.mean.shape, "float32")
                centre[..., : mean.shape[-1]] = mean
                layer.mean.assign(centre)
            elif layer.name == "pixels":
                layer.bias.assign(outputs.reshape(-1))

    def fit_prior(
        self, images, labels=None, *, num_components: int = 10, seed: int = 0
    ) -> keras.callbacks.History:
        """Fits a mixture of Gaussians to the latents of images, which `generate` then draws from.

        The latents of a trained model do not fill N(0, I). Draws from N(0, I) can lie where there
        are no latents and the decoder was not trained.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]: images that the
                model was trained on. Their latents are drawn from q(z|x).
            labels: of a conditional model, see `encode`.
            num_components: int. Gaussians in the mixture.
            seed: int. Seed of the draws and of the initial mixture.

        Returns:
            `keras.callbacks.History`; `log_likelihood` is the mean log p(z) before each iteration
            of the fit, nats.

        Raises:
            InputError: invalid images or labels, or too few of them.

        Reference: Ghosh et al. (2020), section 4, https://arxiv.org/abs/1903.12436
        """
        z_mean, z_log_var = self._in_parts("posterior", self.checked_images(images), labels)
        noise = np.random.default_rng(check_seed(seed)).normal(size=z_mean.shape)
        mixture = GaussianMixture(num_components, self.latent_dim, dtype=self.dtype_policy)
        log_likelihood = mixture.fit(z_mean + np.exp(0.5 * z_log_var) * noise, seed=seed)
        self.hold("prior", mixture)
        return history_of(mixture, {"log_likelihood": log_likelihood})
