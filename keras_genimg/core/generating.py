"""Generating, and running a model's methods over arrays in batches."""

import functools

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, check_labels, check_seed
from keras_genimg.core.data_specs import Images, Labels
from keras_genimg.errors import InputError

__all__ = ["Generates", "latent_seed", "progress_bar"]


def latent_seed(seed) -> tf.Tensor:
    """The pair of numbers that TensorFlow's stateless draws take: `(2,)` int64."""
    return tf.stack([tf.cast(seed, tf.int64), tf.zeros((), tf.int64)])


def progress_bar(steps: int, verbose):
    """A progress bar for 1, and for "auto" where there are more than 20 steps; else None."""
    shown = verbose == 1 or (verbose == "auto" and steps > 20)
    return keras.utils.Progbar(steps) if shown else None


class Generates:
    """Mixin of a `keras.Model`: images from latents, in batches.

    Subclasses that generate write `draw_latents` and `images_from_latents`.
    """

    @property
    def generates_by_label(self) -> bool:
        """Whether `generate` needs labels."""
        return self.data.part(Labels) is not None

    def generate(
        self, num_images: int, labels=None, seed=None, *, batch_size: int = 256, verbose="auto",
        **latents,
    ) -> np.ndarray:
        """Generates images, in batches.

        Args:
            num_images: int of at least 1. Number of images.
            labels: integers `(num_images,)`, for conditional models.
            seed: int, optional. The same seed gives the same images, whatever
                the batch size; None gives new ones each time.
            batch_size: int. Images generated at once.
            verbose: "auto" (a progress bar when there are many batches), 0 or 1.
            **latents: further arguments of the model's `draw_latents`, such as `truncation` of
                the adversarial ones.

        Returns:
            NumPy float32 array `(num_images, height, width, channels)` in [-1, 1].

        Raises:
            InputError: a number that is not positive, a seed that is no integer,
                invalid labels.
        """
        batches = self.generate_batches(
            num_images, labels, seed, batch_size=batch_size, **latents
        )
        bar = progress_bar(-(-num_images // batch_size), verbose)
        images = None
        for step, batch in enumerate(batches):
            if images is None:  # the outputs may be sequences, of any length
                images = np.empty((num_images, *batch.shape[1:]), "float32")
            images[step * batch_size : step * batch_size + len(batch)] = batch
            if bar:
                bar.update(step + 1)
        return images

    def generate_batches(
        self, num_images: int, labels=None, seed=None, *, batch_size: int = 256, **latents
    ):
        """The images of `generate` in batches, for more of them than memory holds.

        Args:
            num_images, labels, seed, batch_size, **latents: see `generate`.

        Returns:
            iterator over NumPy float32 arrays `(n, height, width, channels)` in [-1, 1], n
            being `batch_size` but for the last.

        Raises:
            InputError: see `generate`; raised before the first batch.
        """
        return self._in_batches(
            "images_from_latents", (), num_images, labels, seed, batch_size, **latents
        )

    def _in_batches(self, method, first, num_images, labels, seed, batch_size, **latents):
        """An iterator over the outputs of a method of `first`, latents and labels."""
        check_count("num_images", num_images)
        check_count("batch_size", batch_size)
        # All at once: no batch size in the numbers.
        latents = self.draw_latents(num_images, check_seed(seed), **latents)
        if labels is not None and not self.generates_by_label:
            raise InputError(
                f"{type(self).__name__} generates without labels. Received: {len(labels)} labels."
            )
        if self.generates_by_label:
            labels = check_labels(labels, self.num_classes, num_images)
        decode = self._compiled(method)

        def decode_rows(start):
            rows = slice(start, start + batch_size)
            given = (latents[rows],) if labels is None else (latents[rows], labels[rows])
            return decode(*first, *given).numpy()

        return map(decode_rows, range(0, num_images, batch_size))

    def draw_latents(self, num_images, seed):
        """The latents that `num_images` images are generated from, by a seed.

        Args:
            num_images: int or int32 scalar.
            seed: int or int64 scalar.

        Returns:
            tensor `(num_images, ...)`: float32 `(num_images, latent_dim)` where z is one vector;
            int64 `(num_images, 2)` where a prior or an autoregressive model draws by numbers.

        Raises:
            InputError: a model that does not generate, or has no prior over its codes yet.
        """
        raise InputError(f"{type(self).__name__} does not generate images.")

    def images_from_latents(self, latents, *labels):
        """Images of latents, independent of the rest of the batch.

        Args:
            latents: tensor `(n, ...)`, see `draw_latents`.
            labels: int32 tensor `(n,)`, of a model that generates by label.

        Returns:
            float32 tensor `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: a model that does not generate images.
        """
        raise InputError(f"{type(self).__name__} does not generate images.")

    def _compiled(self, name):
        """The method `name` as a TensorFlow function, traced once per model."""
        functions = self.__dict__.setdefault("_compiled_methods", {})
        if name not in functions:
            # As a partial each model is counted by itself: TensorFlow warns of frequent
            # tracing by the code of a function, which all models of a class share.
            method = functools.partial(getattr(self, name))
            functions[name] = tf.function(method, reduce_retracing=True, autograph=False)
        return functions[name]

    def checked_images(self, images, shape: str = "image_shape") -> np.ndarray:
        """Images as a NumPy array, if this model can take them.

        Args:
            images: array-like `(n, *shape)`, floats in [-1, 1].
            shape: string. The attribute that holds the shape of one of them.

        Returns:
            float32 array `(n, *shape)`.

        Raises:
            InputError: images of another shape, type or range, or none.
        """
        images = np.asarray(images)
        Images(shape=shape).check_values(self, images)
        return images.astype("float32", copy=False)

    def checked_labels(self, labels, count: int) -> list:
        """Labels as a list of arguments, if this model can take them.

        Args:
            labels: integers `(count,)` from 0 to num_classes - 1; None for a model without classes.
            count: int. Number of images.

        Returns:
            `[int32 (count,)]` of a conditional model, `[]` of another.

        Raises:
            InputError: labels of another number or range, missing, or of a model without classes.
        """
        if self.data.part(Labels):
            return [check_labels(labels, self.num_classes, count)]
        if labels is not None:
            raise InputError(f"{type(self).__name__} has no classes. Received: {len(labels)} labels.")
        return []

    def _run_in_batches(self, method, array, batch_size, *others):
        """A method's outputs for all of an array, and of others of its length, joined."""
        function = self._compiled(method)
        arrays = [np.asarray(each) for each in (array, *others)]
        outputs = [
            function(*(tf.constant(each[start : start + batch_size]) for each in arrays))
            for start in range(0, len(arrays[0]), batch_size)
        ]
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)
