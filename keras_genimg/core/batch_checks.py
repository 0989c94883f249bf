"""What every batch of a model must be, in memory and in a dataset."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import is_integer, is_number
from keras_genimg.core.data_specs import Images, Labels, Weights
from keras_genimg.data.python_calls import call_python
from keras_genimg.errors import InputError

__all__ = ["BatchChecks", "packed", "unpacked", "warn_of_unit_range"]

WEIGHTS = Weights()


def unpacked(element) -> tuple:
    """(x, y or None, weights or None) of a batch, which is x, (x,), (x, y) or (x, y, weights)."""
    try:
        x, y, weights = keras.utils.unpack_x_y_sample_weight(element)
    except ValueError:
        raise InputError(
            f"A batch must be x, (x, y) or (x, y, sample_weight). Received: {len(element)} parts."
        ) from None
    return x, None if isinstance(y, tuple) and not y else y, weights


def packed(x, y=None, weights=None) -> tuple | tf.Tensor:
    """The inverse of `unpacked`; Keras's own drops weights where there is no y."""
    if weights is None:
        return x if y is None else (x, y)
    return x, () if y is None else y, weights


class BatchChecks:
    """What every batch of a model must be.

    Args:
        model: `ImageModel`.
        class_weight: dict from label to weight, optional, see `keras.Model.fit`.

    Raises:
        InputError: weights of classes that the model cannot use.
    """

    def __init__(self, model, class_weight=None):
        self.model = model
        self.class_weights = None if class_weight is None else self._by_label(class_weight)

    def _by_label(self, class_weight):
        name, number = type(self.model).__name__, self.model.num_classes
        if self.model.data.part(Labels) is None:
            raise InputError(
                f"class_weight needs labels, and {name} is trained on {self.model.data}. "
                f"Received: class_weight={class_weight!r}."
            )
        self.model.check_weighs("class_weight")
        valid = isinstance(class_weight, dict) and all(
            is_integer(label) and 0 <= label < number and is_number(weight) and weight >= 0
            for label, weight in class_weight.items()
        )
        if not valid:
            raise InputError(
                f"class_weight must be a dict from labels, 0 to {number - 1}, to numbers of at "
                f"least 0. Received: class_weight={class_weight!r}."
            )
        return np.array([class_weight.get(label, 1.0) for label in range(number)], "float32")

    def structure(self, element) -> None:
        """Checks types and shapes of a batch, or of the `tf.TensorSpec`s of batches."""
        x, y, weights = unpacked(element)
        self.model.data.check_structure(self.model, x, y)
        if weights is not None:
            self.model.check_weighs("sample_weight")
            WEIGHTS.check_structure(self.model, weights)
            if self.class_weights is not None:
                raise InputError("Either class_weight or sample_weight may be given, not both.")

    def __call__(self, element) -> tuple:
        """Checks a batch in memory, of any array type.

        Returns:
            x, y or None, and weights or None: arrays, the weights of classes by then in weights.
        """
        x, y, weights = unpacked(element)
        x, y = self.model.data.as_arrays(self.model, x, y)
        self.structure((x, y, weights))
        self.model.data.check_values(self.model, x, y)
        if weights is not None:
            WEIGHTS.check_values(self.model, weights, len(x))
            weights = np.asarray(weights)
        elif self.class_weights is not None:
            weights = self.class_weights[np.asarray(self._labels(y)).astype(int)]
        return x, y, weights

    def of_each(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same dataset, whose every batch is checked.

        The rules run as TensorFlow operations. Only a batch that breaks one reaches Python, which
        raises the sentence.
        """
        self.structure(dataset.element_spec)
        model, data = self.model, self.model.data

        @tf.autograph.experimental.do_not_convert
        def check(*element):
            x, y, weights = unpacked(element)
            batch = packed(x, y if len(data.parts) > 1 else None, weights)
            fits = data.values_fit(model, x, y)
            if weights is not None:
                fits &= WEIGHTS.values_fit(model, weights)
                fits &= tf.equal(tf.shape(weights)[0], tf.shape(x)[0])

            def raise_sentence(*arrays):
                self(tf.nest.pack_sequence_as(batch, arrays))
                return np.int64(0)

            def in_python():
                tensors = tf.nest.flatten(batch)
                return tf.reshape(call_python(raise_sentence, tensors, tf.int64, True), ())

            checked = tf.cond(fits, lambda: tf.zeros((), tf.int64), in_python)
            with tf.control_dependencies([checked]):
                x, y = data.with_shapes(model, x, y)
                if weights is not None:
                    weights = tf.ensure_shape(weights, (None,))
                elif self.class_weights is not None:
                    weights = tf.gather(self.class_weights, tf.cast(self._labels(y), tf.int32))
                return packed(x, y, weights)

        # In the background: a step does not wait for the check of its batch.
        return dataset.map(check, num_parallel_calls=1, deterministic=True)

    def _labels(self, y):
        parts = self.model.data.parts[1:]
        return self.model.data.split(self.model, y)[
            next(place for place, part in enumerate(parts) if isinstance(part, Labels))
        ]

    def first(self, element, in_training: bool) -> None:
        """Checks the first batch before training begins.

        Args:
            element: the batch, or None if there is none.
            in_training: bool. Whether images that are all in [0, 1] draw a warning.
        """
        if element is None:
            name = self.model.data.parts[0].name
            raise InputError(
                f"{type(self.model).__name__} needs at least one batch of {name}. Received: none; "
                "drop_remainder=True drops a batch that is not full."
            )
        x, y, _ = self(element)
        if in_training:
            warn_of_unit_range(self.model, x, y)


def warn_of_unit_range(model, x, y=None) -> None:
    """Warns of images that seem to be in [0, 1] where [-1, 1] is meant."""
    for part, images in zip(model.data.parts, [x, *model.data.split(model, y)]):
        # Most data have a value below 0 among the first images.
        unit = isinstance(part, Images) and np.min(images[:100]) >= 0 and np.min(images) >= 0
        if unit and np.max(images) > 0:
            warnings.warn(
                f"{type(model).__name__} takes {part.name} in [-1, 1], but no value of these is "
                "below 0: if they are in [0, 1], convert them by 2 * images - 1.",
                stacklevel=4,
            )
            return
