"""VQ-VAE-2: pictures as two grids of codes, a coarse one and a fine one (Razavi et al., 2019)."""

import keras
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import VectorQuantizer
from keras_genimg.metrics import CodesUsed
from keras_genimg.models.checks import adopt_network, check_latents, check_number
from keras_genimg.models.options import build_network, check_network_options
from keras_genimg.models.pixel_cnn import PixelCNN
from keras_genimg.models.priors import adopt_prior, codes_and_labels, fit_frozen, prior_wanted
from keras_genimg.models.quantized import QuantizedModel
from keras_genimg.models.vq_vae import code_usage
from keras_genimg.networks import (
    check_image_shape,
    two_level_decoder,
    two_level_encoder,
    two_level_join,
)
from keras_genimg.optimizers import Adam

__all__ = ["VQVAE2"]

# Added to the numbers of grids where the bottom's noise is drawn: no top has such numbers.
BOTTOM_NUMBERS = 2**40


@keras.saving.register_keras_serializable(package="keras_genimg")
class VQVAE2(QuantizedModel):
    """Vector-quantised variational autoencoder of two levels (Razavi et al., 2019).

    A picture becomes two grids of codes: the top, an eighth of its height and width (rounded
    up), which tells its layout, and the bottom, a quarter, which is told the top and adds what
    is local. The decoder makes the picture of the vectors of both. To generate, it needs priors
    over the codes, one for the top and one for the bottom given the top: see `fit_prior`.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_embeddings: int. Vectors in each of the two codebooks (K).
        embedding_dim: int. Length of a vector (D).
        commitment_cost: float. Weight of the commitment terms (beta in Eq. 2).
        ema_decay: float in (0, 1), or None. Decay of the codebooks' moving
            averages (section 2.1); None learns the codebooks by gradient.
        dead_code_threshold: float, or None for never. A code used less than this
            many times a batch, on a moving average, is replaced.
        data_variance: float. Variance of the pictures' values, by which the
            squared error is divided, so that the terms keep their balance on any data.
        network_options: dict, keyword arguments of the functions that make the default networks:
            `filters`, `residual_filters` and `blocks`.
        encoder: `keras.Model` of one's own, images to a list: the top's vectors
            `(batch, h, w, D)` and features of the bottom, `(batch, 2h, 2w, features)`; of an odd
            height or width of the bottom, the top's is half of it, rounded up.
        decoder: `keras.Model` of one's own, the vectors of both levels, a list of the top's and
            the bottom's, to images.
        top_prior: `PixelCNN` or `CodeTransformer` over the top's codes, usually set by
            `fit_prior`.
        bottom_prior: `PixelCNN` over the bottom's codes, conditioned on the top's, likewise.
        seed: int, optional. Makes the codebooks' start and replacements repeatable.

    Logs: `loss`, `reconstruction_loss` (squared error / data_variance), `vq_loss` (both levels'),
    `perplexity_top` and `perplexity_bottom` of the codes of a batch, `codes_used_top` and
    `codes_used_bottom`, the numbers of codes met since the epoch began.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> vq_vae2 = VQVAE2(image_shape=(32, 32, 3), num_embeddings=512)
    >>> vq_vae2.compile()
    >>> [codes.shape for codes in vq_vae2.encode(np.zeros((2, 32, 32, 3), "float32"))]
    [(2, 4, 4), (2, 8, 8)]

    Reference: https://arxiv.org/abs/1906.00446
    """

    def __init__(
        self,
        image_shape=(32, 32, 3),
        num_embeddings=512,
        embedding_dim=64,
        *,
        commitment_cost=0.25,
        ema_decay=0.99,
        dead_code_threshold=0.1,
        data_variance=1.0,
        network_options=None,
        encoder=None,
        decoder=None,
        top_prior=None,
        bottom_prior=None,
        seed=None,
        **kwargs,
    ):
        own_networks = encoder is not None and decoder is not None
        image_shape = check_image_shape(image_shape, default_networks=not own_networks)
        super().__init__(image_shape, seed=seed, **kwargs)
        self._codebook = {
            "num_embeddings": num_embeddings,
            "embedding_dim": embedding_dim,
            "commitment_cost": commitment_cost,
            "ema_decay": ema_decay,
            "dead_code_threshold": dead_code_threshold,
        }
        self.top_quantizer, self.bottom_quantizer = (
            VectorQuantizer(**self._codebook, seed=level_seed, dtype="float32")
            for level_seed in (seed, None if seed is None else seed + 1)
        )
        self.data_variance = check_number("data_variance", data_variance, low=1e-12)
        makers = (two_level_encoder, two_level_join, two_level_decoder)
        self.network_options = check_network_options(network_options, makers)
        self._build_networks(encoder, decoder)
        self._own_networks = [encoder is not None, decoder is not None]
        self.codes_used_top, self.codes_used_bottom = (
            CodesUsed(num_embeddings, name=f"codes_used_{level}") for level in ("top", "bottom")
        )
        self.top_prior = self.bottom_prior = None
        if top_prior is not None and bottom_prior is not None:
            self._hold_priors(top_prior, bottom_prior)
        elif top_prior is not None or bottom_prior is not None:
            raise InputError("top_prior and bottom_prior go together. Received: one of them.")
        self.built = True

    def _build_networks(self, encoder, decoder):
        """Sets the three networks, and `code_shapes`, ((h, w) of the top, (h, w) of the bottom)."""
        dim, options = self.top_quantizer.embedding_dim, self.network_options
        self.encoder = adopt_network(
            "encoder",
            encoder or build_network(two_level_encoder, self.image_shape, dim, **options),
            self.image_shape,
            [("height", "width", dim), ("height", "width", "features")],
        )
        top, features = self.encoder(keras.KerasTensor((None, *self.image_shape)))
        top, features = tuple(top.shape[1:]), tuple(features.shape[1:])
        if top[:2] != tuple(-(-side // 2) for side in features[:2]):
            raise InputError(
                "encoder must make a top of half the height and width of the bottom, rounded up. "
                f"Received: a top of {top[0]}x{top[1]} and a bottom of {features[0]}x{features[1]}."
            )
        self.code_shapes = top[:2], features[:2]
        self.join = build_network(two_level_join, top, features, **options)
        vectors = [keras.KerasTensor((None, *shape, dim)) for shape in self.code_shapes]
        self.decoder = adopt_network(
            "decoder",
            decoder or build_network(two_level_decoder, self.image_shape, dim, **options),
            vectors,
            [self.image_shape],
        )

    def train_step(self, data):
        """Algorithm 1 of Razavi et al. (2019)."""
        images, _, batch = self.unpack(data)  # x (B, H, W, c)
        with tf.GradientTape() as tape:
            # 1. h_top = E_top(x), and its nearest codes e_top.
            vectors, features = self.encoder(images, training=True)  # (B, h, w, D), (B, 2h, 2w, F)
            top, top_codes, top_loss = self.top_quantizer(vectors, training=True)

            # 2. h_bottom = E_bottom(x, e_top), and its nearest codes e_bottom.
            vectors = self.join([top, features], training=True)  # (B, 2h, 2w, D)
            bottom, bottom_codes, bottom_loss = self.bottom_quantizer(vectors, training=True)

            # 3. x^ = D(e_top, e_bottom), and the loss (Eq. 2): the squared error and the
            #    commitment of both levels. The codebooks follow moving averages.
            outputs = self.decoder([top, bottom], training=True)  # (B, H, W, c)
            reconstruction_loss = tf.reduce_mean((images - outputs) ** 2) / self.data_variance
            vq_loss = top_loss + bottom_loss

            # 4. Descend the sum.
            loss = reconstruction_loss + vq_loss
            shared_loss = loss * batch.share
        weights = self.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 5. Logs.
        codes = top_codes, bottom_codes
        return self._log_terms(batch, loss, reconstruction_loss, vq_loss, codes)

    def test_step(self, data):
        """The terms of Eq. 2 on pictures that were not trained on."""
        images, _, batch = self.unpack(data)
        vectors, codes, vq_loss = self._quantized(images)
        outputs = self.decoder(vectors, training=False)
        reconstruction_loss = tf.reduce_mean((images - outputs) ** 2) / self.data_variance
        loss = reconstruction_loss + vq_loss
        return self._log_terms(batch, loss, reconstruction_loss, vq_loss, codes)

    def _log_terms(self, batch, loss, reconstruction_loss, vq_loss, codes):
        number = self.top_quantizer.num_embeddings
        counts, perplexities = zip(*(code_usage(indices, number) for indices in codes))
        logs = self.log(
            batch,
            loss=loss,
            reconstruction_loss=reconstruction_loss,
            vq_loss=vq_loss,
            perplexity_top=perplexities[0],
            perplexity_bottom=perplexities[1],
        )
        for used, of_batch in zip((self.codes_used_top, self.codes_used_bottom), counts):
            used.update_state(of_batch)
            logs[used.name] = self.log_means.shaped(used.result())
        return logs

    @property
    def metrics(self):
        return [self.log_means, self.codes_used_top, self.codes_used_bottom]

    def default_optimizers(self, learning_rate=None):
        # The paper tells no rate; the authors' published example of a VQ-VAE has Adam, 3e-4.
        return {"optimizer": Adam(3e-4 if learning_rate is None else learning_rate)}

    # -------------------------------------------------------------- codes and pictures

    def _top_vectors(self, images):
        return self.encoder(images, training=False)[0]

    def _bottom_vectors(self, images):
        vectors, features = self.encoder(images, training=False)
        return self.join([self.top_quantizer(vectors)[0], features], training=False)

    def _quantized(self, images, training=False):
        """Vectors of both levels, their codes, and the sum of their losses; the codebooks stay."""
        vectors, features = self.encoder(images, training=training)
        top, top_codes, top_loss = self.top_quantizer(vectors)
        vectors = self.join([top, features], training=training)
        bottom, bottom_codes, bottom_loss = self.bottom_quantizer(vectors)
        return [top, bottom], (top_codes, bottom_codes), top_loss + bottom_loss

    def call(self, images, training=False):
        """Images through their codes and back.

        Args:
            images: float tensor `(n, H, W, c)` in [-1, 1].
            training: bool. How the networks are called; the codebooks stay as they are.

        Returns:
            float32 tensor of the shape of `images`, in [-1, 1].
        """
        vectors, _, _ = self._quantized(images, training)
        return self._clipped(self.decoder(vectors, training=training))

    def encode(self, images, *, batch_size=256):
        """Codes of pictures, in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            batch_size: int. Pictures at once.

        Returns:
            NumPy int32 arrays: the top's codes `(n, h, w)`, and the bottom's `(n, h', w')`, whose
            sides the top has halved and rounded up.

        Raises:
            InputError: pictures of another shape, type or range.
        """
        return self._run_in_batches("_encode", self.checked_images(images), batch_size)

    def decode(self, latents, *, batch_size=256):
        """Pictures of codes, in batches.

        Args:
            latents: pair of int arrays, top codes and bottom codes, as `encode` makes them.
            batch_size: int. Pictures at once.

        Returns:
            NumPy float32 array `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: no pair; codes of another shape, type, range or number.
        """
        if not isinstance(latents, (tuple, list)) or len(latents) != 2:
            raise InputError(
                f"{type(self).__name__} decodes a pair, (top codes, bottom codes). "
                f"Received: {type(latents).__name__}."
            )
        number = self.top_quantizer.num_embeddings
        top, bottom = (
            check_latents(self, codes, shape, number)
            for codes, shape in zip(latents, self.code_shapes)
        )
        if len(top) != len(bottom):
            raise InputError(
                "There must be as many grids of bottom codes as of top codes. "
                f"Received: {len(bottom)} and {len(top)}."
            )
        return self._run_in_batches("_decode", top, batch_size, bottom)

    def _encode(self, images):
        return self._quantized(images)[1]

    def _decode(self, top_codes, bottom_codes):
        vectors = [self.top_quantizer.decode(top_codes), self.bottom_quantizer.decode(bottom_codes)]
        return self._clipped(self.decoder(vectors, training=False))

    @staticmethod
    def _clipped(outputs):
        return tf.clip_by_value(outputs, -1.0, 1.0)

    def start_codebook(self, images, *, iterations=10, batch_size=256):
        """Starts both codebooks by k-means on what the encoder makes of pictures, before `fit`.

        Under several workers all call it with the same pictures.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; some hundreds are enough.
            iterations: int. Rounds of k-means.
            batch_size: int. Pictures at once.

        Raises:
            InputError: pictures that do not fit or are too few.
        """
        images = self.checked_images(images)
        levels = (("_top_vectors", self.top_quantizer), ("_bottom_vectors", self.bottom_quantizer))
        for method, quantizer in levels:  # the bottom's hang on the top's codebook
            vectors = self._run_in_batches(method, images, batch_size)
            quantizer.start_from(vectors.reshape(-1, vectors.shape[-1]), iterations)

    # --------------------------------------------------------- priors, and pictures of them

    def fit_prior(
        self, images, labels=None, top_prior=None, bottom_prior=None, *, batch_size=64, **fit
    ):
        """Fits models of both levels' codes; with them, `generate` makes new pictures.

        p(top, bottom) = p(top) p(bottom | top), each learned by itself (Algorithm 2).

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1], or a
                `tf.data.Dataset` of batches of them, or of `(images, labels)`, that ends.
            labels: integers `(n,)`, for conditional priors.
            top_prior: `PixelCNN` or `CodeTransformer` of the top's codes, compiled or not; by
                default the one that it holds, or else a `PixelCNN`. It is held from then on.
            bottom_prior: `PixelCNN` of the bottom's codes with the top's as its condition,
                likewise; by default with the classes of `top_prior`.
            batch_size: int. Grids of codes a step of training.
            **fit: as `fit` of both priors takes them: `epochs`, `callbacks`, `verbose`, ...

        Returns:
            Two `keras.callbacks.History`, the top prior's and the bottom prior's.

        Raises:
            InputError: pictures or labels that do not fit, a prior of other codes.
        """
        top_prior = self.top_prior if top_prior is None else top_prior
        bottom_prior = self.bottom_prior if bottom_prior is None else bottom_prior
        self._hold_priors(top_prior, bottom_prior)
        (top, bottom), labels = codes_and_labels(
            self.encode, images, labels, self.generates_by_label
        )
        top_given = labels if self.top_prior.needs_labels else None
        bottom_given = (labels, top) if self.bottom_prior.needs_labels else top
        return (
            fit_frozen(self.top_prior, top, top_given, batch_size=batch_size, **fit),
            fit_frozen(self.bottom_prior, bottom, bottom_given, batch_size=batch_size, **fit),
        )

    def _hold_priors(self, top, bottom):
        """Holds both; None for a new `PixelCNN`."""
        shapes, number = self.code_shapes, self.top_quantizer.num_embeddings
        if top is None:
            top = PixelCNN(code_shape=shapes[0], num_embeddings=number, seed=self.seed)
        top = adopt_prior(top, shapes[0], number, name="top_prior")
        if bottom is None:
            bottom = PixelCNN(
                code_shape=shapes[1], num_embeddings=number, num_classes=top.num_classes,
                condition_shape=shapes[0], condition_embeddings=number, seed=self.seed,
            )
        bottom = adopt_prior(bottom, shapes[1], number, (shapes[0], number), "bottom_prior")
        classes = {prior.num_classes for prior in (top, bottom) if prior.needs_labels}
        if len(classes) > 1:
            raise InputError(
                "top_prior and bottom_prior must have as many classes, where both have any. "
                f"Received: num_classes={top.num_classes} and {bottom.num_classes}."
            )
        self.top_prior, self.bottom_prior = top, bottom
        self.num_classes = classes.pop() if classes else None
        self.__dict__.pop("_compiled_methods", None)  # they may have been traced with other priors

    @property
    def generates_by_label(self):
        priors = (self.top_prior, self.bottom_prior)
        return any(prior is not None and prior.needs_labels for prior in priors)

    def draw_latents(self, num_images, seed):
        if self.top_prior is None:
            raise prior_wanted(self)
        return self.top_prior.draw_latents(num_images, seed)

    def _images_at(self, temperature, latents, labels=None):
        of_top, of_bottom = (
            labels if prior.needs_labels else None for prior in (self.top_prior, self.bottom_prior)
        )
        top = self.top_prior.codes_from_latents(latents, of_top, temperature=temperature)
        others = latents + tf.constant([0, BOTTOM_NUMBERS], tf.int64)  # noise of its own
        bottom = self.bottom_prior.codes_from_latents(others, of_bottom, top, temperature)
        return self._decode(top, bottom)

    # ------------------------------------------------------------------ exporting, saving

    def signatures(self):
        images = self.images_spec()
        codes = [
            tf.TensorSpec((None, *shape), tf.int32, name=f"{level}_codes")
            for shape, level in zip(self.code_shapes, ("top", "bottom"))
        ]

        def encode(images):
            top, bottom = self._encode(images)
            return {"top_codes": top, "bottom_codes": bottom}

        reconstruct = (lambda images: {"images": self.call(images)}, [images])
        return {
            "serving_default": reconstruct,
            "encode": (encode, [images]),
            "decode": (lambda top, bottom: {"images": self._decode(top, bottom)}, codes),
            "reconstruct": reconstruct,
            **({} if self.top_prior is None else super().signatures()),
        }

    def deterministic_signature(self):
        # In one ONNX graph an output may not be called as an input is.
        return (lambda images: {"reconstructions": self.call(images)}), [self.images_spec()]

    def get_config(self):
        def serialized(part, kept=True):
            return keras.saving.serialize_keras_object(part) if kept and part is not None else None

        return {
            **super().get_config(),
            **self._codebook,
            "data_variance": self.data_variance,
            "network_options": dict(self.network_options) or None,
            "encoder": serialized(self.encoder, self._own_networks[0]),
            "decoder": serialized(self.decoder, self._own_networks[1]),
            "top_prior": serialized(self.top_prior),
            "bottom_prior": serialized(self.bottom_prior),
        }
