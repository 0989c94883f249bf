"""What every metric asks of the features it is given."""

import operator

import numpy as np

from keras_genimg.errors import InputError

__all__ = ["check_count", "check_features", "check_pair", "to_float_array"]


def to_float_array(values, name):
    """Turns numbers of any kind into a float32 or float64 NumPy array.

    Args:
        values: array, tensor or nested lists.
        name: string. What the values are called in an error.

    Returns:
        NumPy array: float64 if the values are float64 or whole numbers, else float32.

    Raises:
        InputError: no numbers, rows of different lengths, or NaN or infinity in them.
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
    # The least and the greatest are NaN if any value is, and cost no array of flags.
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        bad = array.size - np.isfinite(array).sum()
        raise InputError(
            f"{name} must be finite numbers. Received: NaN or infinity in {bad} of "
            f"{array.size} values."
        )
    return array


def check_features(features, name, at_least=2):
    """Features as a float array `(samples, dimensions)`.

    Args:
        features: array or tensor, one row a sample.
        name: string. What they are called in an error.
        at_least: int. Fewest samples that will do.

    Returns:
        NumPy array `(samples, dimensions)`, float32 or float64.

    Raises:
        InputError: another shape, too few samples, or values that are not finite numbers.
    """
    array = to_float_array(features, name)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(
            f"{name} must have the shape (samples, dimensions). Received: shape={array.shape}."
        )
    if len(array) < at_least:
        raise InputError(f"{name} must hold at least {at_least} samples. Received: {len(array)}.")
    return array


def check_pair(real_features, fake_features):
    """Two sets of features of the same kind: see `check_features`.

    Raises:
        InputError: as `check_features`, or sets of different dimensions.
    """
    real = check_features(real_features, "real_features")
    fake = check_features(fake_features, "fake_features")
    if real.shape[1] != fake.shape[1]:
        raise InputError(
            "real_features and fake_features must have the same dimensions. "
            f"Received: {real.shape[1]} and {fake.shape[1]}."
        )
    return real, fake


def check_count(value, name, least, most=None, most_means=""):
    """A whole number within limits.

    Args:
        value: the number.
        name: string. The argument's name.
        least: int.
        most: int or None for no limit.
        most_means: string. What the upper limit is, for the error.

    Returns:
        int.

    Raises:
        InputError: no whole number, or one outside the limits.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or count < least or (most is not None and count > most):
        limit = f"from {least} on" if most is None else f"from {least} to {most}{most_means}"
        raise InputError(f"{name} must be a whole number {limit}. Received: {name}={value!r}.")
    return count
