"""VQ-VAE: pictures as grids of codes (van den Oord et al., 2017)."""

import functools

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError
from keras_genimg.layers import FiniteScalarQuantizer, VectorQuantizer
from keras_genimg.metrics import CodesUsed
from keras_genimg.models.checks import adopt_network, check_latents, check_number
from keras_genimg.models.options import build_network, check_network_options
from keras_genimg.models.pixel_cnn import PixelCNN
from keras_genimg.models.priors import adopt_prior, codes_and_labels, fit_frozen, prior_wanted
from keras_genimg.models.quantized import QuantizedModel
from keras_genimg.networks import check_image_shape, vq_decoder, vq_encoder
from keras_genimg.optimizers import Adam

__all__ = ["VQVAE", "code_usage"]


def code_usage(indices, num_embeddings):
    """How the codes of a batch are used.

    Args:
        indices: int32 tensor of any shape, this replica's part of the batch.
        num_embeddings: int. Codes that there are (K).

    Returns:
        counts: float32 `(K,)`, uses of each code in the global batch.
        perplexity: float32 scalar, of the global batch: counts add up, perplexities do not.
    """
    # tf.math.bincount does not compile under XLA.
    one_hot = tf.one_hot(tf.reshape(indices, [-1]), num_embeddings)
    counts = distribution.sum_over_replicas(tf.reduce_sum(one_hot, axis=0))  # (K,)
    shares = counts / tf.reduce_sum(counts)
    return counts, tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares)))


@keras.saving.register_keras_serializable(package="keras_genimg")
class VQVAE(QuantizedModel):
    """Vector-quantised variational autoencoder (van den Oord et al., 2017).

    The encoder turns a picture into a grid of vectors z_e(x), each is replaced by
    the nearest of K learned ones, and the decoder makes the picture of those. It
    learns to reconstruct; to generate, it needs a prior over the codes, which
    `fit_prior` fits afterwards.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_embeddings: int. Vectors in the codebook (K).
        embedding_dim: int. Length of a vector (D).
        commitment_cost: float. Weight of the commitment term (beta in Eq. 3).
        ema_decay: float in (0, 1), or None. Decay of the codebook's moving
            averages (appendix A.1); None learns the codebook by gradient.
        dead_code_threshold: float, or None for never. A code used less than this
            many times a batch, on a moving average, is replaced.
        gradient: how gradients pass the codebook, `"straight_through"` or `"rotation"`
            (Fifty et al., 2024).
        levels: sequence of ints, such as `(8, 5, 5, 5)`. A `FiniteScalarQuantizer` takes the
            codebook's place (Mentzer et al., 2023): num_embeddings is then the product of the
            levels and embedding_dim their number, and the arguments above but
            `image_shape` count for nothing.
        data_variance: float. Variance of the pictures' values, by which the
            squared error is divided, so that the two terms keep their balance
            on any data.
        networks: the default networks: `"residual"`, those of the paper, or `"local"`, whose
            encoder shows a code 7x7 pixels alone. Codes that see less are cheaper to predict.
        network_options: dict, keyword arguments of the functions that make the default networks:
            `filters`, `residual_filters` and `blocks` (with `"local"` the last two count for the
            decoder).
        encoder: `keras.Model` of one's own, images to `(batch, h, w, D)`.
        decoder: `keras.Model` of one's own, `(batch, h, w, D)` to images.
        prior: `PixelCNN` or `CodeTransformer` over the codes, usually set by `fit_prior`.
        seed: int, optional. Makes the codebook's start and replacements repeatable.

    Logs: `loss`, `reconstruction_loss` (squared error / data_variance), `vq_loss`,
    `perplexity` of the codes of a batch and `codes_used`, the number of codes met
    since the epoch began.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> vq_vae = VQVAE(image_shape=(28, 28, 1), num_embeddings=128)
    >>> vq_vae.compile()
    >>> vq_vae.encode(vq_vae.reconstruct(np.zeros((2, 28, 28, 1), "float32"))).shape
    (2, 7, 7)

    Reference: https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        image_shape=(28, 28, 1),
        num_embeddings=128,
        embedding_dim=32,
        *,
        commitment_cost=0.25,
        ema_decay=0.99,
        dead_code_threshold=0.1,
        gradient="straight_through",
        levels=None,
        data_variance=1.0,
        networks="residual",
        network_options=None,
        encoder=None,
        decoder=None,
        prior=None,
        seed=None,
        **kwargs,
    ):
        own_networks = encoder is not None and decoder is not None
        image_shape = check_image_shape(image_shape, default_networks=not own_networks)
        super().__init__(image_shape, seed=seed, **kwargs)
        # What the arguments say: with levels the quantizer is another one, without a codebook.
        self._codebook = {
            "num_embeddings": num_embeddings,
            "embedding_dim": embedding_dim,
            "commitment_cost": commitment_cost,
            "ema_decay": ema_decay,
            "dead_code_threshold": dead_code_threshold,
            "gradient": gradient,
        }
        self._levels = levels
        if levels is None:
            self.quantizer = VectorQuantizer(**self._codebook, seed=seed, dtype="float32")
        else:
            self.quantizer = FiniteScalarQuantizer(levels, dtype="float32")
        embedding_dim = self.quantizer.embedding_dim
        self.data_variance = check_number("data_variance", data_variance, low=1e-12)
        if networks not in ("residual", "local"):
            raise InputError(f"networks must be residual or local. Received: {networks!r}.")
        self.networks = networks
        self.network_options = check_network_options(
            network_options, (vq_encoder, vq_decoder), default_networks=not own_networks
        )
        self.encoder, code_shape = self._adopt_encoder(encoder)
        self.code_shape = code_shape
        self.decoder = adopt_network(
            "decoder",
            decoder
            or build_network(vq_decoder, image_shape, embedding_dim, **self.network_options),
            (*code_shape, embedding_dim),
            [image_shape],
        )
        self._own_networks = [encoder is not None, decoder is not None]
        self.codes_used = CodesUsed(self.quantizer.num_embeddings)
        self.prior = None
        if prior is not None:
            self._hold_prior(prior)
        self.built = True

    def _adopt_encoder(self, encoder):
        """The encoder, and the shape (h, w) of its grid."""
        dim = self.quantizer.embedding_dim
        make = functools.partial(
            vq_encoder, normalized=self._levels is not None, local=self.networks == "local"
        )
        encoder = adopt_network(
            "encoder",
            encoder or build_network(make, self.image_shape, dim, **self.network_options),
            self.image_shape,
            [("height", "width", dim)],
        )
        return encoder, encoder(keras.KerasTensor((None, *self.image_shape))).shape[1:3]

    def train_step(self, data):
        """One step on Eq. 3 of van den Oord et al. (2017)."""
        images, _, batch = self.unpack(data)  # (B, H, W, c)
        with tf.GradientTape() as tape:
            # 1. z_e(x), its nearest codes z_q(x), and the codebook's terms:
            #    ||sg[z_e] - e||^2 (or moving averages) + beta ||z_e - sg[e]||^2.
            vectors = self.encoder(images, training=True)  # (B, h, w, D)
            quantized, indices, vq_loss = self.quantizer(vectors, training=True)

            # 2. -log p(x|z_q(x)): squared error, its gradient passed straight through.
            outputs = self.decoder(quantized, training=True)  # (B, H, W, c)
            reconstruction_loss = tf.reduce_mean((images - outputs) ** 2) / self.data_variance

            # 3. Descend the sum.
            loss = reconstruction_loss + vq_loss
            shared_loss = loss * batch.share
        weights = self.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 4. Logs.
        return self._log_terms(batch, loss, reconstruction_loss, vq_loss, indices)

    def test_step(self, data):
        """The terms of Eq. 3 on pictures that were not trained on."""
        images, _, batch = self.unpack(data)
        quantized, indices, vq_loss = self.quantizer(self.encoder(images, training=False))
        outputs = self.decoder(quantized, training=False)
        reconstruction_loss = tf.reduce_mean((images - outputs) ** 2) / self.data_variance
        loss = reconstruction_loss + vq_loss
        return self._log_terms(batch, loss, reconstruction_loss, vq_loss, indices)

    def _log_terms(self, batch, loss, reconstruction_loss, vq_loss, indices):
        counts, perplexity = code_usage(indices, self.quantizer.num_embeddings)
        self.codes_used.update_state(counts)
        logs = self.log(
            batch,
            loss=loss,
            reconstruction_loss=reconstruction_loss,
            vq_loss=vq_loss,
            perplexity=perplexity,
        )
        # A count over the epoch so far, not a mean over its steps.
        return {**logs, "codes_used": self.log_means.shaped(self.codes_used.result())}

    @property
    def metrics(self):
        return [self.log_means, self.codes_used]

    def default_optimizers(self, learning_rate=None):
        # Section 4: Adam, 2e-4.
        return {"optimizer": Adam(2e-4 if learning_rate is None else learning_rate)}

    def call(self, images, training=False):
        """Images through their codes and back.

        Args:
            images: float tensor `(n, H, W, c)` in [-1, 1].
            training: bool. How encoder and decoder are called; the codebook stays as it is.

        Returns:
            float32 tensor of the shape of `images`, in [-1, 1].
        """
        quantized, _, _ = self.quantizer(self.encoder(images, training=training))
        return self._clipped(self.decoder(quantized, training=training))

    def encode(self, images, *, batch_size=256):
        """Codes of pictures, in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            batch_size: int. Pictures at once.

        Returns:
            NumPy int32 array `(n, h, w)`, from 0 to num_embeddings - 1.

        Raises:
            InputError: pictures of another shape, type or range.
        """
        return self._run_in_batches("_encode", self.checked_images(images), batch_size)

    def decode(self, latents, *, batch_size=256):
        """Pictures of codes, in batches.

        Args:
            latents: int array `(n, h, w)` of codes.
            batch_size: int. Pictures at once.

        Returns:
            NumPy float32 array `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: codes of another shape, type or range.
        """
        codes = check_latents(self, latents, self.code_shape, self.quantizer.num_embeddings)
        return self._run_in_batches("_decode", codes, batch_size)

    def _encode(self, images):
        return self.quantizer(self.encoder(images, training=False))[1]

    def _decode(self, codes):
        return self._clipped(self.decoder(self.quantizer.decode(codes), training=False))

    @staticmethod
    def _clipped(outputs):
        return tf.clip_by_value(outputs, -1.0, 1.0)

    def start_codebook(self, images, *, iterations=10, batch_size=256):
        """Starts the codebook by k-means on what the encoder makes of pictures, before `fit`.

        Under several workers all call it with the same pictures.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; some hundreds are enough.
            iterations: int. Rounds of k-means.
            batch_size: int. Pictures at once.

        Raises:
            InputError: pictures that do not fit or are too few; a model with `levels`, which has
                no codebook.
        """
        if self._levels is not None:
            raise InputError(f"A model with levels={tuple(self._levels)} has no codebook to start.")
        vectors = self._run_in_batches("_vectors", self.checked_images(images), batch_size)
        self.quantizer.start_from(vectors.reshape(-1, vectors.shape[-1]), iterations)

    def _vectors(self, images):
        return self.encoder(images, training=False)

    # ------------------------------------------------------- a prior, and pictures of it

    def fit_prior(self, images, labels=None, prior=None, *, batch_size=64, **fit):
        """Fits a model of the codes of pictures; with it, `generate` makes new ones.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1], or a
                `tf.data.Dataset` of batches of them, or of `(images, labels)`, that ends.
            labels: integers `(n,)`, for a conditional prior.
            prior: `PixelCNN` or `CodeTransformer` of this model's codes, compiled or not; by
                default the one that it holds, or else a `PixelCNN`. It is held from then on.
            batch_size: int. Grids of codes a step of training.
            **fit: as `fit` of the prior takes them: `epochs`, `callbacks`, `verbose`, ...

        Returns:
            `keras.callbacks.History` of the prior.

        Raises:
            InputError: pictures or labels that do not fit, a prior of other codes.
        """
        if prior is None and self.prior is None:
            prior = PixelCNN(
                code_shape=tuple(self.code_shape), num_embeddings=self.quantizer.num_embeddings,
                seed=self.seed,
            )
        if prior is not None:
            self._hold_prior(prior)
        codes, labels = codes_and_labels(self.encode, images, labels, self.prior.needs_labels)
        return fit_frozen(self.prior, codes, labels, batch_size=batch_size, **fit)

    def _hold_prior(self, prior):
        self.prior = adopt_prior(prior, self.code_shape, self.quantizer.num_embeddings)
        self.num_classes = self.prior.num_classes
        self.__dict__.pop("_compiled_methods", None)  # they may have been traced with another one

    @property
    def generates_by_label(self):
        return self.prior is not None and self.prior.needs_labels

    def draw_latents(self, num_images, seed):
        if self.prior is None:
            raise prior_wanted(self)
        return self.prior.draw_latents(num_images, seed)

    def _images_at(self, temperature, latents, labels=None):
        codes = self.prior.codes_from_latents(latents, labels, temperature=temperature)
        return self._decode(codes)

    def signatures(self):
        codes = tf.TensorSpec((None, *self.code_shape), tf.int32, name="latents")
        images = self.images_spec()
        reconstruct = (lambda images: {"images": self.call(images)}, [images])
        return {
            "serving_default": reconstruct,
            "encode": (lambda images: {"codes": self._encode(images)}, [images]),
            "decode": (lambda latents: {"images": self._decode(latents)}, [codes]),
            "reconstruct": reconstruct,
            **({} if self.prior is None else super().signatures()),
        }

    def deterministic_signature(self):
        # In one ONNX graph an output may not be called as an input is.
        return (lambda images: {"reconstructions": self.call(images)}), [self.images_spec()]

    def get_config(self):
        own_encoder, own_decoder = self._own_networks
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            **self._codebook,
            "levels": None if self._levels is None else list(self._levels),
            "data_variance": self.data_variance,
            "networks": self.networks,
            "network_options": dict(self.network_options) or None,
            "encoder": serialize(self.encoder) if own_encoder else None,
            "decoder": serialize(self.decoder) if own_decoder else None,
            "prior": None if self.prior is None else serialize(self.prior),
        }
