"""Formats of animations, and MP4 files by imageio-ffmpeg, which is an extra."""

import importlib.util
import os

import numpy as np
from PIL import Image

from keras_genimg.errors import InputError

__all__ = ["ANIMATIONS", "check_animation", "write_mp4"]

ANIMATIONS = (".gif", ".webp", ".mp4")


def check_animation(path: str | os.PathLike) -> str:
    """Checks, before anything is computed, that an animation can be written.

    Args:
        path: path ending in `.gif`, `.webp` or `.mp4`.

    Returns:
        The ending, in lower case.

    Raises:
        InputError: another ending, or an `.mp4` without imageio-ffmpeg.
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in ANIMATIONS:
        raise InputError(
            f"An animation is a file that ends in {', '.join(ANIMATIONS)}. Received: {path}."
        )
    if ending == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise InputError(
            "An .mp4 needs imageio-ffmpeg: pip install 'keras-genimg[video]'. "
            f"Received: {path}; .gif and .webp need nothing more."
        )
    return ending


def write_mp4(path: str | os.PathLike, images: list, duration_ms: float) -> None:
    """Writes an H.264 video, which every player and browser shows.

    Args:
        path: path of the file.
        images: list of Pillow images of one size. A white row or column makes odd sides even.
        duration_ms: float. Milliseconds per image.
    """
    import imageio_ffmpeg

    width, height = images[0].size
    even = (width + width % 2, height + height % 2)  # the format stores colours at half the size
    writer = imageio_ffmpeg.write_frames(
        os.fspath(path), even, fps=1000 / duration_ms, macro_block_size=2, quality=8,
        ffmpeg_log_level="error",
    )  # fmt: skip
    writer.send(None)
    for image in images:
        frame = Image.new("RGB", even, "white")
        frame.paste(image, (0, 0))
        writer.send(np.asarray(frame).tobytes())
    writer.close()
