"""What models of codes share: quantizers, reconstructions, and generation with a prior."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg import distribution
from keras_genimg.checks import check_number, is_number
from keras_genimg.core.arguments import argument_names
from keras_genimg.core.priors import HoldsPriors
from keras_genimg.core.sampling import SamplesLogits
from keras_genimg.errors import InputError
from keras_genimg.layers import FiniteScalarQuantizer, VectorQuantizer, VectorQuantizerEMA
from keras_genimg.precision import at_least_float32

__all__ = ["CodeModel"]


class CodeModel(HoldsPriors, SamplesLogits):
    """A model of images as one or more grids of codes, with priors over the codes.

    Subclasses set `encoder`, `decoder`, their quantizers, an attribute for each prior and
    `self.built = True`. They write `train_step`, the methods below that raise
    `NotImplementedError`, and the property `metrics`: the means, and a `CodesUsed` per grid.

    Args:
        image_shape: tuple (height, width, channels).
        seed: int, optional.

    Raises:
        InputError: an invalid image shape or seed.
    """

    makes = "reconstructions"

    def make_quantizer(
        self, num_embeddings, embedding_dim, ema_decay, levels=None, seed=None, **options
    ) -> keras.Layer:
        """The quantizer that a model's arguments describe.

        Args:
            num_embeddings, embedding_dim: ints. Size of the codebook.
            ema_decay: float in (0, 1) for a `VectorQuantizerEMA`, None for a `VectorQuantizer`.
            levels: sequence of ints for a `FiniteScalarQuantizer` instead, or None.
            seed: int, optional.
            **options: further arguments of the codebook's class.

        Returns:
            The layer, in at least float32.

        Raises:
            InputError: invalid arguments.
        """
        options |= {"seed": seed, "dtype": at_least_float32(self.dtype_policy)}
        if levels is not None:
            return FiniteScalarQuantizer(levels, dtype=options["dtype"])
        if ema_decay is None:
            return VectorQuantizer(num_embeddings, embedding_dim, **options)
        if not is_number(ema_decay) or not 0 < ema_decay < 1:
            raise InputError(
                "ema_decay must be a number between 0 and 1, or None. "
                f"Received: ema_decay={ema_decay!r}."
            )
        quantizer = VectorQuantizerEMA(num_embeddings, embedding_dim, decay=ema_decay, **options)
        # Keras stores a layer under the name of its class or of an attribute. Files of version
        # 0.1 store this layer under the name of `VectorQuantizer`.
        vars(self).setdefault("layers/vector_quantizer", quantizer)
        return quantizer

    # ------------------------------------------------------------- what subclasses write

    def quantized(self, images, training: bool = False, sample_weight=None) -> tuple:
        """Encodes and quantizes images, without updating the codebooks.

        Args:
            images: float tensor `(n, height, width, channels)` in [-1, 1].
            training: bool. Passed to the networks.
            sample_weight: float tensor `(n,)` of weights in the loss, or None.

        Returns:
            The decoder's input; the codes, int32 `(n, h, w)`, one tensor per grid; the loss of
            the quantizers.
        """
        raise NotImplementedError

    def draw_codes(self, latents, labels, **sampling) -> tuple:
        """Draws codes from the priors.

        Args:
            latents: int64 tensor `(n, 2)`, see `draw_latents`.
            labels: int32 tensor `(n,)`, or None.
            **sampling: scalars, see `SamplesLogits.generate_batches`.

        Returns:
            tuple of int32 tensors, one per grid.
        """
        raise NotImplementedError

    def codebooks(self) -> dict:
        """The quantizers, and where their inputs come from.

        Returns:
            dict of quantizers, by the name of the method that maps images to their inputs.
        """
        raise NotImplementedError

    # ------------------------------------------------------------------------------ steps

    def test_step(self, data):
        """The terms of the loss on held-out images."""
        images, _, batch = self.unpack(data)
        quantized, codes, vq_loss = self.quantized(images, sample_weight=batch.weights)
        outputs = self.decoder(quantized, training=False)
        reconstruction_loss = batch.mean((images - outputs) ** 2) / self.data_variance
        loss = reconstruction_loss + vq_loss
        return self.log_terms(batch, loss, reconstruction_loss, vq_loss, codes)

    def log_terms(
        self, batch: distribution.GlobalBatch, loss, reconstruction_loss, vq_loss, codes, **others
    ) -> dict:
        """Logs a step's losses, and the codebook usage of the batch and of the epoch.

        Args:
            batch: the step's `GlobalBatch`.
            loss, reconstruction_loss, vq_loss: float scalars.
            codes: int tensor, or one per grid.
            **others: further scalars by name.

        Returns:
            dict of float32 scalars: the means of all of these and of `perplexity`, and
            `codes_used`, the number of codes used since the epoch began.
        """
        terms = {"loss": loss, "reconstruction_loss": reconstruction_loss, "vq_loss": vq_loss}
        for indices, used in zip(keras.tree.flatten(codes), self.metrics[1:]):
            # tf.math.bincount does not compile under XLA.
            one_hot = tf.one_hot(tf.reshape(indices, [-1]), used.num_embeddings)
            counts = distribution.sum_over_replicas(tf.reduce_sum(one_hot, axis=0))  # (K,)
            used.update_state(counts)
            # Of the global batch: counts add up over replicas, perplexities do not.
            shares = counts / tf.reduce_sum(counts)
            perplexity = tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares)))
            terms[used.name.replace("codes_used", "perplexity")] = perplexity
        logs = self.log(batch, **terms, **others)
        # A count over the epoch so far, not a mean over its steps.
        counted = {each.name: self.log_means.shaped(each.result()) for each in self.metrics[1:]}
        return {**logs, **counted}

    def call(self, images, training: bool = False) -> tf.Tensor:
        """Reconstructs images from their codes.

        Args:
            images: float tensor `(n, height, width, channels)` in [-1, 1].
            training: bool. Passed to the networks; codebooks are not updated.

        Returns:
            float32 tensor of the shape of `images`, in [-1, 1].
        """
        quantized, _, _ = self.quantized(images, training)
        return tf.clip_by_value(self.decoder(quantized, training=training), -1.0, 1.0)

    def _encode(self, images):
        return self.quantized(images)[1]

    def _decode(self, *codes):
        vectors = [book.decode(grid) for book, grid in zip(self.codebooks().values(), codes)]
        outputs = self.decoder(vectors if len(vectors) > 1 else vectors[0], training=False)
        return tf.clip_by_value(outputs, -1.0, 1.0)

    def encode(self, images: ArrayLike, *, batch_size: int = 256) -> np.ndarray | tuple:
        """Encodes images to codes, in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            batch_size: int. Images per batch.

        Returns:
            NumPy int32 array `(n, h, w)`, from 0 to num_embeddings - 1. A model with two grids
            returns a pair, the top's codes `(n, h, w)` and the bottom's `(n, h', w')`; the top's
            sides are half of the bottom's, rounded up.

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        return self._run_in_batches("_encode", self.checked_images(images), batch_size)

    def reconstruct(self, images, *, batch_size: int = 256) -> np.ndarray:
        """Reconstructs images from their codes, in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array of the shape of `images`, in [-1, 1].

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        return self._run_in_batches("call", self.checked_images(images), batch_size)

    def adapt(self, images) -> None:
        """Sets `data_variance` from images, before `fit`, unless it was given.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; a thousand are enough.

        Raises:
            InputError: invalid images, or images that all have one value.
        """
        named = "data_variance" in argument_names(type(self))
        if named and self.arguments.get("data_variance") is None:
            variance = round(float(np.var(self.checked_images(images))), 4)
            self.data_variance = check_number("data_variance", variance, low=1e-12)
            self.arguments["data_variance"] = self.data_variance

    def start_codebook(self, images, *, iterations: int = 10, batch_size: int = 256) -> None:
        """Initialises each codebook by k-means on the encoder's outputs, before `fit`.

        With several workers, each must call it with the same images.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; a few hundred are enough.
            iterations: int. Iterations of k-means.
            batch_size: int. Images per batch.

        Raises:
            InputError: invalid images, or too few; a model with `levels`, which has no codebook.
        """
        images = self.checked_images(images)
        for method, quantizer in self.codebooks().items():
            if isinstance(quantizer, FiniteScalarQuantizer):
                raise InputError(
                    f"A model with levels={quantizer.levels} has no codebook to initialise."
                )
            vectors = self._run_in_batches(method, images, batch_size)
            quantizer.start_from(vectors.reshape(-1, vectors.shape[-1]), iterations)

    # ------------------------------------------------------------- generating, exporting

    def _images_at(self, sampling, latents, labels=None):
        return self._decode(*self.draw_codes(latents, labels, **sampling))

    def signatures(self) -> dict:
        images, grids = [self.images_spec()], self.prior_grids()
        names = [name.replace("prior", "codes") for name in grids]
        inputs = names if len(grids) > 1 else ["latents"]
        codes = [
            tf.TensorSpec((None, *shape), tf.int32, name=name)
            for name, (shape, *_) in zip(inputs, grids.values())
        ]

        def encode(images):
            return dict(zip(names, keras.tree.flatten(self._encode(images))))

        def decode(*codes):
            return {"images": self._decode(*codes)}

        def reconstruct(images):
            return {"images": self.call(images)}

        # With a prior or without, the default is the same: clients of the model stay served when
        # it gets one.
        generating = {}
        if self.held_priors():
            inherited = super().signatures()
            generating = {key: inherited[key] for key in ("generate", "serving_png")}
            generating["sample"] = self.sample_signature(generating["generate"][1])
        return {
            "serving_default": (reconstruct, images),
            "encode": (encode, images),
            "decode": (decode, codes),
            "reconstruct": (reconstruct, images),
            **generating,
        }

    def deterministic_signature(self) -> tuple:
        # ONNX does not allow an output with the name of an input.
        return (lambda images: {"reconstructions": self.call(images)}), [self.images_spec()]
