"""Generation, and running a model's methods over arrays in batches."""

import functools
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, check_seed
from keras_genimg.core.class_names import NamesClasses
from keras_genimg.core.data_specs import Images, Labels
from keras_genimg.errors import InputError

__all__ = ["Generates", "joined", "latent_seed"]


def latent_seed(seed) -> tf.Tensor:
    """A seed for TensorFlow's stateless random functions: `(2,)` int64."""
    return tf.stack([tf.cast(seed, tf.int64), tf.zeros((), tf.int64)])


def joined(batches, count: int, batch_size: int, verbose, dtype: str = "float32") -> np.ndarray:
    """An array of `count` rows from its batches.

    Args:
        batches: iterator over arrays `(batch_size, ...)`, the last with fewer rows.
        count, batch_size: ints.
        verbose: 1 for a progress bar, "auto" for one if there are more than 20 batches.
        dtype: string.

    Returns:
        NumPy array `(count, ...)`.
    """
    steps = -(-count // batch_size)
    bar = keras.utils.Progbar(steps) if verbose == 1 or (verbose == "auto" and steps > 20) else None
    array = None
    for step, batch in enumerate(batches):
        if array is None:  # the outputs may be sequences, of any length
            array = np.empty((count, *batch.shape[1:]), dtype)
        array[step * batch_size : step * batch_size + len(batch)] = batch
        if bar:
            bar.update(step + 1)
    return array


def _rows(arrays, start, count):
    return [None if array is None else array[start : start + count] for array in arrays]


class Generates(NamesClasses):
    """Mixin of a `keras.Model`: images from latents, in batches.

    Subclasses that generate write `draw_latents` and `images_from_latents`.
    """

    @property
    def generates_by_label(self) -> bool:
        """Whether `generate` takes labels."""
        return self.data.part(Labels) is not None

    def generate(
        self, num_images: int | None = None, labels=None, seed=None, *, batch_size: int = 256,
        verbose="auto", **latents,
    ) -> np.ndarray:
        """Generates images, in batches.

        Args:
            num_images: int of at least 1. Number of images, by default that of the labels.
            labels: for conditional models: integers or names of classes (see `class_names`),
                `(num_images,)`, or one of these for all images; by default all classes in turn.
            seed: int, optional. The same seed gives the same images, for any
                batch size; None gives new ones each time.
            batch_size: int. Images per batch.
            verbose: "auto" (a progress bar when there are many batches), 0 or 1.
            **latents: further arguments of the model's `draw_latents`, such as `truncation` for
                GANs.

        Returns:
            NumPy float32 array `(num_images, height, width, channels)` in [-1, 1].

        Raises:
            InputError: a number that is not positive, a seed that is not an integer,
                invalid labels.
        """
        num_images, labels = self._numbered(num_images, labels)
        batches = self.generate_batches(num_images, labels, seed, batch_size=batch_size, **latents)
        return joined(batches, num_images, batch_size, verbose)

    def generate_batches(
        self, num_images: int | None = None, labels=None, seed=None, *, batch_size: int = 256,
        **latents,
    ) -> Iterator[np.ndarray]:
        """Yields the images of `generate` in batches, for more images than fit in memory.

        Args:
            num_images, labels, seed, batch_size, **latents: see `generate`.

        Returns:
            iterator over NumPy float32 arrays `(n, height, width, channels)` in [-1, 1]; n is
            `batch_size`, except in the last one.

        Raises:
            InputError: see `generate`; raised before the first batch.
        """
        return self._in_batches(
            "images_from_latents", (), num_images, labels, seed, batch_size, **latents
        )

    def _in_batches(self, method, first, num_images, labels, seed, batch_size, *others, **latents):
        """An iterator over a method's outputs for `first`, latents, labels and others."""
        num_images, labels = self._numbered(num_images, labels)
        check_count("batch_size", batch_size)
        # All at once, so that the latents do not depend on the batch size.
        latents = self.draw_latents(num_images, check_seed(seed), **latents)
        if self.generates_by_label and labels is None:
            labels = self.labels_in_turn(num_images)
        elif labels is not None:
            labels = self.class_numbers(labels, num_images)
        arrays = [latents] if labels is None and not others else [latents, labels, *others]
        decode = self._compiled(method)
        starts = range(0, num_images, batch_size)
        return (decode(*first, *_rows(arrays, i, batch_size)).numpy() for i in starts)

    def _numbered(self, num_images, labels):
        """The number of images, by default that of the labels; and the labels."""
        if num_images is None and labels is not None:
            labels = self.class_numbers(labels)
            num_images = len(labels)
        return check_count("num_images", num_images), labels

    def draw_latents(self, num_images, seed) -> tf.Tensor:
        """Draws the latents that images are generated from.

        Args:
            num_images: int or int32 scalar.
            seed: int or int64 scalar.

        Returns:
            tensor `(num_images, ...)`: float32 `(num_images, latent_dim)` where z is one vector;
            int64 `(num_images, 2)` where they seed the noise of an autoregressive model.

        Raises:
            InputError: a model that does not generate, or has no prior over its codes yet.
        """
        raise InputError(f"{type(self).__name__} does not generate images.")

    def images_from_latents(self, latents, *labels) -> tf.Tensor:
        """Images from latents, each independent of the rest of the batch.

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
            # A partial counts each model separately: TensorFlow warns about frequent tracing
            # per function, and all models of a class share its methods.
            method = functools.partial(getattr(self, name))
            functions[name] = tf.function(method, reduce_retracing=True, autograph=False)
        return functions[name]

    def checked_images(self, images, shape: str = "image_shape") -> np.ndarray:
        """Checks images, and returns them as a NumPy array.

        Args:
            images: array-like `(n, *shape)`, floats in [-1, 1].
            shape: string. The attribute that holds the shape of one of them.

        Returns:
            float32 array `(n, *shape)`.

        Raises:
            InputError: images of the wrong shape, type or range, or no images.
        """
        images = np.asarray(images)
        Images(shape=shape).check_values(self, images)
        return images.astype("float32", copy=False)

    def checked_labels(self, labels, count: int) -> list:
        """Checks labels, and returns them as a list of arguments.

        Args:
            labels: see `class_numbers`; None for a model without classes.
            count: int. Number of images.

        Returns:
            `[int32 (count,)]` for a conditional model, `[]` for any other.

        Raises:
            InputError: labels that are missing, invalid, or for a model without classes.
        """
        if self.data.part(Labels) or labels is not None:
            return [self.class_numbers(labels, count)]
        return []

    def call_inputs(self, inputs, *others) -> list:
        """What `call` was given, as one list: `model([x, labels])` or `model(x, labels)`.

        Args:
            inputs: tensor, or list or tuple of it and the others.
            *others: labels and other integers that the model is conditioned on, or None.

        Returns:
            list of `inputs` and, as int32 tensors, the others.

        Raises:
            InputError: too few inputs, or too many.
        """
        first, *given = keras.tree.flatten(inputs) + [each for each in others if each is not None]
        names = [part.name for part in self.data.parts[1:]]
        if len(given) != len(names):
            wanted = f"model([x, {', '.join(names)}])" if names else "model(x)"
            raise InputError(
                f"{type(self).__name__} is called as {wanted}. Received: {1 + len(given)} inputs."
            )
        return [first, *(tf.cast(each, tf.int32) for each in given)]

    def _run_in_batches(self, method, array, batch_size, *others):
        """A method's outputs for arrays of equal length, computed in batches and joined."""
        check_count("batch_size", batch_size)
        function = self._compiled(method)
        arrays = [each if each is None else np.asarray(each) for each in (array, *others)]
        starts = range(0, len(arrays[0]), batch_size)
        outputs = [function(*_rows(arrays, start, batch_size)) for start in starts]
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)
