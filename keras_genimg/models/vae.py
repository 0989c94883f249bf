"""VAE: the evidence lower bound of Kingma and Welling (2014)."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError
from keras_genimg.layers import Centering, GaussianMixture, Sampling
from keras_genimg.losses import (
    bernoulli_log_likelihood,
    discretized_logistic_log_likelihood,
    gaussian_kl,
    gaussian_log_likelihood,
    importance_weighted_bound,
)
from keras_genimg.models.base import ImageModel, latent_seed
from keras_genimg.models.checks import adopt_network, check_latents, check_number, check_seed
from keras_genimg.models.options import build_network, check_network_options
from keras_genimg.networks import (
    check_count,
    check_image_shape,
    conv_decoder,
    conv_encoder,
    mlp_decoder,
    mlp_encoder,
    residual_decoder,
    residual_encoder,
)

__all__ = ["VAE"]

LIKELIHOODS = ("bernoulli", "gaussian", "discretized_logistic")
NETWORKS = {
    "conv": (conv_encoder, conv_decoder),
    "mlp": (mlp_encoder, mlp_decoder),
    "residual": (residual_encoder, residual_decoder),
}


def log_ratio(z, z_mean, z_log_var):
    """log p(z) - log q(z|x) of z `(k, batch, d)`, p(z) = N(0, I): `(k, batch)`, nats."""
    errors = tf.square(z - z_mean) * tf.exp(-z_log_var)
    return 0.5 * tf.reduce_sum(errors + z_log_var - tf.square(z), axis=-1)


@keras.saving.register_keras_serializable(package="keras_genimg")
class VAE(ImageModel):
    """Variational autoencoder (Kingma and Welling, 2014).

    The encoder gives q(z|x) = N(z_mean, exp(z_log_var)), the decoder p(x|z); both
    learn at once by maximising the evidence lower bound
    E_q[log p(x|z)] - KL(q(z|x) || N(0, I)).

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of z.
        networks: the default networks, `"conv"`, `"mlp"` or `"residual"` (slower, and likelier).
        network_options: dict, keyword arguments of the functions that make them: of `"conv"`
            `filters`, `widest` and `kernel_size`; of `"mlp"` `activation` and `units`, the widths
            of the encoder, which the decoder has in reverse; of `"residual"` `filters`, `widest`,
            `blocks` and `units`.
        encoder: `keras.Model` of one's own, images to `[z_mean, z_log_var]`.
        decoder: `keras.Model` of one's own, `(batch, latent_dim)` to one
            unbounded value a pixel (a logit or a mean).
        beta: float. Weight of the KL term; 1 is the bound itself, more than 1 is
            the beta-VAE (Higgins et al., 2017).
        likelihood: p(x|z). `"bernoulli"` (grey values count as probabilities),
            `"gaussian"` or `"discretized_logistic"` (256 levels); the scale of
            the last two is learned, one number a channel.
        kl_warmup_steps: int. Steps over which the KL weight rises from 0 to beta.
        free_bits: float, nats. The KL term of each latent dimension, a mean over the
            batch, counts as this much where it is less, so that no dimension is given up
            early (lambda in Eq. 15 of Kingma et al., 2016).
        importance_samples: int. Draws of z a picture (k); more than one trains on the
            bound L_k of Burda et al. (2016), which is nearer to log p(x).
        prior: `GaussianMixture` that `generate` draws z from, usually set by `fit_prior`; None
            for N(0, I). No bound or likelihood goes by it.
        seed: int, optional. Makes the noise of training repeatable.

    Logs: `loss`, `reconstruction_loss` (-log p(x|z)), `kl_loss` and `elbo`, in
    nats a picture: sums over pixels, means over the batch. `elbo` is the bound with k
    draws. With the discretised logistic also `bits_per_dim`, -elbo / (pixels log 2).

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> vae = VAE(image_shape=(28, 28, 1), latent_dim=16)
    >>> vae.compile()
    >>> vae.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1312.6114; `importance_samples`:
        https://arxiv.org/abs/1509.00519; `free_bits`: https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        image_shape=(28, 28, 1),
        latent_dim=32,
        *,
        networks="conv",
        network_options=None,
        encoder=None,
        decoder=None,
        beta=1.0,
        likelihood="bernoulli",
        kl_warmup_steps=0,
        free_bits=0.0,
        importance_samples=1,
        prior=None,
        seed=None,
        **kwargs,
    ):
        own_networks = encoder is not None and decoder is not None
        image_shape = check_image_shape(image_shape, default_networks=not own_networks)
        super().__init__(image_shape, seed=seed, **kwargs)
        self.latent_dim = check_count("latent_dim", latent_dim)
        self.beta = check_number("beta", beta)
        self.kl_warmup_steps = check_count("kl_warmup_steps", kl_warmup_steps, minimum=0)
        self.free_bits = check_number("free_bits", free_bits)
        self.importance_samples = check_count("importance_samples", importance_samples)
        if importance_samples > 1 and (beta != 1 or free_bits or kl_warmup_steps):
            raise InputError(
                "More than one of importance_samples is for the bound alone, without beta, free_bits "
                f"and kl_warmup_steps. Received: importance_samples={importance_samples}, beta={beta}, "
                f"free_bits={free_bits}, kl_warmup_steps={kl_warmup_steps}."
            )
        if not isinstance(networks, str) or networks not in NETWORKS:
            raise InputError(f"networks must be one of {', '.join(NETWORKS)}. Received: {networks!r}.")
        if likelihood not in LIKELIHOODS:
            raise InputError(
                f"likelihood must be one of {', '.join(LIKELIHOODS)}. Received: {likelihood!r}."
            )
        self.networks = networks
        self.likelihood = likelihood
        self.network_options = check_network_options(
            network_options, NETWORKS[networks], default_networks=not own_networks
        )
        options = self.network_options
        make_encoder, make_decoder = self.default_networks(networks)
        self.encoder = adopt_network(
            "encoder",
            encoder or build_network(make_encoder, image_shape, latent_dim, **options),
            self.taken(image_shape),
            [(latent_dim,), (latent_dim,)],
        )
        if isinstance(options.get("units"), (list, tuple)):
            options = {**options, "units": options["units"][::-1]}
        self.decoder = adopt_network(
            "decoder",
            decoder or build_network(make_decoder, image_shape, latent_dim, **options),
            self.taken((latent_dim,)),
            [image_shape],
        )
        self._own_networks = [encoder is not None, decoder is not None]
        self.prior = None
        if prior is not None:
            self.prior = adopt_network("prior", prior, (latent_dim,), None)
        self.sampling = Sampling(seed=seed, dtype="float32")
        # Logarithm of the standard deviation (Gaussian) or of the scale s (logistic).
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(image_shape[2],),
            initializer=keras.initializers.Constant(-1.0),
            dtype="float32",
            trainable=likelihood != "bernoulli",
        )
        self.built = True

    def default_networks(self, name):
        """The functions that make the default networks.

        Args:
            name: `"conv"`, `"mlp"` or `"residual"`.

        Returns:
            two functions `(image_shape, latent_dim, **network_options)`: encoder's and decoder's.
        """
        return NETWORKS[name]

    def taken(self, shape):
        """What a network takes, as `adopt_network` wants to know it.

        Args:
            shape: tuple. Of one input, without the batch axis.

        Returns:
            that tuple; of a conditional model `KerasTensor`s of the input and int32 labels, a list.
        """
        if not self.needs_labels:
            return shape
        return [keras.KerasTensor((None, *shape)), keras.KerasTensor((None,), "int32")]

    def train_step(self, data):
        """One step of Algorithm 1 of Kingma and Welling (2014), with L = 1 draw of z.

        With k = `importance_samples` draws it is the step of section 3 of Burda et al. (2016).
        """
        images, labels, batch = self.unpack(data)  # (B, h, w, c)
        with tf.GradientTape() as tape:
            # 1. q(z|x), and z ~ q(z|x) by the reparameterisation trick.
            z_mean, z_log_var = self.encoder(  # (B, latent_dim) each
                self.given(images, labels), training=True
            )
            z = self.draw(z_mean, z_log_var)  # (k, B, latent_dim)

            # 2. The two terms of the bound (Eq. 10), in nats a picture.
            log_likelihoods = self.log_likelihoods(images, z, labels, training=True)  # (k, B)
            reconstruction_loss = -tf.reduce_mean(log_likelihoods)
            kl_loss = tf.reduce_mean(gaussian_kl(z_mean, z_log_var))

            # 3. Descend -E_q[log p(x|z)] + beta KL, or -L_k (Burda et al., Eq. 8).
            if self.importance_samples == 1:
                elbo = -reconstruction_loss - kl_loss
                kl_term = self.freed(z_mean, z_log_var, batch) if self.free_bits else kl_loss
                loss = reconstruction_loss + self.kl_weight() * kl_term
            else:
                log_weights = log_likelihoods + log_ratio(z, z_mean, z_log_var)  # (k, B)
                elbo = tf.reduce_mean(importance_weighted_bound(log_weights))
                loss = -elbo
            shared_loss = loss * batch.share
        weights = self.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 4. Logs.
        return self._log_terms(batch, loss, reconstruction_loss, kl_loss, elbo)

    def test_step(self, data):
        """The bound on pictures that were not trained on."""
        images, labels, batch = self.unpack(data)
        z_mean, z_log_var = self.encoder(self.given(images, labels), training=False)
        z = self.draw(z_mean, z_log_var)
        log_likelihoods = self.log_likelihoods(images, z, labels)
        reconstruction_loss = -tf.reduce_mean(log_likelihoods)
        kl_loss = tf.reduce_mean(gaussian_kl(z_mean, z_log_var))
        if self.importance_samples == 1:
            elbo = -reconstruction_loss - kl_loss
            loss = reconstruction_loss + self.beta * kl_loss
        else:
            log_weights = log_likelihoods + log_ratio(z, z_mean, z_log_var)
            elbo = tf.reduce_mean(importance_weighted_bound(log_weights))
            loss = -elbo
        return self._log_terms(batch, loss, reconstruction_loss, kl_loss, elbo)

    def given(self, inputs, labels):
        """What a network is called with.

        Args:
            inputs: float tensor `(n, ...)`, images or latents.
            labels: int32 tensor `(n,)` of a conditional model, else None.

        Returns:
            `inputs` alone; of a conditional model `[inputs, labels]`.
        """
        return [inputs, labels] if self.needs_labels else inputs

    def draw(self, z_mean, z_log_var):
        """k draws of z ~ N(z_mean, exp(z_log_var)), k being `importance_samples`.

        Args:
            z_mean, z_log_var: float tensors `(batch, latent_dim)`.

        Returns:
            float tensor `(k, batch, latent_dim)`.
        """
        k = self.importance_samples
        means, log_vars = (tf.repeat(each[:, None], k, axis=1) for each in (z_mean, z_log_var))
        return tf.transpose(self.sampling(means, log_vars), (1, 0, 2))  # (B, k, d) -> (k, B, d)

    def log_likelihoods(self, images, z, labels=None, training=False):
        """log p(x|z) of pictures under several z each.

        Args:
            images: float tensor `(batch, h, w, c)`.
            z: float tensor `(k, batch, latent_dim)`; k must be known.
            labels: int32 tensor `(batch,)`, of a conditional model: log p(x|z, label).
            training: bool. How the decoder is called.

        Returns:
            float tensor `(k, batch)`, nats.
        """
        k = z.shape[0]
        if self.needs_labels:
            labels = tf.tile(labels, (k,))  # (B,) -> (k*B,)
        latents = tf.reshape(z, (-1, self.latent_dim))  # (k, B, d) -> (k*B, d)
        outputs = self.decoder(self.given(latents, labels), training=training)  # (k*B, ...)
        repeated = tf.tile(images, (k, 1, 1, 1))  # (B, h, w, c) -> (k*B, h, w, c)
        return tf.reshape(self.log_likelihood_of(repeated, outputs), (k, -1))  # (k*B,) -> (k, B)

    def freed(self, z_mean, z_log_var, batch):
        """The KL term with `free_bits` (lambda): the sum of max(lambda, mean KL) over dimensions.

        Args:
            z_mean, z_log_var: float tensors `(batch, latent_dim)`.
            batch: `GlobalBatch`, whose pictures on all replicas the mean is over.

        Returns:
            float scalar, nats a picture.
        """
        flat = (tf.reshape(each, (-1, 1)) for each in (z_mean, z_log_var))  # a row a dimension
        terms = tf.reshape(gaussian_kl(*flat), tf.shape(z_mean))  # (B, latent_dim)
        # Means over the global batch, before the maximum is taken.
        means = distribution.sum_over_replicas(tf.reduce_sum(terms, axis=0))
        means /= tf.cast(batch.global_size, means.dtype)
        return tf.reduce_sum(tf.maximum(means, self.free_bits))

    def log_likelihood(
        self, images, num_samples=5000, *, labels=None, seed=0, batch_size=16, block_size=100
    ):
        """Estimates log p(x) by importance sampling from q(z|x).

        It is the bound L_k with k = num_samples, which lies below log p(x) and comes the nearer
        the more draws there are. Of binarised pictures its negative mean is the NLL that papers
        quote.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]: with the Bernoulli
                likelihood -1 or 1, or it is no likelihood.
            num_samples: int. Draws of z a picture.
            labels: integers `(n,)`, of a conditional model, for log p(x|label).
            seed: int. Of the draws.
            batch_size: int. Pictures at once.
            block_size: int. Draws at once, so that memory holds batch_size x block_size pictures.
                Another one gives other draws.

        Returns:
            NumPy float64 array `(n,)`, nats.

        Raises:
            InputError: pictures of another shape, type or range, numbers that are not positive,
                labels that do not fit.

        Reference: Burda et al. (2016), section 5, https://arxiv.org/abs/1509.00519
        """
        given = [self.checked_images(images), *self.checked_labels(labels, len(images))]
        for name, value in (("num_samples", num_samples), ("batch_size", batch_size),
                            ("block_size", block_size)):
            check_count(name, value)
        seed, block_size = check_seed(seed), min(block_size, num_samples)
        blocks = -(-num_samples // block_size)
        weights_of = self._compiled("_log_weights")
        estimates = []
        for start in range(0, len(given[0]), batch_size):
            part = [tf.constant(each[start : start + batch_size]) for each in given]
            best, total = -np.inf, 0.0  # the sum of the weights is total * exp(best)
            for block in range(blocks):
                place = tf.constant([seed, start * blocks + block], tf.int64)
                wanted = num_samples - block * block_size  # of the last block perhaps not all
                log_weights = weights_of(place, block_size, *part)[:wanted]
                log_weights = log_weights.numpy().astype("float64")
                highest = np.maximum(best, log_weights.max(axis=0))
                total = total * np.exp(best - highest) + np.exp(log_weights - highest).sum(axis=0)
                best = highest
            estimates.append(best + np.log(total) - np.log(num_samples))
        return np.concatenate(estimates)

    def _log_weights(self, seed, number, images, labels=None):
        """log p(x, z) - log q(z|x) for `number` draws of z: `(number, batch)`."""
        z_mean, z_log_var = self._posterior(images, labels)
        shape = tf.shape(images)[0], self.latent_dim
        noise = distribution.random_normal(distribution.whole_batch(number), shape, seed)
        z = z_mean + tf.exp(0.5 * z_log_var) * noise  # (number, B, latent_dim)
        return self.log_likelihoods(images, z, labels) + log_ratio(z, z_mean, z_log_var)

    def log_likelihood_of(self, images, outputs):
        """log p(x|z) of images under the decoder's outputs.

        Args:
            images: float tensor `(batch, h, w, c)` in [-1, 1].
            outputs: float tensor of the same shape, logits or means.

        Returns:
            float tensor `(batch,)`, nats.
        """
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(images, outputs)
        log_scale = tf.convert_to_tensor(self.log_scale)
        if self.likelihood == "gaussian":
            return gaussian_log_likelihood(images, outputs, 2.0 * log_scale)
        return discretized_logistic_log_likelihood(images, outputs, log_scale)

    def kl_weight(self):
        """beta, reached linearly over `kl_warmup_steps` steps of the optimizer.

        Returns:
            float or float32 scalar, from 0 to beta.
        """
        if not self.kl_warmup_steps:
            return self.beta
        step = tf.cast(self.optimizer.iterations, tf.float32)
        return self.beta * tf.minimum(1.0, step / self.kl_warmup_steps)

    def _log_terms(self, batch, loss, reconstruction_loss, kl_loss, elbo):
        values = {
            "loss": loss,
            "reconstruction_loss": reconstruction_loss,
            "kl_loss": kl_loss,
            "elbo": elbo,
        }
        if self.likelihood == "discretized_logistic":
            values["bits_per_dim"] = -elbo / (math.prod(self.image_shape) * math.log(2.0))
        return self.log(batch, **values)

    def means_of(self, outputs):
        """E[x|z] of the decoder's outputs.

        Args:
            outputs: float tensor `(n, h, w, c)`, logits or means.

        Returns:
            float tensor of the same shape in [-1, 1].
        """
        if self.likelihood == "bernoulli":
            return 2.0 * tf.sigmoid(outputs) - 1.0
        return tf.clip_by_value(outputs, -1.0, 1.0)

    def call(self, images, labels=None, training=False):
        """Images through the mean code and back, without a draw.

        Args:
            images: float tensor `(n, h, w, c)` in [-1, 1].
            labels: int32 tensor `(n,)`, of a conditional model.
            training: bool. How the encoder is called.

        Returns:
            float32 tensor of the shape of `images`, in [-1, 1].
        """
        z_mean, _ = self.encoder(self.given(images, labels), training=training)
        return self.images_from_latents(z_mean, labels)

    def encode(self, images, *, labels=None, batch_size=256):
        """Means of q(z|x), in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            labels: integers `(n,)`, of a conditional model.
            batch_size: int. Pictures at once.

        Returns:
            NumPy float32 array `(n, latent_dim)`.

        Raises:
            InputError: pictures or labels that do not fit.
        """
        return self._run("_encode", self.checked_images(images), labels, batch_size)

    def decode(self, latents, *, labels=None, batch_size=256):
        """Means of p(x|z), in batches.

        Args:
            latents: float array `(n, latent_dim)`.
            labels, batch_size: as for `encode`.

        Returns:
            NumPy float32 array `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: latents or labels that do not fit.
        """
        latents = check_latents(self, latents, (self.latent_dim,))
        return self._run("images_from_latents", latents, labels, batch_size)

    def reconstruct(self, images, *, labels=None, batch_size=256):
        """Images to their codes' means and back, in batches.

        Args:
            images, labels, batch_size: as for `encode`.

        Returns:
            NumPy float32 array of the shape of `images`, in [-1, 1].

        Raises:
            InputError: pictures or labels that do not fit.
        """
        return self._run("call", self.checked_images(images), labels, batch_size)

    def _run(self, method, inputs, labels, batch_size):
        labels = self.checked_labels(labels, len(inputs))
        return self._run_in_batches(method, inputs, batch_size, *labels)

    def _encode(self, images, labels=None):
        return self._posterior(images, labels)[0]

    def start_at_mean(self, images):
        """Centres what the dense networks see and starts them at the mean picture, before `fit`.

        The encoder's input is centred for good, and the decoder's last bias starts at what makes
        the mean picture, as in the program of Burda et al. (2016): the rest of the networks then
        learns what sets pictures apart, in a fraction of the steps. `keras-genimg train` does
        it. Under several workers all call it with the same pictures.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; a thousand are enough.

        Raises:
            InputError: pictures that do not fit; other networks than those of `networks="mlp"`.
        """
        mean = self.checked_images(images).mean(axis=0)
        if self.networks != "mlp" or any(self._own_networks):
            raise InputError(
                'start_at_mean is for the default networks of networks="mlp". '
                f"Received: networks={self.networks!r}, or networks of one's own."
            )
        if self.likelihood == "bernoulli":  # logits, of no pixel surer than 1 in 1,000
            share = np.clip((mean + 1) / 2, 1e-3, 1 - 1e-3)
            outputs = np.log(share / (1 - share))
        else:
            outputs = mean
        for layer in self._flatten_layers():
            if isinstance(layer, Centering):  # of a conditional encoder it sees the class too
                centre = np.zeros(layer.mean.shape, "float32")
                centre[..., : mean.shape[-1]] = mean
                layer.mean.assign(centre)
            elif layer.name == "pixels":
                layer.bias.assign(outputs.reshape(-1))

    def fit_prior(self, images, num_components=10, *, labels=None, seed=0):
        """Fits a mixture of Gaussians to the codes of pictures, which `generate` then draws from.

        Codes of a trained model do not fill N(0, I): where it draws and no code is, the decoder
        has learned nothing.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]: pictures that the
                model was trained on. Their codes are drawn from q(z|x).
            num_components: int. Gaussians in the mixture.
            labels: integers `(n,)`, of a conditional model.
            seed: int. Of the draws and of the start of the fit.

        Returns:
            list of floats: the mean log p(z) before each round of the fit, nats.

        Raises:
            InputError: pictures or labels that do not fit, or too few of them.

        Reference: Ghosh et al. (2020), section 4, https://arxiv.org/abs/1903.12436
        """
        z_mean, z_log_var = self._run("_posterior", self.checked_images(images), labels, 256)
        noise = np.random.default_rng(check_seed(seed)).normal(size=z_mean.shape)
        mixture = GaussianMixture(num_components, self.latent_dim)
        history = mixture.fit(z_mean + np.exp(0.5 * z_log_var) * noise, seed=seed)
        self.prior = mixture
        return history

    def _posterior(self, images, labels=None):
        return self.encoder(self.given(images, labels), training=False)

    def draw_latents(self, num_images, seed):
        if self.prior is not None:
            return self.prior.sample(num_images, latent_seed(seed))
        batch = distribution.whole_batch(num_images)
        return distribution.random_normal(batch, (self.latent_dim,), latent_seed(seed))

    def images_from_latents(self, latents, labels=None):
        return self.means_of(self.decoder(self.given(latents, labels), training=False))

    def signatures(self):
        latents = tf.TensorSpec((None, self.latent_dim), tf.float32, name="latents")
        labels = [self.labels_spec()] if self.needs_labels else []

        def encode(images, labels=None):
            z_mean, z_log_var = self._posterior(images, labels)
            return {"z_mean": z_mean, "z_log_var": z_log_var}

        def decode(latents, labels=None):
            return {"images": self.images_from_latents(latents, labels)}

        def reconstruct(images, labels=None):
            return {"images": self.call(images, labels)}

        return {
            **super().signatures(),
            "encode": (encode, [self.images_spec(), *labels]),
            "decode": (decode, [latents, *labels]),
            "reconstruct": (reconstruct, [self.images_spec(), *labels]),
        }

    def deterministic_signature(self):
        return self.signatures()["decode"]

    def get_config(self):
        own_encoder, own_decoder = self._own_networks
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "networks": self.networks,
            "network_options": dict(self.network_options) or None,
            "encoder": serialize(self.encoder) if own_encoder else None,
            "decoder": serialize(self.decoder) if own_decoder else None,
            "beta": self.beta,
            "likelihood": self.likelihood,
            "kl_warmup_steps": self.kl_warmup_steps,
            "free_bits": self.free_bits,
            "importance_samples": self.importance_samples,
            "prior": None if self.prior is None else serialize(self.prior),
        }
