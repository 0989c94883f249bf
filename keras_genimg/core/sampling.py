"""Sampling from logits: temperature, top-k and top-p."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, check_number
from keras_genimg.core.image_model import ImageModel
from keras_genimg.core.serving import draw_per_label, draw_rows

__all__ = ["SAMPLING_SPECS", "SamplesLogits", "check_sampling", "filter_logits"]

# The inputs of signatures, named like the arguments.
SAMPLING_SPECS = {
    "temperature": tf.TensorSpec((), tf.float32, name="temperature"),
    "top_k": tf.TensorSpec((), tf.int32, name="top_k"),
    "top_p": tf.TensorSpec((), tf.float32, name="top_p"),
}
LOWEST_TEMPERATURE = 1e-6  # the logits that top-p divides stay finite


def check_sampling(temperature=1.0, top_k=None, top_p=None) -> dict:
    """Checks how values are to be sampled.

    Args:
        temperature, top_k, top_p: see `SamplesLogits.generate_batches`.

    Returns:
        dict of scalar tensors by argument name, without those that are None.

    Raises:
        InputError: an invalid value.
    """
    found = {"temperature": tf.constant(check_number("temperature", temperature), tf.float32)}
    if top_k is not None:
        found["top_k"] = tf.constant(check_count("top_k", top_k), tf.int32)
    if top_p is not None:
        found["top_p"] = tf.constant(check_number("top_p", top_p, 0.0, 1.0), tf.float32)
    return found


def filter_logits(logits: tf.Tensor, temperature=1.0, top_k=None, top_p=None) -> tf.Tensor:
    """Excludes unlikely values: first all but the `top_k` likeliest, then by `top_p`.

    Args:
        logits: float tensor `(n, levels)`, not divided by the temperature.
        temperature: float or scalar, which the probabilities of `top_p` depend on.
        top_k: int or scalar, or None. Number of likeliest values that are kept.
        top_p: float or scalar, or None. The fewest likeliest values are kept whose probabilities
            add up to at least `top_p`.

    Returns:
        tensor of the same shape, -inf in place of what is excluded. At least one value is kept,
        and all that equal the least likely one kept.

    Reference: Fan et al. (2018), https://arxiv.org/abs/1805.04833 (top-k); Holtzman et al. (2020),
        https://arxiv.org/abs/1904.09751 (top-p); in the order of Hugging Face's `generate`.
    """
    levels = logits.shape[-1]

    def without(logits, ordered, lowest):
        """-inf in place of the `lowest` smallest logits, `(n,)`."""
        least = tf.gather(ordered, tf.minimum(lowest, levels - 1), batch_dims=1)[:, None]
        return tf.where(logits < least, -np.inf, logits)

    if top_k is not None:
        lowest = tf.repeat(tf.maximum(levels - top_k, 0), tf.shape(logits)[0])
        logits = without(logits, tf.sort(logits), lowest)
    if top_p is not None:
        ordered = tf.sort(logits)  # (n, levels), ascending
        divisor = tf.cast(tf.maximum(temperature, LOWEST_TEMPERATURE), logits.dtype)
        below = tf.cumsum(tf.nn.softmax(ordered / divisor), axis=-1)
        excluded = below <= 1.0 - tf.cast(top_p, logits.dtype)
        logits = without(logits, ordered, tf.reduce_sum(tf.cast(excluded, tf.int32), axis=-1))
    return logits


class SamplesLogits(ImageModel):
    """A model whose images are sampled value by value, or decoded from codes that are.

    Subclasses write `_images_at(sampling, latents, labels)`, whose `sampling` is a dict as
    `check_sampling` returns it, or empty.
    """

    def generate_batches(
        self, num_images: int | None = None, labels=None, seed=None, *, batch_size: int = 256,
        temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the images of `generate` in batches, for more images than fit in memory.

        Args:
            num_images, labels, seed, batch_size: see `generate`.
            temperature: float. Divides the logits: below 1 for likelier values, 0 for the
                likeliest value at each position.
            top_k: int, optional. Only the `top_k` likeliest values are drawn.
            top_p: float from 0 to 1, optional. Of what `top_k` leaves only the likeliest values are
                drawn whose probabilities add up to at least `top_p`.

        Returns:
            iterator over NumPy float32 arrays `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: see `generate`, raised before the first batch; a model that does not
                generate images, or not yet.
        """
        sampling = check_sampling(temperature, top_k, top_p)
        return self._in_batches("_images_at", (sampling,), num_images, labels, seed, batch_size)

    def images_from_latents(self, latents, labels=None) -> tf.Tensor:
        return self._images_at({}, latents, labels)

    def sample_signature(self, specs: list) -> tuple:
        """The signature `sample`: that of `generate`, with temperature, top-k and top-p.

        Args:
            specs: list of `tf.TensorSpec`. The inputs of `generate`.

        Returns:
            (function of tensors, list of `tf.TensorSpec`). `top_k` of all levels and a `top_p` of 1
            exclude nothing.
        """

        def sample(first, seed, *sampling):
            by_label = self.generates_by_label
            draw = draw_per_label if by_label else draw_rows
            latents = draw(self.draw_latents, first, seed)
            sampling = dict(zip(SAMPLING_SPECS, sampling))
            return {"images": self._images_at(sampling, latents, first if by_label else None)}

        return sample, [*specs, *SAMPLING_SPECS.values()]
