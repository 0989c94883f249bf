"""VQ-VAE-2: images as two grids of codes, a coarse one and a fine one (Razavi et al., 2019)."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_latents, check_number
from keras_genimg.core import (
    CodeModel,
    Labels,
    build_network,
    check_network_options,
    codes_and_labels,
    fit_frozen,
    history_of,
)
from keras_genimg.errors import InputError
from keras_genimg.metrics import CodesUsed
from keras_genimg.models.pixel_cnn import PixelCNN
from keras_genimg.networks import two_level_decoder, two_level_encoder, two_level_join
from keras_genimg.optimizers import Adam

__all__ = ["VQVAE2"]

# Added to the indices of grids to seed the noise of the bottom, beyond any index of the top.
BOTTOM_NUMBERS = 2**40


@keras.saving.register_keras_serializable(package="keras_genimg")
class VQVAE2(CodeModel):
    """Vector-quantised variational autoencoder of two levels (Razavi et al., 2019).

    An image becomes two grids of codes. The top, an eighth of its height and width (rounded
    up), encodes the layout. The bottom, a quarter, is conditioned on the top and adds local
    detail. The decoder reconstructs the image from the vectors of both. To generate, the model
    needs two priors, one over the top's codes and one over the bottom's given the top's: see
    `fit_prior`.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_embeddings: int. Vectors in each of the two codebooks (K).
        embedding_dim: int. Length of a vector (D).
        commitment_cost: float. Weight of the commitment terms (beta in Eq. 2).
        ema_decay: float in (0, 1), or None. Decay of the codebooks' moving averages (section
            2.1, `layers.VectorQuantizerEMA`); None learns the codebooks by gradient.
        dead_code_threshold: float, or None for never. A code is replaced if the moving average of
            its uses per batch falls below it.
        data_variance: float, or None for 1 until `adapt` sets it. Variance of the images, by which
            the squared error is divided, so that the balance of the terms does not depend on the
            data.
        network_options: dict, keyword arguments of the functions that make the default networks:
            `filters`, `residual_filters` and `blocks`.
        encoder: custom `keras.Model`, images to a list: the top's vectors `(batch, h, w, D)` and
            features of the bottom, `(batch, 2h, 2w, features)`; half of an odd height or width
            is rounded up.
        decoder: custom `keras.Model`, the vectors of both levels, a list of the top's and the
            bottom's, to images.
        top_prior: `PixelCNN` or `CodeTransformer` over the top's codes, usually set by
            `fit_prior`.
        bottom_prior: `PixelCNN` over the bottom's codes, conditioned on the top's, likewise.
        seed: int, optional. Makes the codebooks' initial values and replacements reproducible.

    Logs: `loss`, `reconstruction_loss` (squared error / data_variance), `vq_loss` (of both levels),
    `perplexity_top` and `perplexity_bottom` of the codes of a batch, `codes_used_top` and
    `codes_used_bottom`, the numbers of codes used since the epoch began.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> vq_vae2 = VQVAE2(image_shape=(32, 32, 3), num_embeddings=512)
    >>> vq_vae2.compile()
    >>> [codes.shape for codes in vq_vae2.encode(np.zeros((2, 32, 32, 3), "float32"))]
    [(2, 4, 4), (2, 8, 8)]

    Reference: https://arxiv.org/abs/1906.00446
    """

    about = "VQ-VAE with two levels of codes"
    paper = "Razavi et al., 2019"
    weighs_images = True

    def __init__(
        self, image_shape=(32, 32, 3), num_embeddings: int = 512, embedding_dim: int = 64, *,
        commitment_cost: float = 0.25, ema_decay: float | None = 0.99,
        dead_code_threshold: float | None = 0.1, data_variance: float | None = None,
        network_options: dict | None = None, encoder=None, decoder=None, top_prior=None,
        bottom_prior=None, seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.top_quantizer, self.bottom_quantizer = (
            self.make_quantizer(
                num_embeddings, embedding_dim, ema_decay, seed=level_seed,
                commitment_cost=commitment_cost, dead_code_threshold=dead_code_threshold,
            )
            for level_seed in (seed, None if seed is None else seed + 1)
        )
        variance = 1.0 if data_variance is None else data_variance
        self.data_variance = check_number("data_variance", variance, low=1e-12)
        self.network_options = check_network_options(
            network_options, (two_level_encoder, two_level_join, two_level_decoder)
        )
        self._build_networks(encoder, decoder)
        self.codes_used_top, self.codes_used_bottom = (
            CodesUsed(num_embeddings, name=f"codes_used_{level}") for level in ("top", "bottom")
        )
        self.top_prior = self.bottom_prior = None
        if (top_prior is None) != (bottom_prior is None):
            raise InputError("top_prior and bottom_prior must be given together. Received: one.")
        if top_prior is not None:
            self.hold_priors(top_prior=top_prior, bottom_prior=bottom_prior)
        self.built = True

    def _build_networks(self, encoder, decoder):
        """Sets the three networks, and `code_shapes`, ((h, w) of the top, (h, w) of the bottom)."""
        shape, options = self.image_shape, self.network_options
        dim = self.top_quantizer.embedding_dim
        self.encoder = self.make_network(
            "encoder", encoder, lambda: build_network(two_level_encoder, shape, dim, **options),
            takes=shape, makes=[("height", "width", dim), ("height", "width", "features")],
        )
        outputs = self.encoder(keras.KerasTensor((None, *shape)))
        top, features = (tuple(output.shape[1:]) for output in outputs)
        if top[:2] != tuple(-(-side // 2) for side in features[:2]):
            raise InputError(
                "encoder must return a top with half the height and width of the bottom, "
                "rounded up. "
                f"Received: a top of {top[0]}x{top[1]} and a bottom of {features[0]}x{features[1]}."
            )
        self.code_shapes = top[:2], features[:2]
        self.join = self.make_network(
            "join", None, lambda: build_network(two_level_join, top, features, **options),
            takes=[top, features],
        )
        self.decoder = self.make_network(
            "decoder", decoder, lambda: build_network(two_level_decoder, shape, dim, **options),
            takes=[(*grid, dim) for grid in self.code_shapes], makes=shape,
        )

    def train_step(self, data):
        """Algorithm 1 of Razavi et al. (2019)."""
        images, _, batch = self.unpack(data)  # x (B, H, W, c)
        with tf.GradientTape() as tape:
            # 1. h_top = E_top(x), and its nearest codes e_top.
            vectors, features = self.encoder(images, training=True)  # (B, h, w, D), (B, 2h, 2w, F)
            given = {"training": True, "sample_weight": batch.weights}
            top, top_codes, top_loss = self.top_quantizer(vectors, **given)

            # 2. h_bottom = E_bottom(x, e_top), and its nearest codes e_bottom.
            vectors = self.join([top, features], training=True)  # (B, 2h, 2w, D)
            bottom, bottom_codes, bottom_loss = self.bottom_quantizer(vectors, **given)

            # 3. x^ = D(e_top, e_bottom), and the loss (Eq. 2): the squared error and the
            #    commitment of both levels. The codebooks follow moving averages.
            outputs = self.decoder([top, bottom], training=True)  # (B, H, W, c)
            reconstruction_loss = batch.mean((images - outputs) ** 2) / self.data_variance
            vq_loss = top_loss + bottom_loss

            # 4. Descend the sum.
            loss = reconstruction_loss + vq_loss
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, batch.share)  # adds up to the global mean
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 5. Logs.
        codes = top_codes, bottom_codes
        return self.log_terms(batch, loss, reconstruction_loss, vq_loss, codes)

    @property
    def metrics(self):
        return [self.log_means, self.codes_used_top, self.codes_used_bottom]

    def default_optimizers(self, learning_rate=None):
        # The paper gives no rate; the authors' published example of a VQ-VAE uses Adam, 3e-4.
        return {"optimizer": Adam(3e-4 if learning_rate is None else learning_rate)}

    # ------------------------------------------------------------------ codes and images

    def _top_vectors(self, images):
        return self.encoder(images, training=False)[0]

    def _bottom_vectors(self, images):
        vectors, features = self.encoder(images, training=False)
        return self.join([self.top_quantizer(vectors)[0], features], training=False)

    def codebooks(self) -> dict:
        # In this order: the bottom's vectors depend on the top's codebook.
        return {"_top_vectors": self.top_quantizer, "_bottom_vectors": self.bottom_quantizer}

    def quantized(self, images, training=False, sample_weight=None) -> tuple:
        vectors, features = self.encoder(images, training=training)
        given = {"sample_weight": sample_weight}
        top, top_codes, top_loss = self.top_quantizer(vectors, **given)
        vectors = self.join([top, features], training=training)
        bottom, bottom_codes, bottom_loss = self.bottom_quantizer(vectors, **given)
        return [top, bottom], (top_codes, bottom_codes), top_loss + bottom_loss

    def decode(self, latents, *, batch_size: int = 256) -> np.ndarray:
        """Decodes codes to images, in batches.

        Args:
            latents: pair of int arrays, top codes and bottom codes, see `encode`.
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: not a pair; codes of the wrong shape, type, range or number.
        """
        name = type(self).__name__
        if not isinstance(latents, (tuple, list)) or len(latents) != 2:
            raise InputError(
                f"{name} decodes a pair, (top codes, bottom codes). "
                f"Received: {type(latents).__name__}."
            )
        top, bottom = (
            check_latents(name, codes, shape, self.top_quantizer.num_embeddings)
            for codes, shape in zip(latents, self.code_shapes)
        )
        if len(top) != len(bottom):
            raise InputError(
                "There must be as many grids of bottom codes as of top codes. "
                f"Received: {len(bottom)} and {len(top)}."
            )
        return self._run_in_batches("_decode", top, batch_size, bottom)

    # ----------------------------------------------------------- priors, and images by them

    def prior_grids(self) -> dict:
        (top, bottom), number = self.code_shapes, self.top_quantizer.num_embeddings
        return {
            "top_prior": (top, number, None, None),
            "bottom_prior": (bottom, number, top, number),
        }

    def fit_prior(
        self, images, labels=None, top_prior=None, bottom_prior=None, *, batch_size: int = 64, **fit
    ) -> keras.callbacks.History:
        """Fits priors over the codes of both levels, from which `generate` then draws.

        p(top, bottom) = p(top) p(bottom | top), each trained separately (Algorithm 2).

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1], or a
                finite `tf.data.Dataset` of batches of images or of `(images, labels)`.
            labels: integers `(n,)`, for conditional priors.
            top_prior: `PixelCNN` or `CodeTransformer` over the top's codes, compiled or not; by
                default the current prior, or a new `PixelCNN`. The model then holds it.
            bottom_prior: `PixelCNN` over the bottom's codes, conditioned on the top's, likewise;
                a new one has the classes of `top_prior`.
            batch_size: int. Grids of codes per training step.
            **fit: arguments of both priors' `fit`: `epochs`, `callbacks`, `verbose`, ...

        Returns:
            `keras.callbacks.History` of both, whose names end in `_top` and `_bottom`.

        Raises:
            InputError: invalid images or labels, a prior over different codes.
        """
        (top_shape, bottom_shape), number = self.code_shapes, self.top_quantizer.num_embeddings
        top = self.top_prior if top_prior is None else top_prior
        if top is None:
            top = PixelCNN(
                code_shape=top_shape, num_embeddings=number, seed=self.seed, dtype=self.dtype_policy
            )
        self.check_prior("top_prior", top)
        bottom = self.bottom_prior if bottom_prior is None else bottom_prior
        if bottom is None:
            bottom = PixelCNN(
                code_shape=bottom_shape, num_embeddings=number, num_classes=top.num_classes,
                condition_shape=top_shape, condition_embeddings=number, seed=self.seed,
                dtype=self.dtype_policy,
            )
        self.hold_priors(top_prior=top, bottom_prior=bottom)
        (top_codes, bottom_codes), labels = codes_and_labels(
            self.encode, images, labels, self.generates_by_label
        )
        of_top = labels if top.data.part(Labels) else None
        of_bottom = (labels, top_codes) if bottom.data.part(Labels) else top_codes
        fits = {
            "top": fit_frozen(top, top_codes, of_top, batch_size=batch_size, **fit),
            "bottom": fit_frozen(bottom, bottom_codes, of_bottom, batch_size=batch_size, **fit),
        }
        return history_of(self, {
            f"{name}_{level}": values
            for level, each in fits.items() for name, values in each.history.items()
        })  # fmt: skip

    def draw_codes(self, latents, labels, **sampling) -> tuple:
        of_top, of_bottom = (
            labels if prior.data.part(Labels) else None for prior in self.held_priors()
        )
        top = self.top_prior.codes_from_latents(latents, of_top, **sampling)
        others = latents + tf.constant([0, BOTTOM_NUMBERS], tf.int64)  # independent noise
        return top, self.bottom_prior.codes_from_latents(others, of_bottom, top, **sampling)
