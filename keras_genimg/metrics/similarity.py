"""How like a picture is to the one it should be: PSNR and SSIM, one number a picture."""

import numpy as np
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.metrics.checks import to_float_array

__all__ = ["peak_signal_to_noise_ratio", "structural_similarity"]

DATA_RANGE = 2.0  # of values in [-1, 1]
WINDOW = 11  # pixels a side, of the Gaussian in SSIM
BATCH = 500  # pictures compared at once


def peak_signal_to_noise_ratio(real_images, fake_images):
    """10 log10(range^2 / mean squared error) of each pair, in decibels.

    Over all pixels and channels, without a border cut off. Mind what an average says: the
    mean of ratios, as is the custom, and the ratio of the mean error differ.

    Args:
        real_images: array `(n, height, width, channels)` in [-1, 1].
        fake_images: array of the same shape.

    Returns:
        NumPy float32 array `(n,)`; infinity for a pair without any difference.

    Raises:
        InputError: arrays that are no pictures in [-1, 1], or of different shapes.

    Example:
        >>> peak_signal_to_noise_ratio(np.zeros((4, 32, 32, 3)), np.full((4, 32, 32, 3), 0.2))
        array([20., 20., 20., 20.], dtype=float32)
    """
    return _compare(tf.image.psnr, real_images, fake_images)


def structural_similarity(real_images, fake_images):
    """Mean over the picture of the likeness of local brightness, contrast and structure.

    Gaussian windows of 11x11 pixels with a deviation of 1.5, k1 = 0.01, k2 = 0.03, windows
    that lie in the picture alone, mean over the channels: as `tf.image.ssim` has it. The
    figure is that of pictures in [0, 1] or of 8 bits: black is 0.

    Args:
        real_images: array `(n, height, width, channels)` in [-1, 1], 11 pixels a side or more.
        fake_images: array of the same shape.

    Returns:
        NumPy float32 array `(n,)`, 1 for a pair without any difference.

    Raises:
        InputError: arrays that are no pictures in [-1, 1], of different shapes or too small.

    Example:
        >>> structural_similarity(images, images)  # (4, 32, 32, 3)
        array([1., 1., 1., 1.], dtype=float32)

    Reference: Wang et al. (2004), https://doi.org/10.1109/TIP.2003.819861
    """
    return _compare(tf.image.ssim, real_images, fake_images, smallest=WINDOW)


def _compare(function, real_images, fake_images, smallest=1):
    # From [-1, 1] to [0, 2]: SSIM compares means, which must be counted from black.
    real, fake = (images + 1.0 for images in _checked_pair(real_images, fake_images, smallest))
    parts = [
        function(real[start : start + BATCH], fake[start : start + BATCH], max_val=DATA_RANGE)
        for start in range(0, len(real), BATCH)
    ]
    return np.concatenate(parts)


def _checked_pair(real_images, fake_images, smallest):
    arrays = []
    for name, images in (("real_images", real_images), ("fake_images", fake_images)):
        array = to_float_array(images, name)
        if array.ndim != 4 or array.size == 0:
            raise InputError(
                f"{name} must hold pictures, of shape (n, height, width, channels). "
                f"Received: shape={array.shape}."
            )
        low, high = array.min(), array.max()
        if low < -1.001 or high > 1.001:  # bfloat16 and resizing round a little
            raise InputError(
                f"{name} must be pictures in [-1, 1]; images / 127.5 - 1 makes them of 8-bit "
                f"ones. Received: values from {low:g} to {high:g}."
            )
        arrays.append(array.astype("float32", copy=False))
    real, fake = arrays
    if real.shape != fake.shape:
        raise InputError(
            "real_images and fake_images must have the same shape, a pair a row. "
            f"Received: {real.shape} and {fake.shape}."
        )
    if min(real.shape[1:3]) < smallest:
        raise InputError(
            f"Structural similarity needs pictures of {smallest}x{smallest} pixels or more, the "
            f"size of its window. Received: {real.shape[1]}x{real.shape[2]}."
        )
    return arrays
