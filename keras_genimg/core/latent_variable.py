"""What models with one latent vector z share: encoding, decoding and estimates of log p(x)."""

import numpy as np
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_count, check_seed
from keras_genimg.core.data_specs import Labels
from keras_genimg.core.decoding import DecodesLatents
from keras_genimg.core.generating import latent_seed

__all__ = ["LatentVariableModel", "log_ratio"]


def log_ratio(z: tf.Tensor, z_mean: tf.Tensor, z_log_var: tf.Tensor) -> tf.Tensor:
    """log p(z) - log q(z|x) with p(z) = N(0, I) and q(z|x) = N(z_mean, exp(z_log_var)).

    Args:
        z: float tensor `(k, batch, latent_dim)`.
        z_mean, z_log_var: float tensors `(batch, latent_dim)`.

    Returns:
        float tensor `(k, batch)`, nats.
    """
    errors = tf.square(z - z_mean) * tf.exp(-z_log_var)
    return 0.5 * tf.reduce_sum(errors + z_log_var - tf.square(z), axis=-1)


class LatentVariableModel(DecodesLatents):
    """A model with an `encoder` to the mean and log variance of q(z|x), and a `decoder` of z.

    Subclasses set `latent_dim`, `encoder`, `decoder` and `prior`, and write `log_likelihood_of`,
    `means_of` and the steps.
    """

    def conditioned(self, inputs, labels) -> tf.Tensor | tuple | list:
        """The inputs of a network; a conditional model adds the labels.

        Args:
            inputs: images or latents, or the shape of one.
            labels: int32 tensor `(n,)`, or `()`, the shape of one; None without classes.

        Returns:
            `inputs`.
        """
        return inputs

    def log_likelihood_of(self, images, outputs) -> tf.Tensor:
        """log p(x|z) of images, given the decoder's outputs.

        Args:
            images: float tensor `(batch, h, w, c)` in [-1, 1].
            outputs: float tensor of the same shape, logits or means.

        Returns:
            float tensor `(batch,)`, nats.
        """
        raise NotImplementedError

    def means_of(self, outputs) -> tf.Tensor:
        """E[x|z], given the decoder's outputs.

        Args:
            outputs: float tensor `(n, h, w, c)`, logits or means.

        Returns:
            float tensor of the same shape in [-1, 1].
        """
        raise NotImplementedError

    def posterior(self, images, labels=None) -> list:
        """q(z|x) of images.

        Args:
            images: float tensor `(n, h, w, c)` in [-1, 1].
            labels: int32 tensor `(n,)`, of a conditional model.

        Returns:
            z_mean, z_log_var: float tensors `(n, latent_dim)`.
        """
        return self.encoder(self.conditioned(images, labels), training=False)

    def log_likelihoods(self, images, z, labels=None, training: bool = False) -> tf.Tensor:
        """log p(x|z) of images under several z each.

        Args:
            images: float tensor `(batch, h, w, c)`.
            z: float tensor `(k, batch, latent_dim)`; k must be known.
            labels: int32 tensor `(batch,)`, of a conditional model: log p(x|z, label).
            training: bool. Passed to the decoder.

        Returns:
            float tensor `(k, batch)`, nats.
        """
        k = z.shape[0]
        if labels is not None:
            labels = tf.tile(labels, (k,))  # (B,) -> (k*B,)
        latents = tf.reshape(z, (-1, self.latent_dim))  # (k, B, d) -> (k*B, d)
        outputs = self.decoder(self.conditioned(latents, labels), training=training)  # (k*B, ...)
        repeated = tf.tile(images, (k, 1, 1, 1))  # (B, h, w, c) -> (k*B, h, w, c)
        return tf.reshape(self.log_likelihood_of(repeated, outputs), (k, -1))  # (k*B,) -> (k, B)

    def log_likelihood(
        self, images, labels=None, *, num_samples: int = 5000, seed: int = 0,
        batch_size: int = 16, block_size: int = 100,
    ) -> np.ndarray:
        """Estimates log p(x) by importance sampling from q(z|x).

        It is the bound L_k with k = num_samples, which lies below log p(x) and approaches it as
        k grows. For binarised images its negative mean is the NLL that papers report.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; with the Bernoulli
                likelihood values must be -1 or 1, otherwise the result is not a likelihood.
            labels: of a conditional model, for log p(x|label), see `encode`.
            num_samples: int. Draws of z per image.
            seed: int. Seed of the draws.
            batch_size: int. Images per batch.
            block_size: int. Draws per block: memory holds batch_size x block_size images.
                The draws depend on it.

        Returns:
            NumPy float64 array `(n,)`, nats.

        Raises:
            InputError: images of the wrong shape, type or range, numbers that are not positive,
                invalid labels.

        Reference: Burda et al. (2016), section 5, https://arxiv.org/abs/1509.00519
        """
        arrays = [self.checked_images(images), *self.checked_labels(labels, len(images))]
        check_count("num_samples", num_samples)
        check_count("batch_size", batch_size)
        check_count("block_size", block_size)
        seed, block_size = check_seed(seed), min(block_size, num_samples)
        blocks = -(-num_samples // block_size)
        weights_of = self._compiled("_log_weights")
        estimates = []
        for start in range(0, len(arrays[0]), batch_size):
            part = [tf.constant(each[start : start + batch_size]) for each in arrays]
            total = -np.inf  # logarithm of the sum of the weights
            for block in range(blocks):
                place = tf.constant([seed, start * blocks + block], tf.int64)
                wanted = num_samples - block * block_size  # fewer than a block in the last one
                log_weights = weights_of(place, block_size, *part)[:wanted]
                log_weights = log_weights.numpy().astype("float64")
                total = np.logaddexp(total, np.logaddexp.reduce(log_weights, axis=0))
            estimates.append(total - np.log(num_samples))
        return np.concatenate(estimates)

    def _log_weights(self, seed, number, images, labels=None):
        """log p(x, z) - log q(z|x) for `number` draws of z: `(number, batch)`."""
        images, labels = self.data.cast(self, images, labels)
        z_mean, z_log_var = self.posterior(images, labels)
        shape = tf.shape(images)[0], self.latent_dim
        batch = distribution.whole_batch(number)
        noise = distribution.random_normal(batch, shape, seed, z_mean.dtype)
        z = z_mean + tf.exp(0.5 * z_log_var) * noise  # (number, B, latent_dim)
        return self.log_likelihoods(images, z, labels) + log_ratio(z, z_mean, z_log_var)

    def call(self, inputs, labels=None, training: bool = False):
        """Reconstructs images from the mean of q(z|x), without noise.

        Args:
            inputs: images, float tensor `(n, h, w, c)` in [-1, 1]; of a conditional model a list
                of images and labels, int tensor `(n,)`.
            labels: the labels, if `inputs` are images alone.
            training: bool. Passed to the encoder.

        Returns:
            float32 tensor of the shape of the images, in [-1, 1].
        """
        images, *labels = self.call_inputs(inputs, labels)
        labels = labels[0] if labels else None
        z_mean, _ = self.encoder(self.conditioned(images, labels), training=training)
        return self.images_from_latents(z_mean, labels)

    def encode(self, images, labels=None, *, batch_size: int = 256) -> np.ndarray:
        """Means of q(z|x), in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            labels: of a conditional model: integers or names of classes, `(n,)` or one for all.
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, latent_dim)`.

        Raises:
            InputError: invalid images or labels.
        """
        return self._in_parts("posterior", self.checked_images(images), labels, batch_size)[0]

    def reconstruct(self, images, labels=None, *, batch_size: int = 256) -> np.ndarray:
        """Reconstructs images from the means of q(z|x), in batches.

        Args:
            images, labels, batch_size: see `encode`.

        Returns:
            NumPy float32 array of the shape of `images`, in [-1, 1].

        Raises:
            InputError: invalid images or labels.
        """
        return self._in_parts("call", self.checked_images(images), labels, batch_size)

    def _in_parts(self, method, array, labels, batch_size=256):
        return self._run_in_batches(
            method, array, batch_size, *self.checked_labels(labels, len(array))
        )

    def draw_latents(self, num_images, seed) -> tf.Tensor:
        if self.prior is not None:
            return self.prior.sample(num_images, latent_seed(seed))
        batch = distribution.whole_batch(num_images)
        return distribution.random_normal(batch, (self.latent_dim,), latent_seed(seed))

    def images_from_latents(self, latents, labels=None) -> tf.Tensor:
        return self.means_of(self.decoder(self.conditioned(latents, labels), training=False))

    def signatures(self) -> dict:
        labels = [self.labels_spec()] if self.data.part(Labels) else []

        def encode(images, labels=None):
            z_mean, z_log_var = self.posterior(images, labels)
            return {"z_mean": z_mean, "z_log_var": z_log_var}

        def reconstruct(images, labels=None):
            return {"images": self.call(images, labels)}

        return {
            **super().signatures(),
            "encode": (encode, [self.images_spec(), *labels]),
            "reconstruct": (reconstruct, [self.images_spec(), *labels]),
        }
