"""Grids of codes as bytes: every code in the same, smallest number of bits."""

import math
import operator

import numpy as np

from keras_genimg.errors import InputError

__all__ = ["pack_codes", "unpack_codes"]


def pack_codes(codes, num_embeddings):
    """Writes codes one after the other in ceil(log2 num_embeddings) bits each.

    The highest bit of a code comes first; zeros fill the last byte. Nothing else is in the
    stream: whoever reads it knows the shape and the number of codes.

    Args:
        codes: integer array of any shape, codes from 0 to num_embeddings - 1.
        num_embeddings: int. Vectors in the codebook.

    Returns:
        bytes: ceil(codes.size * ceil(log2 num_embeddings) / 8) of them.

    Raises:
        InputError: no integers, or codes outside 0 ... num_embeddings - 1.

    Example:
    >>> len(pack_codes(vq_vae.encode(images), 128))  # 4 pictures of 7x7 codes in 7 bits: 171.5
    172
    """
    num_embeddings = _integer("num_embeddings", num_embeddings, least=1)
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


def unpack_codes(stream, shape, num_embeddings):
    """Reads the codes of a stream that `pack_codes` wrote.

    Args:
        stream: bytes.
        shape: tuple of int. The codes' shape.
        num_embeddings: int. Vectors in the codebook, as when it was written.

    Returns:
        NumPy int32 array of that shape.

    Raises:
        InputError: a stream of another length, or one that `pack_codes` could not have written
            of such codes.

    Example:
    >>> unpack_codes(stream, (4, 7, 7), 128).shape
    (4, 7, 7)
    """
    num_embeddings = _integer("num_embeddings", num_embeddings, least=1)
    if not isinstance(stream, (bytes, bytearray)) or not isinstance(shape, (tuple, list)):
        raise InputError(
            "unpack_codes takes bytes and the shape of the codes, a tuple. "
            f"Received: {type(stream).__name__} and {shape!r}."
        )
    shape = tuple(_integer("each size in shape", size, least=0) for size in shape)
    places = _places(num_embeddings)
    num_codes, num_bits = math.prod(shape), math.prod(shape) * len(places)
    num_bytes = -(-num_bits // 8)
    if len(stream) != num_bytes:
        raise InputError(
            f"A stream of codes of shape {shape}, {num_embeddings} of them, has {num_bytes} bytes. "
            f"Received: {len(stream)} bytes."
        )
    bits = np.unpackbits(np.frombuffer(stream, "uint8"))
    bits, filling = bits[:num_bits].reshape(num_codes, len(places)), bits[num_bits:]
    codes = (bits.astype("int64") << places).sum(axis=1)  # (n, bits) -> (n,)
    if filling.any() or codes.max(initial=0) >= num_embeddings:
        raise InputError(
            f"stream must hold codes from 0 to {num_embeddings - 1} and zeros after them, as "
            "pack_codes writes them. Received: other bits."
        )
    return codes.reshape(shape).astype("int32")


def _places(num_embeddings):
    """Exponents of the bits of a code, the highest first; none where there is one code alone."""
    return np.arange((num_embeddings - 1).bit_length())[::-1]


def _integer(name, value, least):
    try:
        integer = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        integer = least - 1
    if integer < least:
        raise InputError(f"{name} must be an integer of at least {least}. Received: {value!r}.")
    return integer
