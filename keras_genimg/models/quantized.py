"""What models of codes have in common: reconstructing, and generating by a prior."""

import tensorflow as tf

from keras_genimg.models.base import ImageModel
from keras_genimg.models.checks import check_number

__all__ = ["QuantizedModel"]


class QuantizedModel(ImageModel):
    """Pictures as grids of codes.

    Subclasses define `call`, from images to their reconstructions, and `_images_at(temperature,
    latents, labels=None)`, which draws codes by the prior and decodes them.
    """

    def reconstruct(self, images, *, batch_size=256):
        """Images to their codes and back, in batches.

        Args:
            images, batch_size: as for `encode`.

        Returns:
            NumPy float32 array of the shape of `images`, in [-1, 1].

        Raises:
            InputError: pictures of another shape, type or range.
        """
        return self._run_in_batches("call", self.checked_images(images), batch_size)

    def generate_batches(
        self, num_images, labels=None, seed=None, *, batch_size=256, temperature=1.0
    ):
        """The pictures of `generate` in batches, for more of them than memory holds.

        Args:
            num_images, labels, seed, batch_size: as for `generate`.
            temperature: float. The prior's logits are divided by it: below 1 for likelier codes,
                0 for the likeliest at each position.

        Returns:
            iterator over NumPy float32 arrays `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: as `generate`, before the first batch; a model without a prior.
        """
        first = (tf.constant(check_number("temperature", temperature), tf.float32),)
        return self._make_in_batches("_images_at", first, num_images, labels, seed, batch_size)

    def images_from_latents(self, latents, labels=None):
        return self._images_at(1.0, latents, labels)
