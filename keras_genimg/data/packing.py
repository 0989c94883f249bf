"""Grids of codes as bytes, with the same, smallest number of bits for every code."""

import math

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count
from keras_genimg.errors import InputError

__all__ = ["pack_codes", "unpack_codes"]


def pack_codes(codes: ArrayLike, num_embeddings: int) -> bytes:
    """Writes codes one after the other in ceil(log2 num_embeddings) bits each.

    The highest bit of a code comes first, and zeros pad the last byte. The stream has no
    header: the reader must know the shape and the number of codes.

    Args:
        codes: integer array of any shape, codes from 0 to num_embeddings - 1.
        num_embeddings: int. Number of vectors in the codebook.

    Returns:
        bytes: ceil(codes.size * ceil(log2 num_embeddings) / 8) of them.

    Raises:
        InputError: values that are not integers from 0 to num_embeddings - 1.

    Example:
    >>> len(pack_codes(vq_vae.encode(images), 128))  # 4 images of 7x7 codes, 7 bits: 171.5
    172
    """
    num_embeddings = check_count("num_embeddings", num_embeddings)
    codes = np.asarray(codes)
    if codes.size == 0:
        return b""
    if not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"codes must be integers. Received: dtype={codes.dtype}.")
    if codes.min() < 0 or codes.max() >= num_embeddings:
        raise InputError(
            f"codes must be integers from 0 to {num_embeddings - 1}. "
            f"Received: {codes.min()} to {codes.max()}."
        )
    places = _places(num_embeddings)
    bits = codes.reshape(-1, 1).astype("int64") >> places & 1  # (...) -> (n, bits)
    return np.packbits(bits.astype("uint8")).tobytes()


def unpack_codes(stream: bytes, shape: tuple, num_embeddings: int) -> np.ndarray:
    """Reads the codes of a stream that `pack_codes` wrote.

    Args:
        stream: bytes.
        shape: tuple of int. Shape of the codes.
        num_embeddings: int. Number of vectors in the codebook, same as when writing.

    Returns:
        NumPy int32 array of that shape.

    Raises:
        InputError: a stream of the wrong length, or one that `pack_codes` does not write
            for such codes.

    Example:
    >>> unpack_codes(stream, (4, 7, 7), 128).shape
    (4, 7, 7)
    """
    num_embeddings = check_count("num_embeddings", num_embeddings)
    if not isinstance(stream, (bytes, bytearray)) or not isinstance(shape, (tuple, list)):
        raise InputError(
            "unpack_codes takes bytes and the shape of the codes, a tuple. "
            f"Received: {type(stream).__name__} and {shape!r}."
        )
    shape = tuple(check_count("each size in shape", size, minimum=0) for size in shape)
    places = _places(num_embeddings)
    num_codes, num_bits = math.prod(shape), math.prod(shape) * len(places)
    num_bytes = -(-num_bits // 8)
    if len(stream) != num_bytes:
        raise InputError(
            f"A stream of codes of shape {shape} from a codebook of {num_embeddings} has "
            f"{num_bytes} bytes. Received: {len(stream)} bytes."
        )
    bits = np.unpackbits(np.frombuffer(stream, "uint8"))
    bits, padding = bits[:num_bits].reshape(num_codes, len(places)), bits[num_bits:]
    codes = (bits.astype("int64") << places).sum(axis=1)  # (n, bits) -> (n,)
    if padding.any() or codes.max(initial=0) >= num_embeddings:
        raise InputError(
            f"stream must hold codes from 0 to {num_embeddings - 1}, padded with zeros "
            "(see pack_codes). Received: other bits."
        )
    return codes.reshape(shape).astype("int32")


def _places(num_embeddings):
    """Exponents of the bits of a code, the highest first; none for a codebook of one."""
    return np.arange((num_embeddings - 1).bit_length())[::-1]
