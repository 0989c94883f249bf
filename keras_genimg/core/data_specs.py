"""The data that a model takes: declared on its class, and used by checks, runs and tests.

    data = Images()
    data = Images() + Labels()
    data = Pairs("inputs", "targets")
"""

import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_labels
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["Clips", "Codes", "DataSpec", "Images", "Labels", "Pairs", "Weights", "first_two"]

LIMIT = 1.001  # of images' absolute values: bfloat16 and resizing round a little


def first_two(element) -> tuple:
    """(x, None or y) of what a dataset yields: `fit` takes `x`, `(x, y)` or `(x, y, weights)`."""
    if isinstance(element, (tuple, list)):
        return element[0], element[1] if len(element) > 1 else None
    return element, None


class DataSpec:
    """Parts in order: the first is `x` of `fit`, and the others are `y`.

    Args:
        *parts: `Part`s.
    """

    def __init__(self, *parts):
        self.parts = parts

    def __add__(self, other):
        return DataSpec(*self.parts, *other.parts)

    def __str__(self):
        first, *others = [part.name for part in self.parts]
        if not others:
            return first
        return f"({first}, {others[0] if len(others) == 1 else '(' + ', '.join(others) + ')'})"

    def part(self, kind) -> "DataSpec | None":
        """The first part that is a `kind`, such as `Labels`, or None."""
        return next((part for part in self.parts if isinstance(part, kind)), None)

    def split(self, model, y) -> list:
        """The parts in `y`, in order.

        Raises:
            InputError: too few parts, or too many.
        """
        wanted = self.parts[1:]
        if not wanted:
            return []
        given = [y] if len(wanted) == 1 or not isinstance(y, (tuple, list)) else list(y)
        missing = [part for part, value in zip(wanted, given) if value is None]
        if len(given) == len(wanted) and not missing:
            return given
        first, explained = self.parts[0].name, (missing or wanted)[-1]
        found = f"{first} alone" if y is None else f"{first} and a {type(y).__name__}"
        raise InputError(
            f"{type(model).__name__} is trained on {self}{explained.explanation(model)}. "
            f"Received: {found}."
        )

    def check_structure(self, model, x, y=None) -> None:
        """Checks types and shapes, without looking at values.

        Args:
            model: the model whose data these are.
            x, y: arrays, tensors or `tf.TensorSpec`s, `y` None or, for several parts, a tuple.

        Raises:
            InputError: a part that is missing, or of the wrong type or shape.
        """
        self.parts[0].check_structure(model, x)
        for part, value in zip(self.parts[1:], self.split(model, y)):
            part.check_structure(model, value)

    def check_values(self, model, x, y=None) -> None:
        """Checks whole arrays: their structure, the range of their values, and their lengths.

        Raises:
            InputError: data that the model cannot be trained on.
        """
        arrays = [np.asarray(x)]
        self.parts[0].check_values(model, arrays[0])
        for part, value in zip(self.parts[1:], self.split(model, y)):
            part.check_structure(model, value)
            array = np.asarray(value)
            part.check_values(model, array, len(arrays[0]))
            if len(array) != len(arrays[0]):
                first = self.parts[0].name
                raise InputError(
                    f"{type(model).__name__} needs as many {part.name} as {first}. "
                    f"Received: {len(arrays[0])} {first} and {len(array)} {part.name}."
                )

    def values_fit(self, model, x, y=None) -> tf.Tensor:
        """The rules of `check_values` as TensorFlow operations, for every batch of a dataset.

        Args:
            model: the model whose data these are.
            x, y: tensors whose structure has been checked, as far as it is known.

        Returns:
            bool scalar.
        """
        tensors = [x, *self.split(model, y)]
        count = tf.shape(x)[0]
        same = [tf.equal(tf.shape(tensor)[0], count) for tensor in tensors[1:]]
        fits = [part.values_fit(model, tensor) for part, tensor in zip(self.parts, tensors)]
        return tf.reduce_all(tf.stack([count > 0, *same, *fits]))

    def with_shapes(self, model, x, y=None) -> tuple:
        """x and y as tensors whose shapes are known, but for the number of images."""
        shaped = [
            tf.ensure_shape(tensor, (None, *part.shape(model)))
            for part, tensor in zip(self.parts, [x, *self.split(model, y)])
        ]
        x, *others = shaped
        return x, (tuple(others) if len(others) > 1 else others[0]) if others else y

    def as_arrays(self, model, x, y=None) -> tuple:
        """x and y as arrays or tensors in memory: NumPy arrays of lists and of HDF5 sets."""
        others = [_as_array(value) for value in self.split(model, y)]
        if not others:
            return _as_array(x), y if y is None else _as_array(y)
        return _as_array(x), tuple(others) if len(others) > 1 else others[0]

    def cast(self, model, x, y=None) -> tuple:
        """Casts `x` and `y` for a step: images to the model's precision, integers to int32.

        Returns:
            x and y. y is a tensor, or a list of tensors for several parts; unchanged if the model
            takes `x` alone.
        """
        x = self.parts[0].converted(model, x)
        others = zip(self.parts[1:], self.split(model, y))
        others = [part.converted(model, value) for part, value in others] or [y]
        return x, others if len(others) > 1 else others[0]


class Part(DataSpec):
    """One of the arrays that a model takes.

    Args:
        name: string. Its name in messages.
        shape: string. Attribute of the model that holds the shape of one element.
    """

    dtype = tf.int32

    def __init__(self, name, shape):
        self.name, self._shape = name, shape
        super().__init__(self)

    def shape(self, model) -> tuple:
        """Shape of one element, without the batch axis."""
        return tuple(getattr(model, self._shape))

    def explanation(self, model) -> str:
        """An addition to the message about a missing part."""
        return ""

    def converted(self, model, x) -> tf.Tensor:
        return tf.cast(x, self.dtype)

    def _has_shape(self, model, x):
        """Whether a tensor has the model's shape, looked up only where it was not known before."""
        if x.shape.rank is not None and x.shape[1:].is_fully_defined():
            return tf.constant(True)
        shape, wanted = tf.shape(x), self.shape(model)
        return tf.cond(
            tf.equal(tf.rank(x), 1 + len(wanted)),
            lambda: tf.reduce_all(tf.equal(shape[1:], tf.constant(wanted, tf.int32))),
            lambda: tf.constant(False),
        )

    def _raise(self, model, rule, found):
        raise InputError(f"{type(model).__name__} {rule}. Received: {found}.")

    def _check_shape(self, model, value, rule):
        wanted, shape = self.shape(model), _known_shape(value)
        if shape is not None and (
            len(shape) != 1 + len(wanted)
            or any(found not in (None, size) for found, size in zip(shape[1:], wanted))
        ):
            self._raise(model, rule.format(("batch", *wanted)), ("batch", *shape[1:]))


class Images(Part):
    """Floating-point images `(batch, height, width, channels)` in [-1, 1]."""

    dtype = tf.float32

    def __init__(self, name="images", shape="image_shape"):
        super().__init__(name, shape)

    def check_structure(self, model, x, y=None) -> None:
        if not _is_dense(x):
            self._raise(model, "takes images, or (images, labels)", type(x).__name__)
        if not tf.as_dtype(x.dtype).is_floating:
            rule = "takes floating-point images in [-1, 1]; images / 127.5 - 1 converts 8-bit ones"
            self._raise(model, rule, tf.as_dtype(x.dtype).name)
        rule = "was made for images of shape {}; load(..., image_size=, channels=) converts"
        self._check_shape(model, x, rule)

    def check_values(self, model, x, count=None) -> None:
        x = np.asarray(x)  # of objects where it is ragged
        self.check_structure(model, x)
        if x.size == 0:
            self._raise(model, "needs at least one image", "none")
        low, high = float(x.min()), float(x.max())
        if not np.isfinite([low, high]).all():
            wrong = f"NaN or infinity in {x.size - np.isfinite(x).sum()} of {x.size} values"
            self._raise(model, "takes images in [-1, 1]", wrong)
        if not (low >= -LIMIT and high <= LIMIT):
            self._raise(model, "takes images in [-1, 1]", f"values from {low:g} to {high:g}")

    def values_fit(self, model, x, y=None) -> tf.Tensor:
        # NaN, infinity and no images at all (-infinity) fail the comparison.
        largest = tf.abs(tf.reduce_max(tf.abs(x)))
        return tf.logical_and(self._has_shape(model, x), largest <= tf.cast(LIMIT, x.dtype))

    def converted(self, model, x) -> tf.Tensor:
        return tf.cast(x, at_least_float32(model.dtype_policy))


class Clips(Images):
    """Image sequences `(batch, num_frames, height, width, channels)` in [-1, 1]."""

    def shape(self, model) -> tuple:
        return (model.num_frames, *super().shape(model))


class Codes(Part):
    """Integer codes `(batch, height, width)`.

    Args:
        name: string.
        shape: string. Attribute of the model: (height, width).
        num_embeddings: string. Attribute of the model: the number of codes.
    """

    def __init__(self, name="codes", shape="code_shape", num_embeddings="num_embeddings"):
        super().__init__(name, shape)
        self._num_embeddings = num_embeddings

    def num_embeddings(self, model) -> int:
        """Codes are integers from 0 to num_embeddings - 1."""
        return getattr(model, self._num_embeddings)

    def explanation(self, model) -> str:
        return f", {self.name} being codes of shape {('batch', *self.shape(model))}"

    def _rule(self, model):
        return f"takes {self.name}, integers from 0 to {self.num_embeddings(model) - 1}"

    def check_structure(self, model, x, y=None) -> None:
        if not _is_dense(x):
            self._raise(model, f"takes {model.data}", type(x).__name__)
        if not tf.as_dtype(x.dtype).is_integer:
            self._raise(model, self._rule(model), tf.as_dtype(x.dtype).name)
        self._check_shape(model, x, f"was made for {self.name} of shape {{}}")

    def check_values(self, model, x, count=None) -> None:
        x = np.asarray(x)  # of objects where it is ragged
        self.check_structure(model, x)
        if x.size == 0:
            self._raise(model, f"needs at least one grid of {self.name}", "none")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= self.num_embeddings(model):
            self._raise(model, self._rule(model), f"{low} to {high}")

    def values_fit(self, model, x, y=None) -> tf.Tensor:
        x = tf.cast(x, tf.int64)
        inside = (tf.reduce_min(x) >= 0) & (tf.reduce_max(x) < self.num_embeddings(model))
        return tf.reduce_all(tf.stack([self._has_shape(model, x), tf.size(x) > 0, inside]))


class PerImage(Part):
    """One number per image, `(batch,)`. Subclasses write the rule."""

    rule = ""

    def __init__(self, name):
        super().__init__(name, None)

    def shape(self, model) -> tuple:
        return ()

    def check_structure(self, model, x, y=None) -> None:
        shape = _known_shape(x) if hasattr(x, "shape") else None
        if shape is not None and len(shape) != 1:
            self._raise(model, f"takes {self.name} of shape (batch,), {self.rule}", shape)
        if hasattr(x, "dtype") and tf.as_dtype(x.dtype) == tf.string:
            self._raise(model, f"takes {self.name}, {self.rule}", "strings")


class Labels(PerImage):
    """Integer class labels `(batch,)` from 0 to num_classes - 1."""

    rule = "one integer per image"

    def __init__(self):
        super().__init__("labels")

    def explanation(self, model) -> str:
        return ", labels being integers of shape (batch,)"

    def check_values(self, model, x, count=None) -> None:
        check_labels(x, model.num_classes, len(x) if count is None else count)

    def values_fit(self, model, x, y=None) -> tf.Tensor:
        whole = tf.cast(x, tf.int64)  # labels may be floats without a fraction
        inside = (whole >= 0) & (whole < model.num_classes) & tf.equal(tf.cast(whole, x.dtype), x)
        return tf.logical_and(self._has_shape(model, x), tf.reduce_all(inside))


class Weights(PerImage):
    """`sample_weight` `(batch,)`: finite numbers of at least 0."""

    dtype = tf.float32
    rule = "one finite number of at least 0 per image"

    def __init__(self):
        super().__init__("sample_weight")

    def check_values(self, model, x, count=None) -> None:
        x = np.asarray(x)
        self.check_structure(model, x)
        if len(x) != count:
            self._raise(model, f"takes {self.name}, {self.rule}", f"{len(x)} for {count} images")
        if not (np.isfinite(x).all() and (x >= 0).all()):
            self._raise(model, f"takes {self.name}, {self.rule}", f"{x.min():g} to {x.max():g}")

    def values_fit(self, model, x, y=None) -> tf.Tensor:
        inside = (x >= 0) & (x <= x.dtype.max)
        return tf.logical_and(self._has_shape(model, x), tf.reduce_all(inside))


class Pairs(DataSpec):
    """Two batches of images.

    Args:
        first, second: strings. Their names in messages.
        first_shape, second_shape: strings. Attributes of the model that hold their shapes.
        aligned: bool. Whether image i of the first belongs to image i of the second.
    """

    def __init__(self, first, second, first_shape, second_shape, aligned):
        super().__init__(Images(first, first_shape), Images(second, second_shape))
        self.aligned = aligned


def _known_shape(tensor):
    shape = tf.TensorShape(tensor.shape)
    return None if shape.rank is None else tuple(shape.as_list())


def _is_dense(x):
    specs = (tf.RaggedTensorSpec, tf.SparseTensorSpec)
    return hasattr(x, "dtype") and hasattr(x, "shape") and not isinstance(x, specs)


def _is_array_like(value):
    return isinstance(value, (list, tuple)) or hasattr(value, "__array__")


def _as_array(value):
    if isinstance(value, (np.ndarray, tf.Tensor)) or not _is_array_like(value):
        return value
    try:
        return np.asarray(value)
    except ValueError:  # a ragged list, which the checks refuse
        return value
