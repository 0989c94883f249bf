"""Reads image files: what the header says, the pixels, and why a file cannot be used."""

import contextlib
import errno
import math
import os
import re
import stat
import struct
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_genimg.data.images import DEEP_WHITE, fit_image

__all__ = [
    "DAMAGED", "NOT_IMAGES", "Header", "decode", "decode_alone", "looks_whole", "peak_of",
    "read_header", "reason_of", "white_of", "whites_of",
]  # fmt: skip

# Formats that Pillow recognises but does not decode, or only by starting another program.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Suffixes of images that Pillow does not decode by itself.
MORE_SUFFIXES = {
    ".arw", ".cr2", ".dng", ".emf", ".eps", ".heic", ".heif", ".hif", ".jxl", ".nef", ".svg",
    ".wmf",
}  # fmt: skip
COLOURS = "16-bit colours"  # the kind of which Pillow keeps the upper 8 bits
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
SIDEWAYS = 5  # orientations of cameras from here on exchange height and width
DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits that deep values may use
# After decoding a JPEG at a reduced size: a shorter kernel than bicubic, two thirds of its time.
SCALED = Image.Resampling.HAMMING
# Markers of a JPEG: frames that need nothing special, and what may precede them. Not among these
# are APP1, which may hold an orientation, and APP14, of other colours than YCbCr.
FRAMES = (0xC0, 0xC1, 0xC2)
BEFORE_FRAMES = {0xC4, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xEE), 0xEF, 0xFE}

# Why a file is not used, as it continues "2 of 10 files: 2 ...".
NOT_IMAGES = "of other kinds"
EMPTY = "empty"
DAMAGED = "damaged or cut off"
UNKNOWN = "not recognised by Pillow"
HEIC = "in HEIC, which Pillow reads only with a plugin (pillow-heif)"
FLOATS = "of floats, which have no fixed range (save them with 8 or 16 bits)"
NEGATIVE = "with negative values, which have no fixed range (save them with 8 or 16 bits)"
DARK = "with 16-bit colours in the low bits, which Pillow drops (save them with 8 bits)"


class Header(NamedTuple):
    """What the header of an image file says.

    Attributes:
        size: tuple `(height, width)` of the upright image.
        grey: bool.
        format: str, Pillow's name such as `"JPEG"`, whatever the file is called.
        deep: str or None. The kind of its values, if they have more than 8 bits.
    """

    size: tuple
    grey: bool
    format: str
    deep: str | None


def read_header(path: str) -> Header | str:
    """The header of a file, or why it cannot be used. Nothing is decoded."""
    try:
        with _opened(path) as image:
            if image.mode == "F":
                return FLOATS
            width, height = image.size
            if _orientation(image) >= SIDEWAYS:
                width, height = height, width
            grey = image.mode in ("1", "L", "LA", "I") or image.mode.startswith("I;16")
            return Header((height, width), grey, image.format, _deep_kind(image))
    except Exception as error:  # Pillow's decoders raise all kinds
        return reason_of(error, path)


def decode(path: str, image_shape: tuple, whites: dict | None = None) -> np.ndarray:
    """The pixels of a file: upright, cropped and resized.

    A JPEG of at least four times the size is decoded at 1/2, 1/4 or 1/8 of its size, not below
    twice the target, and resized from there: half the work. Such pixels differ from those of the
    whole JPEG by about 1.5 of 255 on average, less than those of two antialiasing filters differ.

    Args:
        path: str.
        image_shape: tuple `(height, width, channels)`.
        whites: dict from `Header.deep` to the value that becomes 255. Default: 65535.

    Returns:
        uint8 array of that shape.

    Raises:
        Exception: of any kind, where the file cannot be read; see `reason_of`.
    """
    height, width, channels = image_shape
    with open(path, "rb", opener=_without_waiting) as file:
        pixels = _decode_plain_jpeg(file, image_shape)
        if pixels is not None:
            return pixels
        file.seek(0)
        with Image.open(file, formats=_formats()) as image:
            white = (whites or {}).get(_deep_kind(image), DEEP_WHITE)
            if image.format not in ("JPEG", "MPO"):
                return fit_image(ImageOps.exif_transpose(image), (height, width), channels, white)
            full, extent, orientation = image.size, None, _orientation(image)
            if orientation == 1:
                drafted = image.draft(None, (2 * width, 2 * height))
                extent = drafted[1][2:] if drafted else None
            elif not any(side % 8 for side in full):  # no part of a pixel at the borders
                sides = (height, width) if orientation >= SIDEWAYS else (width, height)
                image.draft(None, tuple(2 * side for side in sides))
            kernel = SCALED if image.size != full else Image.Resampling.BICUBIC
            image = ImageOps.exif_transpose(image)
            return fit_image(image, (height, width), channels, white, extent, kernel)


def decode_alone(path: str, image_shape: tuple) -> np.ndarray | str:
    """The pixels of a file as in a folder that holds it alone, or why it cannot be used.

    Args:
        path: str.
        image_shape: tuple `(height, width, channels)`.

    Returns:
        uint8 array of that shape, or str.
    """
    header, whites = read_header(path), {}
    if isinstance(header, str):
        return header
    if header.deep:
        whites, refused = whites_of(path, {0: header.deep}, {0: peak_of(path)})
        if refused:
            return refused[0]
    try:
        return decode(path, image_shape, whites)
    except Exception as error:  # Pillow's decoders raise all kinds
        return reason_of(error, path)


@contextlib.contextmanager
def _opened(path):
    """The file as a `PIL.Image.Image`, of which the header is read."""
    with open(path, "rb", opener=_without_waiting) as file:
        with Image.open(file, formats=_formats()) as image:
            yield image


def _without_waiting(path, flags):
    """Opens a file, and does not wait for a FIFO, which may have taken its place."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", path)
    return descriptor


def _decode_plain_jpeg(file, image_shape):
    """The same pixels for a JPEG without orientation or inks, or None for all other files.

    `PIL.Image.open` takes a third of the time of a small JPEG, in Python and hence one thread at
    a time. Here its decoder gets the bytes at once.
    """
    if file.read(2) != b"\xff\xd8":
        return None
    data = b"\xff\xd8" + file.read()
    (width, height), mode = _size_and_mode(data)
    if mode is None or width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
        return None
    most = min(width // (2 * image_shape[1]), height // (2 * image_shape[0]))
    scale = next(scale for scale in (8, 4, 2, 1) if scale <= max(most, 1))  # see Image.draft
    size = -(-width // scale), -(-height // scale)
    try:
        image = Image.frombytes(mode, size, data, "jpeg", mode, "", scale, 0)
    except Exception:  # Image.open says why, or does better
        return None
    kernel = SCALED if scale > 1 else Image.Resampling.BICUBIC
    extent = width / scale, height / scale
    return fit_image(image, image_shape[:2], image_shape[2], extent=extent, kernel=kernel)


def _size_and_mode(data):
    """What the frame of a JPEG says: (width, height), and "L", "RGB" or None for another kind."""
    place = 2
    while len(data) > place + 10 and data[place] == 0xFF:
        marker, length = struct.unpack_from(">BH", data, place + 1)
        if marker in FRAMES:
            bits, height, width, bands = struct.unpack_from(">BHHB", data, place + 4)
            usual = bits == 8 and height and width
            return (width, height), {1: "L", 3: "RGB"}.get(bands) if usual else None
        if marker not in BEFORE_FRAMES:
            break
        place += 2 + length
    return (0, 0), None


def looks_whole(path: str, header: Header) -> bool:
    """Detects most truncated files without decoding them, for sets too large to decode twice."""
    try:
        if header.format in ("JPEG", "MPO"):
            with open(path, "rb", opener=_without_waiting) as file:
                file.seek(max(0, os.path.getsize(path) - 65536))
                return b"\xff\xd9" in file.read()  # the end marker, perhaps before a trailer
        with _opened(path) as image:
            image.verify()
        return True
    except Exception:
        return False


def peak_of(path: str) -> int | str:
    """The largest value of an image with deep values, or why it cannot be used."""
    try:
        with _opened(path) as image:
            bands = image.getbands()
            values = np.asarray(image)
            values = values[..., : len(bands) - 1] if bands[-1] == "A" else values
            return NEGATIVE if values.min() < 0 else int(values.max())
    except Exception as error:
        return reason_of(error, path)


def white_of(kind: str, peak: int) -> int | str:
    """The value that becomes 255 in a set, or why its files cannot be used.

    The bits that the largest value needs are those that all values use: images of 12 bits come
    in files of 16 bits.

    Args:
        kind: str, `Header.deep` of the files.
        peak: int. The largest of their values.
    """
    if kind == COLOURS:  # Pillow has dropped the low 8 of 16 bits
        return DARK if peak < 64 else 255
    return 2 ** min(bits for bits in DEPTHS if peak < 2**bits) - 1


def whites_of(name: str, kinds: dict, peaks: dict) -> tuple:
    """The values that become 255 in a set of images with more than 8 bits.

    All its images have the same range.

    Args:
        name: str. The set, for the warning of a white other than that of 16 bits.
        kinds: dict from an image to `Header.deep`.
        peaks: dict from an image to what `peak_of` returned.

    Returns:
        dict from a kind to its white; dict from an image that cannot be used to the reason.
    """
    refused = {image: peak for image, peak in peaks.items() if isinstance(peak, str)}
    whites = {}
    for kind in sorted({kinds[image] for image in peaks.keys() - refused.keys()}):
        those = [image for image in peaks.keys() - refused.keys() if kinds[image] == kind]
        peak = max(peaks[image] for image in those)
        white = white_of(kind, peak)
        if isinstance(white, str):
            refused.update(dict.fromkeys(those, white))
            continue
        whites[kind] = white
        if kind != COLOURS and white != DEEP_WHITE:
            warnings.warn(
                f"Values of more than 8 bits in {name!r} are at most {peak}: {white} becomes "
                "white.", stacklevel=3,
            )  # fmt: skip
    return whites, refused


def reason_of(error: Exception, path: str) -> str:
    """Why a file cannot be used, from the error that reading it has raised."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"above Pillow's limit of {limit:,} pixels (twice PIL.Image.MAX_IMAGE_PIXELS)"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.errno is not None:
        return f"that cannot be opened ({error.strerror})"
    suffix = os.path.splitext(path)[1].lower()
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            start = file.read(12)
    except OSError:  # it is gone
        return DAMAGED
    if start[4:8] == b"ftyp" and start[8:] in HEIC_BRANDS:
        return HEIC
    if not isinstance(error, UnidentifiedImageError):
        return DAMAGED
    if suffix not in MORE_SUFFIXES and suffix not in _suffixes():
        return NOT_IMAGES
    return UNKNOWN if start else EMPTY


def _formats():
    """Pillow's formats, those of plugins included; what a file is called does not matter."""
    Image.init()
    return ["JPEG", "PNG", *(name for name in Image.ID if name not in NOT_DECODED)]


def _suffixes():
    formats = set(_formats())
    return {suffix for suffix, name in Image.registered_extensions().items() if name in formats}


def _orientation(image):
    # Without EXIF in the header of a PNG, Pillow decodes it to look for EXIF at its end.
    has_exif = image.format != "PNG" or "exif" in image.info
    return image.getexif().get(0x0112, 1) if has_exif else 1


def _deep_kind(image):
    if image.mode.startswith("I"):
        return f"{image.format} {image.mode}"
    raw = str(image.tile[0][3]) if getattr(image, "tile", None) else ""
    return COLOURS if re.search(r";16[BLN]", raw) else None
