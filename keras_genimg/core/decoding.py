"""What models have whose images are decoded from latent vectors: GANs and VAEs."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_latents
from keras_genimg.core.data_specs import Labels
from keras_genimg.core.image_model import ImageModel

__all__ = ["DecodesLatents"]


class DecodesLatents(ImageModel):
    """A model with a `latent_dim`, whose `images_from_latents` is a method and a signature.

    Args:
        image_shape: tuple (height, width, channels).
        seed: int, optional.

    Raises:
        InputError: an invalid image shape or seed.
    """

    @property
    def latent_shape(self) -> tuple:
        """Shape of the latents of one image; a string stands for any size."""
        return (self.latent_dim,)

    def decode(self, latents: ArrayLike, labels=None, *, batch_size: int = 256) -> np.ndarray:
        """Images from latents, in batches; of a VAE the means of p(x|z).

        Args:
            latents: float array `(n, *latent_shape)`, such as `draw_latents` returns.
            labels: of a conditional model: integers or names of classes, `(n,)` or one for all.
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: invalid latents or labels.
        """
        latents = check_latents(type(self).__name__, latents, self.latent_shape)
        labels = self.checked_labels(labels, len(latents))
        images = self._run_in_batches("images_from_latents", latents, batch_size, *labels)
        return images.astype("float32", copy=False)

    def decode_signature(self) -> tuple:
        """The signature `decode` of the SavedModel.

        Returns:
            (function of latents and, for a conditional model, labels; list of `tf.TensorSpec`).
        """
        sizes = (None if isinstance(size, str) else size for size in self.latent_shape)
        latents = tf.TensorSpec((None, *sizes), tf.float32, name="latents")
        labels = [self.labels_spec()] if self.data.part(Labels) else []
        return (lambda *given: {"images": self.images_from_latents(*given)}), [latents, *labels]

    def signatures(self) -> dict:
        return {**super().signatures(), "decode": self.decode_signature()}

    def deterministic_signature(self) -> tuple:
        return self.decode_signature()
