"""What models of image-to-image translation share."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_image_shape
from keras_genimg.core.adversarial import AdversarialModel
from keras_genimg.core.serving import decode_bytes, png_signature
from keras_genimg.errors import InputError

__all__ = ["TranslationModel"]


class TranslationModel(AdversarialModel):
    """An adversarial model whose generator maps images to images.

    Subclasses set `self.built = True` and their networks, including `generator` unless they
    override `call`.

    Args:
        image_shape: tuple (height, width, channels) of the generator's outputs.
        source_shape: tuple (height, width, channels) of its inputs, `image_shape` by default.
        seed: int, optional. Makes the training noise reproducible.

    Raises:
        InputError: invalid arguments.
    """

    makes = "translations"

    def __init__(self, image_shape, source_shape=None, seed: int | None = None, **kwargs):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.source_shape = self.image_shape
        if source_shape is not None:
            self.source_shape = check_image_shape(source_shape, False, "source_shape")

    def call(self, images, training: bool = False) -> tf.Tensor:
        """The generator's outputs.

        Args:
            images: float tensor `(n, *source_shape)` in [-1, 1].
            training: bool. Whether batch normalisation and dropout run in training mode.

        Returns:
            float tensor `(n, *image_shape)` in [-1, 1].
        """
        return self.generator(images, training=training)

    def translate(self, images: ArrayLike, *, batch_size: int = 256) -> np.ndarray:
        """Translates images, in batches.

        Args:
            images: float array `(n, *source_shape)` in [-1, 1].
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, *image_shape)` in [-1, 1].

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        checked = self.checked_images(images, "source_shape")
        return self._run_in_batches("call", checked, batch_size)

    def sources_of(self, images: ArrayLike) -> np.ndarray | None:
        """The inputs whose translations should be `images`, if the model computes them.

        Args:
            images: float array `(n, *image_shape)` in [-1, 1].

        Returns:
            NumPy float32 array `(n, *source_shape)`; None for a model whose inputs come from
            the data.
        """
        return None

    def draw_latents(self, num_images, seed) -> tf.Tensor:
        """Not available: a translation has no latents.

        Args:
            num_images, seed: see `ImageModel.draw_latents`.

        Raises:
            InputError: always; the message names `translate`.
        """
        raise InputError(
            f"{type(self).__name__} translates images; "
            "use translate(images) instead of generate."
        )

    def source_spec(self) -> tf.TensorSpec:
        """The spec of images to translate in signatures.

        Returns:
            `tf.TensorSpec` `(None, *source_shape)`, float32, named `images`.
        """
        return tf.TensorSpec((None, *self.source_shape), tf.float32, name="images")

    def signatures(self) -> dict:
        translate = (lambda images: {"images": self.call(images)}), [self.source_spec()]

        def translate_bytes(image_bytes):
            return self.call(decode_bytes(image_bytes, self.source_shape))

        image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
        png = png_signature(translate_bytes, [image_bytes])
        return {"serving_default": translate, "serving_png": png, "translate": translate}

    def deterministic_signature(self) -> tuple:
        # ONNX does not allow an output with the name of an input.
        return (lambda images: {"translations": self.call(images)}), [self.source_spec()]
