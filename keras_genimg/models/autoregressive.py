"""Models that read a picture, or a grid of codes, one value after the other."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError
from keras_genimg.models.base import ImageModel
from keras_genimg.models.checks import (
    check_condition,
    check_images,
    check_number,
    check_seed,
    first_two,
)
from keras_genimg.networks import check_count

__all__ = ["AutoregressiveModel"]


def _rows(arrays, start, count):
    return {name: tf.constant(array[start : start + count]) for name, array in arrays.items()}


class AutoregressiveModel(ImageModel):
    """log p(x) = sum_i log p(x_i | x_<i) over the values of a grid, in raster order.

    Subclasses set `network` and `self.built = True`, and write `train_step`. A network has
    `shape`, (height, width, channels); its call gives the logits of all positions, and its
    `sample` draws them one after the other (`networks.GatedPixelCNN` says how both look).

    Args:
        image_shape: tuple (height, width, channels), or () for codes.
        levels: int. Values that a channel or a code can take.
        code_shape: tuple (height, width), or None for pictures.
        num_classes: int, or None without classes.
        seed: int, optional.
    """

    # Of a coarser grid of codes, on which all hangs; None without one.
    condition_shape = None
    condition_embeddings = None

    def __init__(self, image_shape, levels, code_shape=None, num_classes=None, seed=None, **kwargs):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.levels = levels
        self.code_shape = None if code_shape is None else tuple(code_shape)
        self.num_codes = None if code_shape is None else levels
        if num_classes is not None:
            self.num_classes = check_count("num_classes", num_classes, minimum=2)
        self.needs_labels = num_classes is not None

    @property
    def element_shape(self):
        return self.code_shape or self.image_shape

    def test_step(self, data):
        """The cross-entropy of pictures or codes that were not trained on."""
        values, given, batch = self.unpack(data)
        nats = self.nats(values, self.network(values, **given))
        return self.log_terms(batch, tf.reduce_mean(nats))

    def log_terms(self, batch, loss):
        """Logs a loss as the figures of a model of pictures, or of codes.

        Args:
            batch: the step's `GlobalBatch`.
            loss: float scalar, -log p(x) in nats: a sum over the grid, a mean over the batch.

        Returns:
            dict of float32 scalars: `loss`, `nll`, and `bits_per_dim` or `nats_per_code`.
        """
        nats_per_value = loss / math.prod(self.network.shape)
        if self.code_shape:
            return self.log(batch, loss=loss, nll=loss, nats_per_code=nats_per_value)
        return self.log(batch, loss=loss, nll=loss, bits_per_dim=nats_per_value / math.log(2.0))

    def unpack(self, data):
        """Takes apart what `fit` hands to a step, and finds the batch's place.

        Args:
            data: images or codes, alone or in a pair with labels, a condition or both of them.

        Returns:
            values: int32 `(n, h, w, c)`, as the network takes them.
            given: dict of what they hang on, by the network's argument: `labels` `(n,)` and
                `condition` `(n, *condition_shape)`, where there are such.
            batch: `keras_genimg.distribution.GlobalBatch`.

        Raises:
            InputError: data of another shape or type; labels or a condition missing.
        """
        data, given, _ = keras.utils.unpack_x_y_sample_weight(data)
        labels, condition = self._parted(given)
        data, labels, batch = super().unpack((data, labels))
        if condition is not None:
            condition = tf.cast(condition, tf.int32)
        labels = labels if self.needs_labels else None
        return self.values_of(data), self._named(labels, condition), batch

    def _parted(self, given):
        """(labels, condition) of what `fit` is given beside the data."""
        if self.condition_shape is None:
            return given, None
        parts = given if self.needs_labels else (None, given)
        if not isinstance(parts, (tuple, list)) or len(parts) != 2 or parts[1] is None:
            wanted = "(codes, (labels, condition))" if self.needs_labels else "(codes, condition)"
            found = "codes alone" if given is None else f"codes and a {type(given).__name__}"
            raise InputError(
                f"{type(self).__name__} is trained on {wanted}, condition being codes of shape "
                f"{('batch', *self.condition_shape)}. Received: {found}."
            )
        return tuple(parts)

    @staticmethod
    def _named(labels, condition):
        """Arguments of the network."""
        given = {"labels": labels, "condition": condition}
        return {name: value for name, value in given.items() if value is not None}

    def _checked(self, labels, condition, count):
        """Arguments of the network for `count` pictures or grids, if they fit."""
        labels = self.checked_labels(labels, count)
        if self.condition_shape:
            condition = check_condition(self, condition, count)
        elif condition is not None:
            raise InputError(f"This {type(self).__name__} has no condition. Received: a condition.")
        return self._named(labels[0] if labels else None, condition)

    def _check_data(self, x, y=None):
        if self.condition_shape and isinstance(x, tf.data.Dataset):
            for element in x.take(1):
                self._check_data(*first_two(element))
            return
        if self.condition_shape and isinstance(x, (np.ndarray, tf.Tensor)):
            y, condition = self._parted(y)
            check_condition(self, condition, len(x))
        super()._check_data(x, y)

    def values_of(self, data):
        """What the network takes: every value as the number of its level.

        Args:
            data: float images `(n, h, w, c)` in [-1, 1], brought to the nearest level (of two
                levels the upper one from 0 on); or int codes `(n, h, w)`.

        Returns:
            int32 tensor `(n, h, w, c)` in [0, levels).
        """
        if self.code_shape:
            return tf.cast(data, tf.int32)[..., None]
        steps = (tf.cast(data, tf.float32) + 1.0) * (0.5 * (self.levels - 1))
        nearest = tf.floor(steps + 0.5)  # of two levels the upper one from 0 on
        return tf.cast(tf.clip_by_value(nearest, 0.0, self.levels - 1.0), tf.int32)

    @staticmethod
    def nats(values, logits):
        """-log p(x) of each picture or grid.

        Args:
            values: int tensor `(n, h, w, c)` in [0, levels).
            logits: float tensor `(n, h, w, c, levels)`.

        Returns:
            float tensor `(n,)`, nats, summed over the grid.
        """
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=values, logits=logits)
        return tf.reduce_sum(losses, axis=(1, 2, 3))

    def call(self, inputs, labels=None, condition=None, training=False):
        """Logits of what may stand at each position.

        Args:
            inputs: int codes `(n, h, w)`, or float images `(n, h, w, c)` in [-1, 1].
            labels: int `(n,)`, of a conditional model.
            condition: int `(n, *condition_shape)`, of a model that has one.
            training: bool. Whether there is dropout.

        Returns:
            float32 `(n, h, w, num_embeddings)`, or `(n, h, w, c, levels)`. What stands at a
            position depends on the positions before it alone.
        """
        given = self._named(labels, condition)
        logits = self.network(self.values_of(inputs), **given, training=training)
        return logits[..., 0, :] if self.code_shape else logits

    def log_likelihood(self, data, labels=None, *, condition=None, batch_size=256):
        """log p(x) of each picture or grid of codes, exact.

        Args:
            data: float images `(n, h, w, c)` in [-1, 1], of which the likelihood is that of the
                nearest levels, or int codes `(n, h, w)`.
            labels: int `(n,)`, of a conditional model: log p(x | label).
            condition: int `(n, *condition_shape)`, of a model that has one: log p(x | condition).
            batch_size: int. Pictures or grids at once.

        Returns:
            NumPy float32 array `(n,)`, nats.

        Raises:
            InputError: data, labels or a condition that do not fit.
        """
        data = np.asarray(data)
        check_images(self, data, self.element_shape)
        check_count("batch_size", batch_size)
        given = {"data": data, **self._checked(labels, condition, len(data))}
        run = self._compiled("_log_likelihood")
        starts = range(0, len(data), batch_size)
        return np.concatenate([run(**_rows(given, i, batch_size)) for i in starts])

    def _log_likelihood(self, data, labels=None, condition=None):
        values = self.values_of(data)
        return -self.nats(values, self.network(values, **self._named(labels, condition)))

    # ---------------------------------------------------------------- generating

    def generate_batches(
        self, num_images, labels=None, seed=None, *, batch_size=256, temperature=1.0
    ):
        """The pictures of `generate` in batches, for more of them than memory holds.

        Args:
            num_images, labels, seed, batch_size: as for `generate`.
            temperature: float. Logits are divided by it: below 1 for likelier pictures, 0 for
                the likeliest value at each position.

        Returns:
            iterator over NumPy float32 arrays `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: as `generate`, before the first batch; a model of codes.
        """
        self._refuse_codes()
        batches = self._values_in_batches(num_images, labels, seed, batch_size, temperature)
        return (self._images_of(values).numpy() for values in batches)

    def generate_codes(
        self, num_images, labels=None, seed=None, *, condition=None, temperature=1.0,
        batch_size=256, verbose="auto",
    ):
        """Makes grids of codes, position by position.

        Args:
            num_images: int. Grids to make.
            labels: integers `(num_images,)`, for conditional models.
            seed: int, optional. The same seed gives the same codes, whatever the batch size.
            condition: integers `(num_images, *condition_shape)`, for models that have one.
            temperature: float. Logits are divided by it: below 1 for likelier codes, 0 for the
                likeliest at each position.
            batch_size: int. Grids made at once.
            verbose: "auto" (a progress bar when there are many batches), 0 or 1.

        Returns:
            NumPy int32 array `(num_images, h, w)`.

        Raises:
            InputError: as `generate`; a model of pictures.
        """
        if not self.code_shape:
            raise InputError(
                "generate_codes is for a model made with code_shape. "
                f"Received: one of pictures, {self.image_shape}, which has generate(...)."
            )
        batches = self._values_in_batches(
            num_images, labels, seed, batch_size, temperature, condition
        )
        steps = -(-num_images // batch_size)
        shown = verbose == 1 or (verbose == "auto" and steps > 20)
        bar = keras.utils.Progbar(steps) if shown else None
        parts = []
        for values in batches:
            parts.append(values[..., 0])
            if bar:
                bar.update(len(parts))
        return np.concatenate(parts)

    def _values_in_batches(
        self, num_images, labels, seed, batch_size, temperature, condition=None
    ):
        """An iterator over int32 arrays `(n, h, w, c)`; what is asked for is checked at once."""
        check_count("num_images", num_images)
        check_count("batch_size", batch_size)
        check_number("temperature", temperature)
        latents = self.draw_latents(num_images, check_seed(seed))
        if labels is not None and not self.needs_labels:
            raise InputError(
                f"{type(self).__name__} generates without labels. Received: {len(labels)} labels."
            )
        given = {"latents": latents, **self._checked(labels, condition, num_images)}
        run, temperature = self._compiled("_sample"), tf.constant(temperature, tf.float32)
        starts = range(0, num_images, batch_size)
        return (run(temperature, **_rows(given, i, batch_size)).numpy() for i in starts)

    def draw_latents(self, num_images, seed):
        """What names the noise of each picture or grid.

        Args:
            num_images: int or int32 scalar.
            seed: int or int64 scalar.

        Returns:
            int64 tensor `(num_images, 2)`: the seed, and a number from 0.
        """
        numbers = tf.range(tf.cast(num_images, tf.int64))
        return tf.stack([tf.fill(tf.shape(numbers), tf.cast(seed, tf.int64)), numbers], axis=1)

    def images_from_latents(self, latents, labels=None):
        self._refuse_codes()
        return self._images_of(self._sample(1.0, latents, labels))

    def codes_from_latents(self, latents, labels=None, condition=None, temperature=1.0):
        """Grids of codes, drawn position by position.

        Args:
            latents: int64 tensor `(n, 2)`, from `draw_latents`.
            labels: int tensor `(n,)`, of a conditional model.
            condition: int tensor `(n, *condition_shape)`, of a model that has one.
            temperature: float or float32 scalar, by which logits are divided.

        Returns:
            int32 tensor `(n, h, w)`, the same of the same latents.
        """
        return self._sample(temperature, latents, labels, condition)[..., 0]

    def _sample(self, temperature, latents, labels=None, condition=None):
        """Draws by the Gumbel-max trick: int32 `(n, h, w, c)`."""

        def noise_of_row(row):
            return temperature * self.gumbel_noise(latents, row)

        given = self._named(labels, condition)
        return self.network.sample(noise_of_row, tf.shape(latents)[0], **given)

    def gumbel_noise(self, latents, row):
        """The noise of one row of each picture, whatever pictures are made beside it.

        Args:
            latents: int64 `(n, 2)`, from `draw_latents`.
            row: int or int32 scalar.

        Returns:
            float32 `(n, w, c, levels)`.
        """
        height, width, channels = self.network.shape
        seeds = latents * [1, height] + [0, tf.cast(row, tf.int64)]  # a seed a row of a picture

        def draw(seed):
            cells = distribution.whole_batch(width)
            return distribution.random_uniform(cells, (channels, self.levels), seed)

        spec = tf.TensorSpec((width, channels, self.levels), tf.float32)
        uniform = tf.map_fn(draw, seeds, fn_output_signature=spec)
        # Draws have 24 bits: half of the smallest in place of zero keeps the noise finite.
        return -tf.math.log(-tf.math.log(tf.maximum(uniform, 2.0**-25)))

    def _images_of(self, values):
        return tf.cast(values, tf.float32) * (2.0 / (self.levels - 1)) - 1.0

    def _refuse_codes(self):
        if self.code_shape:
            raise InputError(
                f"{type(self).__name__} of codes does not generate pictures; generate_codes(num_images, ...) "
                "makes codes, which decode of the model that made the codes turns into pictures."
            )

    # ----------------------------------------------------------------- exporting

    def signatures(self):
        def log_likelihood(data, *given):
            return {"log_likelihood": self._log_likelihood(data, **self._by_name(given))}

        likelihood = {"log_likelihood": (log_likelihood, self._specs())}
        if not self.code_shape:
            return {**super().signatures(), **likelihood}
        count = tf.TensorSpec((), tf.int32, name="num_images")
        seed = tf.TensorSpec((), tf.int64, name="seed")

        def generate_of(*given):
            *given, seed = given
            latents = self.draw_latents(tf.shape(given[0])[0], seed)
            return {"codes": self.codes_from_latents(latents, **self._by_name(given))}

        def generate(num_images, seed):
            if self.needs_labels:  # the classes in turn: 0, 1, ...
                return generate_of(tf.range(num_images) % self.num_classes, seed)
            return {"codes": self.codes_from_latents(self.draw_latents(num_images, seed))}

        by_number = (generate, [count, seed])
        by_given = (generate_of, [*self._specs()[1:], seed])
        return {
            # No condition is as good as another: there, all grids have to be given theirs.
            "serving_default": by_given if self.condition_shape else by_number,
            "generate_codes": by_given if len(by_given[1]) > 1 else by_number,
            **likelihood,
        }

    def deterministic_signature(self):
        def logits(data, *given):
            return {"logits": self.call(data, **self._by_name(given))}

        return logits, self._specs()

    def _by_name(self, given):
        """What a signature is given beside the data, or to generate, by the specs' names."""
        return dict(zip([spec.name for spec in self._specs()[1:]], given))

    def _specs(self):
        data = self.images_spec()
        if self.code_shape:
            data = tf.TensorSpec((None, *self.code_shape), tf.int32, name="codes")
        labels = [self.labels_spec()] if self.needs_labels else []
        if self.condition_shape is None:
            return [data, *labels]
        return [data, *labels, tf.TensorSpec((None, *self.condition_shape), tf.int32, "condition")]

    def get_config(self):
        config = {**super().get_config(), "num_classes": self.num_classes}
        if self.code_shape is None:
            return {**config, "levels": self.levels}
        del config["image_shape"]
        return {**config, "code_shape": list(self.code_shape), "num_embeddings": self.levels}
