"""In what precision things are computed that 16 bits are too few for.

Outputs of networks, codebooks, noise and likelihoods are float32 under every policy but
`"float64"`, under which all is computed in 64 bits: what rounding does to a result can then be
told apart from a defect.
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
    """`at_least_float32` of the policy in which layers are made at the moment."""
    return at_least_float32(keras.config.dtype_policy())
