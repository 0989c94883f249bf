"""Checks of what users hand to models: each raises one clear `InputError`."""

import math
import re

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.errors import InputError

__all__ = [
    "adopt_network",
    "check_array",
    "check_condition",
    "check_element",
    "check_images",
    "check_labels",
    "check_latents",
    "check_number",
    "check_seed",
    "first_reason",
    "first_two",
]


def check_number(name, value, low=0.0, high=math.inf):
    """Returns `value` if it is a finite number from `low` to `high`, else raises."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        wanted = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise InputError(f"{name} must be a finite number {wanted}. Received: {name}={value!r}.")
    return value


def check_seed(seed):
    """Returns an int64 seed: `seed` if it is an integer, a fresh one for None."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    integer = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not integer or not -(2**63) <= seed < 2**63:
        raise InputError(f"seed must be an integer or None. Received: seed={seed!r}.")
    return int(seed)


def adopt_network(role, network, input_shape, output_shapes):
    """Checks a network of the user's own, and builds it if it is not built.

    Args:
        role: string, for messages.
        network: `keras.Model` or layer.
        input_shape: tuple without the batch axis; of a network with several inputs, a
            list of `keras.KerasTensor`s.
        output_shapes: list of the shapes it must return, without the batch axis; a
            string is the name of a size that the network chooses. None for whatever the
            network returns.

    Returns:
        The network, built.

    Raises:
        InputError: not a Keras layer, or one that takes or returns other shapes.
    """
    if isinstance(network, dict):  # from the configuration of a saved model
        network = keras.saving.deserialize_keras_object(network)
    if not isinstance(network, keras.Layer):
        raise InputError(f"{role} must be a keras.Model or layer. Received: {network!r}.")
    inputs = input_shape
    if not isinstance(inputs, list):
        inputs = keras.KerasTensor((None, *input_shape))
    takes = " and ".join(
        str(("batch", *tensor.shape[1:])) for tensor in keras.tree.flatten(inputs)
    )
    try:
        outputs = network(inputs)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{role} must take inputs of shape {takes}. It answered: {first_reason(error)}"
        ) from error
    if output_shapes is None:
        return network
    made = [("batch", *output.shape[1:]) for output in keras.tree.flatten(outputs)]
    wanted = [("batch", *shape) for shape in output_shapes]
    if len(made) != len(wanted) or not all(map(_fits, made, wanted)):
        raise InputError(
            f"{role} must map {takes} to {' and '.join(map(str, wanted))}. "
            f"Received: a network that makes {' and '.join(map(str, made))}."
        )
    return network


def _fits(made, wanted):
    return len(made) == len(wanted) and all(
        size == found or (isinstance(size, str) and isinstance(found, int))
        for found, size in zip(made, wanted)
    )


def first_reason(error):
    """The sentence inside what Keras wraps around a layer's error, without its colours."""
    lines = re.sub("\x1b\\[[0-9;]*m", "", str(error)).split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    wrapped = len(lines) > 1 and lines[0].startswith("Exception encountered")
    return lines[wrapped][:200] if lines else type(error).__name__


def first_two(element):
    """(images, None, or labels or the other pictures of a pair) of what a dataset yields."""
    if isinstance(element, (tuple, list)):
        return element[0], element[1] if len(element) > 1 else None
    return element, None


def check_element(model, images, labels):
    """Checks shapes and types, which are known without looking at values.

    Args:
        model: `ImageModel`.
        images, labels: arrays, tensors or `tf.TensorSpec`s; labels, or the other
            pictures of a pair, may be None.

    Raises:
        InputError: anything but floats of the model's shape; labels missing, or not
            one a picture, or the other pictures, where the model is trained on them.
    """
    name = type(model).__name__
    _check_type_and_shape(model, images, model.element_shape)
    if model.pair:
        if labels is None:
            first, second = model.pair
            raise InputError(f"{name} is trained on ({first}, {second}). Received: {first} alone.")
        _check_type_and_shape(model, labels, model.pair_shape)
    if not model.needs_labels:
        return
    if labels is None:
        data = "images" if model.num_codes is None else "codes"
        raise InputError(
            f"{name} is trained on ({data}, labels), labels being integers of shape (batch,). "
            f"Received: {data} alone."
        )
    shape = _known_shape(labels)
    if shape is not None and len(shape) != 1:
        raise InputError(
            f"{name} takes labels of shape (batch,), one integer a picture. Received: {shape}."
        )


def _check_type_and_shape(model, images, wanted):
    name = type(model).__name__
    of_codes = model.num_codes is not None
    if not hasattr(images, "dtype"):
        data = "codes" if of_codes else "images"
        raise InputError(
            f"{name} takes {data}, or ({data}, labels). Received: {type(images).__name__}."
        )
    if of_codes and not tf.as_dtype(images.dtype).is_integer:
        raise InputError(
            f"{name} takes codes, integers from 0 to {model.num_codes - 1}. "
            f"Received: {tf.as_dtype(images.dtype).name}."
        )
    if not of_codes and not tf.as_dtype(images.dtype).is_floating:
        raise InputError(
            f"{name} takes floating-point images in [-1, 1]; images / 127.5 - 1 makes them of "
            f"8-bit pictures. Received: {tf.as_dtype(images.dtype).name}."
        )
    shape = _known_shape(images)
    if shape is not None and (
        len(shape) != 1 + len(wanted)
        or any(made not in (None, size) for made, size in zip(shape[1:], wanted))
    ):
        if of_codes:
            raise InputError(
                f"{name} was made for codes of shape {('batch', *wanted)}. "
                f"Received: {('batch', *shape[1:])}."
            )
        raise InputError(
            f"{name} was made for images of shape {('batch', *wanted)}; "
            f"load(..., image_size=, channels=) converts. Received: {('batch', *shape[1:])}."
        )


def check_images(model, images, shape=None):
    """Checks an array of pictures, or of codes where the model takes codes.

    Looks at the type, the shape (the model's `image_shape` by default) and the values.
    """
    name = type(model).__name__
    _check_type_and_shape(model, images, shape or model.image_shape)
    if images.size == 0:
        raise InputError(f"{name} needs at least one picture. Received: none.")
    low, high = float(images.min()), float(images.max())
    if model.num_codes is not None:
        if low < 0 or high >= model.num_codes:
            raise InputError(
                f"{name} takes codes, integers from 0 to {model.num_codes - 1}. "
                f"Received: {low:g} to {high:g}."
            )
        return
    if not np.isfinite([low, high]).all():
        wrong = images.size - np.isfinite(images).sum()
        raise InputError(
            f"{name} takes images in [-1, 1]. "
            f"Received: NaN or infinity in {wrong} of {images.size} values."
        )
    if not (low >= -1.001 and high <= 1.001):  # bfloat16 and resizing round a little
        raise InputError(
            f"{name} takes images in [-1, 1]. Received: values from {low:g} to {high:g}."
        )


def check_array(model, images, labels):
    """Checks values: pictures in [-1, 1], one label a picture, labels that are classes."""
    check_images(model, images, model.element_shape)
    if model.pair:
        check_images(model, labels, model.pair_shape)
        if len(images) != len(labels):
            raise InputError(
                f"{type(model).__name__} needs as many {model.pair[1]} as {model.pair[0]}. "
                f"Received: {len(images)} {model.pair[0]} and {len(labels)} {model.pair[1]}."
            )
    if model.needs_labels:
        check_labels(labels, model.num_classes, len(images))


def check_labels(labels, num_classes, num_images):
    """Returns labels as int32 `(num_images,)` if they are classes from 0, else raises."""
    try:
        array = np.asarray(labels, dtype="float64")
    except (TypeError, ValueError):
        array = np.zeros(())
    right = array.ndim == 1 and array.size and np.all(array == np.floor(array))
    if not right or array.min() < 0 or array.max() >= num_classes:
        raise InputError(
            f"labels must be integers from 0 to {num_classes - 1}, of shape (n,). "
            f"Received: {_found(labels, array)}."
        )
    if len(array) != num_images:
        raise InputError(
            "There must be one label a picture. "
            f"Received: {len(array)} labels for {num_images} pictures."
        )
    return array.astype("int32")


def check_condition(model, condition, count):
    """Returns the condition of `count` grids as int32 `(count, *condition_shape)`, else raises."""
    try:
        array = np.asarray(condition)
    except ValueError:  # rows of unequal length
        array = np.zeros((), object)
    wanted, highest = (count, *model.condition_shape), model.condition_embeddings - 1
    fits = np.issubdtype(array.dtype, np.integer) and array.shape == wanted
    if not fits or array.min() < 0 or array.max() > highest:
        values = f" from {array.min()} to {array.max()}" if fits else ""
        found = "None" if condition is None else f"{array.dtype} of shape {array.shape}{values}"
        raise InputError(
            f"condition must be codes, integers from 0 to {highest} of shape {wanted}. "
            f"Received: {found}."
        )
    return array.astype("int32")


def check_latents(model, latents, shape, num_embeddings=None):
    """Returns latents `(n, *shape)` as float32, or codes below `num_embeddings` as int32."""
    array = np.asarray(latents)
    kind = "integer codes" if num_embeddings else "floats"
    right = np.issubdtype(array.dtype, np.integer if num_embeddings else np.floating)
    if not right or array.shape[1:] != tuple(shape) or array.ndim == 0 or not len(array):
        raise InputError(
            f"{type(model).__name__} decodes {kind} of shape {('n', *shape)}. "
            f"Received: {array.dtype} of shape {array.shape}."
        )
    if num_embeddings and (array.min() < 0 or array.max() >= num_embeddings):
        raise InputError(
            f"Codes are integers from 0 to {num_embeddings - 1}. "
            f"Received: {array.min()} to {array.max()}."
        )
    return array.astype("int32" if num_embeddings else "float32")


def _found(labels, array):
    if array.ndim != 1 or not array.size:
        return repr(labels)[:60]
    return f"{array.min():g} to {array.max():g}"


def _known_shape(tensor):
    shape = tf.TensorShape(tensor.shape)
    return None if shape.rank is None else tuple(shape.as_list())
