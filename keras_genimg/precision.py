"""The precision of computations that need more than 16 bits.

Outputs of networks, codebooks, noise and likelihoods are float32 under every policy except
`"float64"`. Under that policy everything is computed in 64 bits, which separates rounding errors
from defects.
"""

import keras

__all__ = ["at_least_float32", "policy_dtype"]


def at_least_float32(dtype) -> str:
    """`"float64"` for float64, `"float32"` for every other floating type.

    Args:
        dtype: string, `tf.DType` or `keras.DTypePolicy`.

    Example:
    >>> at_least_float32("bfloat16"), at_least_float32("float64")
    ('float32', 'float64')
    """
    name = getattr(dtype, "compute_dtype", None) or getattr(dtype, "name", dtype)
    return "float64" if name == "float64" else "float32"


def policy_dtype() -> str:
    """`at_least_float32` of the current dtype policy."""
    return at_least_float32(keras.config.dtype_policy())
