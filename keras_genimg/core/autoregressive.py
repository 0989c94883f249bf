"""Autoregressive models of images or of grids of codes."""

import functools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_code_shape, check_condition, check_count
from keras_genimg.core.data_specs import Codes, Images, Labels
from keras_genimg.core.generating import joined
from keras_genimg.core.sampling import (
    SAMPLING_SPECS,
    SamplesLogits,
    check_sampling,
    filter_logits,
)
from keras_genimg.core.serving import as_rows, count_spec, draw_per_label, draw_rows, seed_spec
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["AutoregressiveModel"]

CONDITION = Codes("condition", "condition_shape", "condition_embeddings")


class AutoregressiveModel(SamplesLogits):
    """log p(x) = sum_i log p(x_i | x_<i) over the values of a grid, in raster order.

    Subclasses set `network` and `self.built = True`, and write `train_step`. The network has a
    `shape`, (height, width, channels). Its call returns the logits of all positions, and its
    `sample` draws values one by one (see `networks.GatedPixelCNN`).

    Args:
        image_shape: tuple (height, width, channels), or None for codes.
        levels: int. Number of values of a channel or a code.
        code_shape: tuple (height, width), or None for images.
        num_classes: int, or None without classes.
        condition_shape: tuple (height, width), or None. Shape of a grid of codes, no larger than
            `code_shape`, that all codes are conditioned on.
        condition_embeddings: int, or None. Number of codes of the condition.
        seed: int, optional.
    """

    def __init__(
        self, image_shape, levels, code_shape=None, num_classes=None, condition_shape=None,
        condition_embeddings=None, seed=None, **kwargs,
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.levels = levels
        self.code_shape = code_shape
        self.num_embeddings = levels if code_shape else None
        # The class attribute `data` is the default; this model may take other data.
        self.data, self.makes = (Codes(), "codes") if code_shape else (Images(), "images")
        if num_classes is not None:
            self.num_classes = check_count("num_classes", num_classes, minimum=2)
            self.data += Labels()
        self.condition_shape = self.condition_embeddings = None
        if condition_shape is not None or condition_embeddings is not None:
            self._take_condition(condition_shape, condition_embeddings)
            self.data += CONDITION

    def _take_condition(self, shape, embeddings):
        try:
            shape = check_code_shape(shape)
            fits = shape[0] <= self.code_shape[0] and shape[1] <= self.code_shape[1]
        except (InputError, TypeError):  # an invalid shape; or images instead of codes
            fits = False
        if not fits:
            raise InputError(
                "condition_shape must be (height, width), in neither more than code_shape. "
                f"Received: condition_shape={shape!r}, code_shape={self.code_shape!r}."
            )
        self.condition_shape = shape
        self.condition_embeddings = check_count("condition_embeddings", embeddings)

    def test_step(self, data):
        """The cross-entropy of held-out images or codes."""
        values, given, batch = self.unpack(data)
        nats = self.nats(values, self.network(values, **given))
        return self.log_terms(batch, batch.mean(nats))

    def log_terms(self, batch: distribution.GlobalBatch, loss) -> dict:
        """Logs a loss, in bits per dimension for images or in nats per code for codes.

        Args:
            batch: the step's `GlobalBatch`.
            loss: float scalar, -log p(x) in nats, summed over the grid.

        Returns:
            dict of float32 scalars: `loss`, `nll`, and `bits_per_dim` or `nats_per_code`.
        """
        nats_per_value = loss / math.prod(self.network.shape)
        if self.code_shape:
            return self.log(batch, loss=loss, nll=loss, nats_per_code=nats_per_value)
        return self.log(batch, loss=loss, nll=loss, bits_per_dim=nats_per_value / math.log(2.0))

    def unpack(self, data) -> tuple:
        """See `ImageModel.unpack`.

        Args:
            data: images or codes, with labels, a condition or both if the model takes them.

        Returns:
            values: int32 `(n, h, w, c)`, as the network takes them.
            given: dict of the network's conditioning arguments: none, or `labels` `(n,)`, or
                `condition` `(n, *condition_shape)`, or both.
            batch: `keras_genimg.distribution.GlobalBatch`.
        """
        x, y, batch = super().unpack(data)
        names = [part.name for part in self.data.parts[1:]]
        return self.values_of(x), dict(zip(names, y if isinstance(y, list) else [y])), batch

    @staticmethod
    def _given(labels, condition):
        """Arguments of the network."""
        given = {"labels": labels, "condition": condition}
        return {name: value for name, value in given.items() if value is not None}

    def _checked_condition(self, condition, count):
        if self.condition_shape is not None:
            wanted = (count, *self.condition_shape)
            return check_condition(condition, wanted, self.condition_embeddings)
        if condition is not None:
            name = type(self).__name__
            raise InputError(f"This {name} has no condition. Received: a condition.")
        return None

    def values_of(self, data) -> tf.Tensor:
        """The network's inputs: every value as the index of its level.

        Args:
            data: float images `(n, h, w, c)` in [-1, 1], rounded to the nearest level (halfway
                values round up); or int codes `(n, h, w)`.

        Returns:
            int32 tensor `(n, h, w, c)` in [0, levels).
        """
        if self.code_shape:
            return tf.cast(data, tf.int32)[..., None]
        steps = (tf.cast(data, tf.float32) + 1.0) * (0.5 * (self.levels - 1))
        nearest = tf.floor(steps + 0.5)  # halfway values round up
        return tf.cast(tf.clip_by_value(nearest, 0.0, self.levels - 1.0), tf.int32)

    @staticmethod
    def nats(values, logits) -> tf.Tensor:
        """-log p(x) of each image or grid.

        Args:
            values: int tensor `(n, h, w, c)` in [0, levels).
            logits: float tensor `(n, h, w, c, levels)`.

        Returns:
            float tensor `(n,)`, nats, summed over the grid.
        """
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=values, logits=logits)
        return tf.reduce_sum(losses, axis=(1, 2, 3))

    def call(self, inputs, labels=None, condition=None, training=False):
        """Logits of the value at each position, given those before it.

        Args:
            inputs: int codes `(n, h, w)`, or float images `(n, h, w, c)` in [-1, 1]; or a list of
                these and of what they are conditioned on, in the order of `data`.
            labels: int `(n,)`, of a conditional model, if not in `inputs`.
            condition: int `(n, *condition_shape)`, of a model that has one, if not in `inputs`.
            training: bool. Whether dropout is applied.

        Returns:
            float32 `(n, h, w, num_embeddings)`, or `(n, h, w, c, levels)`.
        """
        data, *given = self.call_inputs(inputs, labels, condition)
        given = self._by_name(given)
        logits = self.network(self.values_of(data), **given, training=training)
        return logits[..., 0, :] if self.code_shape else logits

    def log_likelihood(
        self, data, labels=None, *, condition=None, batch_size: int = 256
    ) -> np.ndarray:
        """Exact log p(x) of each image or grid of codes.

        Args:
            data: float images `(n, h, w, c)` in [-1, 1], rounded to the nearest levels, or int
                codes `(n, h, w)`.
            labels: of a conditional model, on which the likelihood is conditioned: integers or
                names of classes, `(n,)` or one for all.
            condition: integers `(n, *condition_shape)`, likewise.
            batch_size: int. Images or grids per batch.

        Returns:
            NumPy float32 array `(n,)`, nats.

        Raises:
            InputError: invalid data, labels or condition.
        """
        data = np.asarray(data)
        self.data.parts[0].check_values(self, data)
        check_count("batch_size", batch_size)
        labels = next(iter(self.checked_labels(labels, len(data))), None)
        condition = self._checked_condition(condition, len(data))
        return self._run_in_batches("_log_likelihood", data, batch_size, labels, condition)

    def _log_likelihood(self, data, labels=None, condition=None):
        values = self.values_of(data)
        return -self.nats(values, self.network(values, **self._given(labels, condition)))

    def generate_batches(self, *arguments, **options) -> Iterator[np.ndarray]:
        """See `SamplesLogits.generate_batches`; refused by a model of codes.

        Args:
            *arguments, **options: see `SamplesLogits.generate_batches`.

        Returns:
            iterator over NumPy float32 arrays `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: see there; a model of codes.
        """
        self._refuse_codes()
        return super().generate_batches(*arguments, **options)

    def generate_codes(
        self, num_images: int | None = None, labels=None, seed=None, *, condition=None,
        temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
        batch_size: int = 256, verbose="auto",
    ) -> np.ndarray:
        """Generates grids of codes, position by position.

        Args:
            num_images, labels, seed, batch_size, verbose: see `generate`.
            condition: integers `(num_images, *condition_shape)`, for models that have one.
            temperature, top_k, top_p: see `SamplesLogits.generate_batches`.

        Returns:
            NumPy int32 array `(num_images, h, w)`.

        Raises:
            InputError: see `generate`; a model of images.
        """
        if not self.code_shape:
            raise InputError(
                "generate_codes needs a model of codes; a model of images has generate(...). "
                f"Received: image_shape={self.image_shape}."
            )
        sampling = check_sampling(temperature, top_k, top_p)
        num_images, labels = self._numbered(num_images, labels)
        condition = self._checked_condition(condition, num_images)
        grids = self._in_batches(
            "_sample", (sampling,), num_images, labels, seed, batch_size, condition
        )
        return joined((grid[..., 0] for grid in grids), num_images, batch_size, verbose, "int32")

    def draw_latents(self, num_images, seed) -> tf.Tensor:
        """Identifies the noise of each image or grid.

        Args:
            num_images: int or int32 scalar.
            seed: int or int64 scalar.

        Returns:
            int64 tensor `(num_images, 2)`: the seed, and an index from 0.
        """
        numbers = tf.range(tf.cast(num_images, tf.int64))
        return tf.stack([tf.fill(tf.shape(numbers), tf.cast(seed, tf.int64)), numbers], axis=1)

    def images_from_latents(self, latents, labels=None) -> tf.Tensor:
        self._refuse_codes()
        return super().images_from_latents(latents, labels)

    def codes_from_latents(self, latents, labels=None, condition=None, **sampling) -> tf.Tensor:
        """Grids of codes, drawn position by position.

        Args:
            latents: int64 tensor `(n, 2)`, from `draw_latents`.
            labels, condition: see `call`.
            **sampling: scalars, see `SamplesLogits.generate_batches`.

        Returns:
            int32 tensor `(n, h, w)`, the same for the same latents.
        """
        return self._sample(sampling, latents, labels, condition)[..., 0]

    def _sample(self, sampling, latents, labels=None, condition=None):
        """Draws by the Gumbel-max trick: int32 `(n, h, w, c)`."""
        dtype = at_least_float32(self.dtype_policy)

        def noise_of_row(row):
            noise = sampling.get("temperature", 1.0) * self.gumbel_noise(latents, row)
            return tf.cast(noise, dtype)

        allowed = functools.partial(filter_logits, **sampling)
        given = self._given(labels, condition)
        return self.network.sample(noise_of_row, tf.shape(latents)[0], allowed, **given)

    def gumbel_noise(self, latents, row) -> tf.Tensor:
        """The noise of one row of each image, independent of the rest of the batch.

        Args:
            latents: int64 `(n, 2)`, from `draw_latents`.
            row: int or int32 scalar.

        Returns:
            float32 `(n, w, c, levels)`.
        """
        height, width, channels = self.network.shape
        seeds = latents * [1, height] + [0, tf.cast(row, tf.int64)]  # one seed per row of an image

        def draw(seed):
            cells = distribution.whole_batch(width)
            return distribution.random_uniform(cells, (channels, self.levels), seed)

        spec = tf.TensorSpec((width, channels, self.levels), tf.float32)
        uniform = tf.map_fn(draw, seeds, fn_output_signature=spec)
        # Draws have 24 bits. Zero becomes half the smallest draw, to keep the noise finite.
        return -tf.math.log(-tf.math.log(tf.maximum(uniform, 2.0**-25)))

    def _images_at(self, sampling, latents, labels=None):
        values = self._sample(sampling, latents, labels)
        return tf.cast(values, tf.float32) * (2.0 / (self.levels - 1)) - 1.0

    def _refuse_codes(self):
        if self.code_shape:
            raise InputError(
                f"{type(self).__name__} of codes does not generate images; generate_codes(...) "
                "generates codes, and decode(codes) of the model that encodes images turns them "
                "into images."
            )

    def signatures(self) -> dict:
        def log_likelihood(data, *given):
            return {"log_likelihood": self._log_likelihood(data, **self._by_name(given))}

        likelihood = {"log_likelihood": (log_likelihood, self._specs())}
        if not self.code_shape:
            found = super().signatures()
            return {**found, "sample": self.sample_signature(found["generate"][1]), **likelihood}

        def generate_given(*given, **sampling):
            *given, seed = given
            latents = draw_per_label(self.draw_latents, given[0], seed)
            return {"codes": self.codes_from_latents(latents, **self._by_name(given), **sampling)}

        def generate(num_images, seed, **sampling):
            counts, seeds = as_rows(num_images, seed)
            labels = None
            if self.generates_by_label:  # the classes in turn: 0, 1, ..., anew in each row
                labels = tf.ragged.range(counts).flat_values % self.num_classes
            latents = draw_rows(self.draw_latents, counts, seeds)
            return {"codes": self.codes_from_latents(latents, labels, **sampling)}

        def sample_codes(*given):
            given, sampling = given[: -len(SAMPLING_SPECS)], given[-len(SAMPLING_SPECS) :]
            return by_given_or_number[0](*given, **dict(zip(SAMPLING_SPECS, sampling)))

        by_number = (generate, [count_spec(), seed_spec()])
        by_given = (generate_given, [*self._specs()[1:], seed_spec()])
        by_given_or_number = by_given if len(by_given[1]) > 1 else by_number
        return {
            # There is no default condition: every grid needs one.
            "serving_default": by_given if self.condition_shape else by_number,
            "generate_codes": by_given_or_number,
            "sample_codes": (sample_codes, [*by_given_or_number[1], *SAMPLING_SPECS.values()]),
            **likelihood,
        }

    def deterministic_signature(self) -> tuple:
        def logits(data, *given):
            return {"logits": self.call(data, **self._by_name(given))}

        return logits, self._specs()

    def _by_name(self, given):
        """The arguments of a signature after the first, keyed by the names of their specs."""
        return dict(zip([spec.name for spec in self._specs()[1:]], given))

    def _specs(self):
        return [
            tf.TensorSpec((None, *part.shape(self)), part.dtype, name=part.name)
            for part in self.data.parts
        ]
