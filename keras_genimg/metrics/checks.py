"""Checks shared by all metrics: features, pairs of features and counts of samples."""

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count
from keras_genimg.errors import InputError

__all__ = ["check_at_most", "check_dimensions", "check_features", "check_pair", "to_float_array"]


def to_float_array(values: ArrayLike, name: str) -> np.ndarray:
    """Converts numbers of any type to a float32 or float64 NumPy array.

    Args:
        values: array, tensor or nested lists.
        name: string. The name of the values in messages.

    Returns:
        NumPy array: float64 if the values are float64 or integers, else float32.

    Raises:
        InputError: values that are not numbers, rows of different lengths, NaN or infinity.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{name} must have rows of one length. Received: ragged rows.") from None
    if array.dtype.kind in "biu" or array.dtype in (np.float64, np.longdouble):
        array = array.astype("float64", copy=False)
    elif array.dtype.kind == "f" or array.dtype.name == "bfloat16":  # of kind "V"
        array = array.astype("float32", copy=False)
    else:
        raise InputError(f"{name} must be numbers. Received: dtype={array.dtype}.")
    # Minimum and maximum are NaN if any value is, and need no array of flags.
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        bad = array.size - np.isfinite(array).sum()
        raise InputError(
            f"{name} must be finite numbers. Received: NaN or infinity in {bad} of "
            f"{array.size} values."
        )
    return array


def check_features(features: ArrayLike, name: str, at_least: int = 2) -> np.ndarray:
    """Features as a float array `(samples, dimensions)`.

    Args:
        features: array or tensor, one row per sample.
        name: string. Their name in messages.
        at_least: int. The smallest number of samples allowed.

    Returns:
        NumPy array `(samples, dimensions)`, float32 or float64.

    Raises:
        InputError: the wrong shape, too few samples, or values that are not finite numbers.
    """
    array = to_float_array(features, name)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(
            f"{name} must have the shape (samples, dimensions). Received: shape={array.shape}."
        )
    if len(array) < at_least:
        raise InputError(f"{name} must hold at least {at_least} samples. Received: {len(array)}.")
    return array


def check_pair(real_features: ArrayLike, fake_features: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features with the same dimensions.

    Args:
        real_features, fake_features: see `check_features`.

    Returns:
        The two as NumPy arrays `(samples, dimensions)`.

    Raises:
        InputError: see `check_features`; also sets of different dimensions.
    """
    real = check_features(real_features, "real_features")
    fake = check_features(fake_features, "fake_features")
    check_dimensions(real.shape[1], fake.shape[1])
    return real, fake


def check_dimensions(real: int, fake: int) -> None:
    """Checks that two sets of features have the same dimensions.

    Args:
        real, fake: ints. Dimensions of the features of real and of generated images.

    Raises:
        InputError: different dimensions.
    """
    if real != fake:
        raise InputError(
            "real_features and fake_features must have the same dimensions. "
            f"Received: {real} and {fake}."
        )


def check_at_most(name: str, value: int, minimum: int, maximum: int, meaning: str) -> int:
    """Checks a count that the number of samples limits.

    Args:
        name: string. The argument's name.
        value: the value received.
        minimum, maximum: ints. The range allowed.
        meaning: string. What the maximum is, for the message.

    Returns:
        `value` as an int.

    Raises:
        InputError: not an integer, or outside the range.
    """
    value = check_count(name, value, minimum)
    if value > maximum:
        raise InputError(f"{name} must be at most {maximum}, {meaning}. Received: {name}={value}.")
    return value
