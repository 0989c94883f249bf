"""Checks of arguments: each returns the value, or raises an `InputError` of one sentence.

The sentence states the rule first and then what was received. Nothing here imports TensorFlow.
"""

import math
import os
import re

import numpy as np

from keras_genimg.errors import InputError

__all__ = [
    "check_choice", "check_class_names", "check_code_shape", "check_condition", "check_count",
    "check_image_shape", "check_labels", "check_latents", "check_number", "check_path",
    "check_seed", "first_reason", "is_integer", "is_number",
]

# Heights and widths that the default networks support.
SMALLEST, LARGEST, STEP = 16, 256, 4
LARGEST_COUNT = 2**31 - 1  # as shapes of TensorFlow's operations have it


def is_integer(value) -> bool:
    """Whether a value is a Python or NumPy integer, and not a bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value) -> bool:
    """Whether a value is a finite Python or NumPy real number, and not a bool."""
    real = is_integer(value) or isinstance(value, (float, np.floating))
    return real and math.isfinite(value)


def check_count(name: str, value, minimum: int = 1, maximum: int | None = None) -> int:
    """Checks an argument that counts something.

    Args:
        name: string. The argument's name in the message.
        value: the value received.
        minimum: int. The smallest value allowed.
        maximum: int, optional. The largest value allowed.

    Returns:
        `value` as an int.

    Raises:
        InputError: not an integer, or outside the range.

    Example:
    >>> check_count("latent_dim", 64)
    64
    """
    highest = LARGEST_COUNT if maximum is None else maximum
    if not is_integer(value) or not minimum <= value <= highest:
        wanted = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
        if maximum is None and is_integer(value) and value > highest:
            wanted += " below 2**31"
        if maximum is not None:
            wanted = f"an integer from {minimum} to {maximum}"
        raise InputError(f"{name} must be {wanted}. Received: {name}={value!r}.")
    return int(value)


def check_number(
    name: str, value, low: float = 0.0, high: float = math.inf, above: bool = False
) -> float:
    """Checks a finite real number.

    Args:
        name: string. The argument's name in the message.
        value: the value received.
        low: float. The smallest value allowed.
        high: float. The largest value allowed.
        above: bool. Whether `low` itself is excluded.

    Returns:
        `value`.

    Raises:
        InputError: not a finite number, or outside the range.

    Example:
    >>> check_number("dropout", 0.5, 0.0, 0.99)
    0.5
    """
    if not is_number(value) or not low <= value <= high or (above and value == low):
        wanted = f"above {low:g}" if above else f"of at least {low:g}"
        if math.isfinite(high):
            wanted = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        raise InputError(f"{name} must be a finite number {wanted}. Received: {name}={value!r}.")
    return value


def check_choice(name: str, value, choices) -> str:
    """Checks an argument that is one of a few strings.

    Args:
        name: string. The argument's name in the message.
        value: the value received.
        choices: iterable of strings.

    Returns:
        `value`.

    Raises:
        InputError: any other value.

    Example:
    >>> check_choice("networks", "mlp", ("conv", "mlp"))
    'mlp'
    """
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}. Received: {name}={value!r}.")
    return value


def check_path(name: str, value) -> str:
    """Checks a path.

    Args:
        name: string. The argument's name in the message.
        value: a string or `os.PathLike`.

    Returns:
        string.

    Raises:
        InputError: any other value.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} must be a path. Received: {name}={str(value)[:60]!r}.")
    return os.fspath(value)


def check_seed(seed, draw: bool = True) -> int | None:
    """Checks a seed.

    Args:
        seed: a 64-bit integer, or None.
        draw: bool. Whether None becomes a fresh seed; otherwise it stays None.

    Returns:
        int, or None if `seed` is None and `draw` is False.

    Raises:
        InputError: any other value.
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0]) if draw else None
    if not is_integer(seed) or not -(2**63) <= seed < 2**63:
        raise InputError(f"seed must be a 64-bit integer or None. Received: seed={seed!r}.")
    return int(seed)


def check_image_shape(
    image_shape, default_networks: bool = True, name: str = "image_shape"
) -> tuple:
    """Checks an image shape.

    Args:
        image_shape: (height, width, channels).
        default_networks: bool. Whether the shape must also fit the networks of
            this package: height and width multiples of 4 from 16 to 256.
        name: string. The argument's name in the message.

    Returns:
        tuple (height, width, channels) of ints.

    Raises:
        InputError: not three positive integers, or a size that does not fit; the
            message names the nearest size that does.
    """
    try:
        shape = tuple(int(size) for size in image_shape)
        whole = all(size == given for size, given in zip(shape, image_shape))
        right = len(shape) == 3 and whole and min(shape) > 0
    except (TypeError, ValueError):
        right = False
    if not right:
        raise InputError(
            f"{name} must be (height, width, channels), three positive integers. "
            f"Received: {name}={image_shape!r}."
        )
    if default_networks:
        nearest = tuple(
            min(max(STEP * round(size / STEP), SMALLEST), LARGEST) for size in shape[:2]
        )
        if nearest != shape[:2]:
            raise InputError(
                f"The default networks take heights and widths that are multiples of {STEP} from "
                f"{SMALLEST} to {LARGEST}; the nearest that fits is {nearest[0]}x{nearest[1]} "
                f"(load(..., image_size={nearest}) resizes). "
                f"Received: {shape[0]}x{shape[1]}."
            )
    return shape


def check_code_shape(code_shape, name: str = "code_shape") -> tuple:
    """Checks the shape of a grid of codes.

    Args:
        code_shape: (height, width).
        name: string. The argument's name in the message.

    Returns:
        tuple (height, width) of ints.

    Raises:
        InputError: not two positive integers.
    """
    try:
        return check_image_shape((*code_shape, 1), default_networks=False)[:2]
    except (InputError, TypeError):
        raise InputError(
            f"{name} must be (height, width), two positive integers. "
            f"Received: {name}={code_shape!r}."
        ) from None


def check_condition(condition, shape: tuple, num_embeddings: int) -> np.ndarray:
    """Checks the codes that other codes are conditioned on.

    Args:
        condition: integers of shape `shape` from 0 to num_embeddings - 1.
        shape: tuple, with the number of grids first.
        num_embeddings: int.

    Returns:
        int32 array.

    Raises:
        InputError: the wrong shape, type or range.
    """
    try:
        array = np.asarray(condition)
    except ValueError:  # rows of unequal length
        array = np.zeros((), object)
    fits = np.issubdtype(array.dtype, np.integer) and array.shape == shape
    if not fits or array.min() < 0 or array.max() >= num_embeddings:
        values = f" from {array.min()} to {array.max()}" if fits else ""
        found = "None" if condition is None else f"{array.dtype} of shape {array.shape}{values}"
        raise InputError(
            f"condition must be codes, integers from 0 to {num_embeddings - 1} of shape {shape}. "
            f"Received: {found}."
        )
    return array.astype("int32")


def check_class_names(names, num_classes: int) -> list:
    """Checks the names of classes.

    Args:
        names: strings, one per class, in the order of the classes' numbers.
        num_classes: int.

    Returns:
        list of strings.

    Raises:
        InputError: not strings, another number of them, or two alike.
    """
    found = [] if isinstance(names, str) or not hasattr(names, "__iter__") else list(names)
    strings = all(isinstance(name, str) for name in found)
    if not strings or not len(found) == len(set(found)) == num_classes:
        raise InputError(
            f"class_names must be {num_classes} different strings, one per class. "
            f"Received: {str(names)[:100]}."
        )
    return [str(name) for name in found]


def check_labels(labels, num_classes: int, num_images: int | None) -> np.ndarray:
    """Checks class labels.

    Args:
        labels: integers `(num_images,)` from 0 to num_classes - 1.
        num_classes: int.
        num_images: int, or None for any number.

    Returns:
        int32 array `(num_images,)`.

    Raises:
        InputError: invalid values, the wrong shape, or the wrong number of labels.
    """
    try:
        array = np.asarray(labels, dtype="float64")
    except (TypeError, ValueError):
        array = np.zeros(())
    right = array.ndim == 1 and array.size and np.all(array == np.floor(array))
    if not right or array.min() < 0 or array.max() >= num_classes:
        known = array.ndim == 1 and array.size
        found = f"{array.min():g} to {array.max():g}" if known else _kind_of(labels)
        raise InputError(
            f"labels must be integers from 0 to {num_classes - 1}, of shape (n,). "
            f"Received: {found}."
        )
    if num_images is not None and len(array) != num_images:
        raise InputError(
            "There must be one label per image. "
            f"Received: {len(array)} labels for {num_images} images."
        )
    return array.astype("int32")


def _kind_of(values):
    """A value in a few words; an array by its shape."""
    if hasattr(values, "shape"):
        return f"shape={tuple(values.shape)}"
    return " ".join(repr(values)[:60].split())


def check_latents(
    name: str, latents, shape: tuple, num_embeddings: int | None = None
) -> np.ndarray:
    """Checks the inputs of a decoder: latent vectors, or integer codes.

    Args:
        name: string. The model's class, for the message.
        latents: floats `(n, *shape)`, or integers of that shape with `num_embeddings`.
        shape: tuple. A string stands for any size.
        num_embeddings: int, optional. Codes lie between 0 and num_embeddings - 1.

    Returns:
        float32 array, or int32 array of codes.

    Raises:
        InputError: the wrong shape, type or range, or no latents.
    """
    try:
        array = np.asarray(latents)
    except ValueError:  # rows of unequal length
        array = np.zeros((), object)
    kind = "integer codes" if num_embeddings else "floats"
    right = np.issubdtype(array.dtype, np.integer if num_embeddings else np.floating)
    right = right and array.ndim == 1 + len(shape) and len(array) > 0 and all(
        isinstance(wanted, str) or size == wanted for size, wanted in zip(array.shape[1:], shape)
    )
    if not right:
        raise InputError(
            f"{name} decodes {kind} of shape {('n', *shape)}. "
            f"Received: {array.dtype} of shape {array.shape}."
        )
    if num_embeddings and (array.min() < 0 or array.max() >= num_embeddings):
        raise InputError(
            f"Codes are integers from 0 to {num_embeddings - 1}. "
            f"Received: {array.min()} to {array.max()}."
        )
    return array.astype("int32" if num_embeddings else "float32")


def first_reason(error: BaseException) -> str:
    """The message of a layer's error, without the lines and colours that Keras adds."""
    lines = re.sub("\x1b\\[[0-9;]*m", "", str(error)).split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    wrapped = len(lines) > 1 and lines[0].startswith("Exception encountered")
    return lines[wrapped][:200] if lines else type(error).__name__
