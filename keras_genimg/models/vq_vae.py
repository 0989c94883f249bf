"""VQ-VAE: images as grids of codes (van den Oord et al., 2017)."""

import functools

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_choice, check_latents, check_number
from keras_genimg.core import (
    CodeModel,
    build_network,
    check_network_options,
    codes_and_labels,
    fit_frozen,
)
from keras_genimg.metrics import CodesUsed
from keras_genimg.models.pixel_cnn import PixelCNN
from keras_genimg.networks import attention_decoder, attention_encoder, vq_decoder, vq_encoder
from keras_genimg.optimizers import Adam

__all__ = ["VQVAE"]

NETWORKS = {
    "residual": (vq_encoder, vq_decoder),
    "local": (functools.partial(vq_encoder, local=True), vq_decoder),
    "attention": (attention_encoder, attention_decoder),
}


@keras.saving.register_keras_serializable(package="keras_genimg")
class VQVAE(CodeModel):
    """Vector-quantised variational autoencoder (van den Oord et al., 2017).

    The encoder maps an image to a grid of vectors z_e(x). Each is replaced by the nearest of
    K learned vectors, and the decoder maps these back to an image. The model learns to
    reconstruct; to generate, it needs a prior over the codes, which `fit_prior` fits.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_embeddings: int. Vectors in the codebook (K).
        embedding_dim: int. Length of a vector (D).
        commitment_cost: float. Weight of the commitment term (beta in Eq. 3).
        ema_decay: float in (0, 1), or None. Decay of the codebook's moving averages (appendix
            A.1, `layers.VectorQuantizerEMA`); None learns the codebook by gradient.
        dead_code_threshold: float, or None for never. A code is replaced if the moving average of
            its uses per batch falls below it.
        gradient: how gradients pass through the codebook, `"straight_through"` or `"rotation"`
            (Fifty et al., 2024).
        levels: sequence of ints, such as `(8, 5, 5, 5)`. A `FiniteScalarQuantizer` replaces the
            codebook (Mentzer et al., 2023): num_embeddings is then the product of the levels,
            embedding_dim their number, and the other arguments above but `image_shape` are
            ignored.
        data_variance: float, or None for 1 until `adapt` sets it. Variance of the images, by which
            the squared error is divided, so that the balance of the two terms does not depend on
            the data.
        downsampling: 4, 8 or 16. Sides of the image relative to those of the grid of codes, with
            the default networks.
        networks: the default networks: `"residual"`, those of the paper; `"local"`, whose
            encoder gives codes with a small receptive field, which are cheaper to predict; or
            `"attention"`, those of `VQGAN`'s paper (Esser et al., 2021).
        network_options: dict, keyword arguments of the functions that make the default networks:
            `filters` and `blocks`, and but for `"attention"` `residual_filters` (with `"local"` the
            last two apply to the decoder alone).
        encoder: custom `keras.Model`, images to `(batch, h, w, D)`.
        decoder: custom `keras.Model`, `(batch, h, w, D)` to images.
        prior: `PixelCNN` or `CodeTransformer` over the codes, usually set by `fit_prior`.
        seed: int, optional. Makes the codebook's initial values and replacements reproducible.

    Logs: `loss`, `reconstruction_loss` (squared error / data_variance), `vq_loss`,
    `perplexity` of the codes of a batch and `codes_used`, the number of codes used
    since the epoch began.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> vq_vae = VQVAE(image_shape=(28, 28, 1), num_embeddings=128)
    >>> vq_vae.compile()
    >>> vq_vae.encode(vq_vae.reconstruct(np.zeros((2, 28, 28, 1), "float32"))).shape
    (2, 7, 7)

    Reference: https://arxiv.org/abs/1711.00937
    """

    about = "vector-quantised autoencoder"
    paper = "van den Oord et al., 2017"
    weighs_images = True

    def __init__(
        self, image_shape=(28, 28, 1), num_embeddings: int = 128, embedding_dim: int = 32, *,
        commitment_cost: float = 0.25, ema_decay: float | None = 0.99,
        dead_code_threshold: float | None = 0.1, gradient: str = "straight_through", levels=None,
        data_variance: float | None = None, downsampling: int = 4, networks: str = "residual",
        network_options: dict | None = None, encoder=None, decoder=None, prior=None,
        seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.quantizer = self.make_quantizer(
            num_embeddings, embedding_dim, ema_decay, levels, seed, commitment_cost=commitment_cost,
            dead_code_threshold=dead_code_threshold, gradient=gradient,
        )
        variance = 1.0 if data_variance is None else data_variance
        self.data_variance = check_number("data_variance", variance, low=1e-12)
        make_encoder, make_decoder = NETWORKS[check_choice("networks", networks, NETWORKS)]
        self.network_options = check_network_options(
            network_options, (make_encoder, make_decoder), encoder is None or decoder is None,
            arguments=("downsampling",),
        )
        shape, dim = self.image_shape, self.quantizer.embedding_dim
        options = {"downsampling": downsampling, **self.network_options}
        make_encoder = functools.partial(make_encoder, normalized=levels is not None)
        self.encoder = self.make_network(
            "encoder", encoder,
            lambda: build_network(make_encoder, shape, dim, **options),
            takes=shape, makes=("height", "width", dim),
        )
        self.code_shape = self.encoder(keras.KerasTensor((None, *shape))).shape[1:3]
        self.decoder = self.make_network(
            "decoder", decoder,
            lambda: build_network(make_decoder, shape, dim, **options),
            takes=(*self.code_shape, dim), makes=shape,
        )
        self.codes_used = CodesUsed(self.quantizer.num_embeddings)
        self.prior = None
        if prior is not None:
            self.hold_priors(prior=prior)
        self.built = True

    def train_step(self, data):
        """One update on Eq. 3 of van den Oord et al. (2017)."""
        images, _, batch = self.unpack(data)  # (B, H, W, c)
        with tf.GradientTape() as tape:
            # 1. z_e(x), its nearest codes z_q(x), and the codebook's terms:
            #    ||sg[z_e] - e||^2 (or moving averages) + beta ||z_e - sg[e]||^2.
            z_e = self.encoder(images, training=True)  # (B, h, w, D)
            z_q, codes, vq_loss = self.quantizer(z_e, training=True, sample_weight=batch.weights)

            # 2. -log p(x|z_q(x)): squared error, its gradient passed straight through.
            outputs = self.decoder(z_q, training=True)  # (B, H, W, c)
            reconstruction_loss = batch.mean((images - outputs) ** 2) / self.data_variance

            # 3. Descend the sum.
            loss = reconstruction_loss + vq_loss
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, batch.share)  # adds up to the global mean
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 4. Logs.
        return self.log_terms(batch, loss, reconstruction_loss, vq_loss, codes)

    @property
    def metrics(self):
        return [self.log_means, self.codes_used]

    def default_optimizers(self, learning_rate=None):
        # Section 4: Adam, 2e-4.
        return {"optimizer": Adam(2e-4 if learning_rate is None else learning_rate)}

    # ------------------------------------------------------------------ codes and images

    def _vectors(self, images, training=False):
        return self.encoder(images, training=training)

    def codebooks(self) -> dict:
        return {"_vectors": self.quantizer}

    def quantized(self, images, training=False, sample_weight=None) -> tuple:
        vectors = self._vectors(images, training)
        return self.quantizer(vectors, sample_weight=sample_weight)

    def decode(self, latents: ArrayLike, *, batch_size: int = 256) -> np.ndarray:
        """Decodes codes to images, in batches.

        Args:
            latents: int array `(n, h, w)` of codes.
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: codes of the wrong shape, type or range.
        """
        name, number = type(self).__name__, self.quantizer.num_embeddings
        codes = check_latents(name, latents, self.code_shape, number)
        return self._run_in_batches("_decode", codes, batch_size)

    # --------------------------------------------------------- a prior, and images by it

    def prior_grids(self) -> dict:
        return {"prior": (self.code_shape, self.quantizer.num_embeddings, None, None)}

    def fit_prior(
        self, images, labels=None, prior=None, *, batch_size: int = 64, **fit
    ) -> keras.callbacks.History:
        """Fits a prior over the codes of images, from which `generate` then draws.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1], or a
                finite `tf.data.Dataset` of batches of images or of `(images, labels)`.
            labels: integers `(n,)`, for a conditional prior.
            prior: `PixelCNN` or `CodeTransformer` over this model's codes, compiled or not; by
                default the current prior, or a new `PixelCNN`. The model then holds it.
            batch_size: int. Grids of codes per training step.
            **fit: arguments of the prior's `fit`: `epochs`, `callbacks`, `verbose`, ...

        Returns:
            `keras.callbacks.History` of the prior.

        Raises:
            InputError: invalid images or labels, a prior over different codes.
        """
        if prior is None and self.prior is None:
            number = self.quantizer.num_embeddings
            prior = PixelCNN(
                code_shape=self.code_shape, num_embeddings=number, seed=self.seed,
                dtype=self.dtype_policy,
            )
        if prior is not None:
            self.hold_priors(prior=prior)
        codes, labels = codes_and_labels(self.encode, images, labels, self.generates_by_label)
        return fit_frozen(self.prior, codes, labels, batch_size=batch_size, **fit)

    def draw_codes(self, latents, labels, **sampling) -> tuple:
        return (self.prior.codes_from_latents(latents, labels, **sampling),)
