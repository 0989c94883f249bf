"""Similarity of an image to its reference: PSNR and SSIM, one value per image."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.errors import InputError
from keras_genimg.metrics.checks import to_float_array

__all__ = ["peak_signal_to_noise_ratio", "structural_similarity"]

DATA_RANGE = 2.0  # of values in [-1, 1]
WINDOW = 11  # height and width of the Gaussian window in SSIM
BATCH = 500  # images compared at once


def peak_signal_to_noise_ratio(real_images: ArrayLike, fake_images: ArrayLike) -> np.ndarray:
    """10 log10(range^2 / mean squared error) of each pair, in decibels.

    All pixels and channels count; no border is cut off. The mean over images, which is
    usually reported, differs from the ratio of the mean error.

    Args:
        real_images: array `(n, height, width, channels)` in [-1, 1].
        fake_images: array of the same shape.

    Returns:
        NumPy float32 array `(n,)`; infinity for identical images.

    Raises:
        InputError: arrays that are not images in [-1, 1], or different shapes.

    Example:
        >>> peak_signal_to_noise_ratio(np.zeros((4, 32, 32, 3)), np.full((4, 32, 32, 3), 0.2))
        array([20., 20., 20., 20.], dtype=float32)
    """
    return _compare(tf.image.psnr, real_images, fake_images)


def structural_similarity(real_images: ArrayLike, fake_images: ArrayLike) -> np.ndarray:
    """Mean over the image of the similarity in local luminance, contrast and structure.

    Gaussian windows of 11x11 pixels with a standard deviation of 1.5, k1 = 0.01, k2 = 0.03,
    only windows that lie within the image, mean over the channels: see `tf.image.ssim`. The
    value is the same as for images in [0, 1] or 8-bit images: black is 0.

    Args:
        real_images: array `(n, height, width, channels)` in [-1, 1], at least 11x11 pixels.
        fake_images: array of the same shape.

    Returns:
        NumPy float32 array `(n,)`, 1 for identical images.

    Raises:
        InputError: arrays that are not images in [-1, 1], different shapes, or images too small.

    Example:
        >>> structural_similarity(images, images)  # (4, 32, 32, 3)
        array([1., 1., 1., 1.], dtype=float32)

    Reference: Wang et al. (2004), https://doi.org/10.1109/TIP.2003.819861
    """
    return _compare(tf.image.ssim, real_images, fake_images, smallest=WINDOW)


def _compare(function, real_images, fake_images, smallest=1):
    # From [-1, 1] to [0, 2]: SSIM compares means, which must be relative to black.
    real, fake = (images + 1.0 for images in _checked_pair(real_images, fake_images, smallest))
    return np.concatenate([
        function(real[start : start + BATCH], fake[start : start + BATCH], max_val=DATA_RANGE)
        for start in range(0, len(real), BATCH)
    ])


def _checked_pair(real_images, fake_images, smallest):
    arrays = []
    for name, images in (("real_images", real_images), ("fake_images", fake_images)):
        array = to_float_array(images, name)
        if array.ndim != 4 or array.size == 0:
            raise InputError(
                f"{name} must be images of shape (n, height, width, channels). "
                f"Received: shape={array.shape}."
            )
        low, high = array.min(), array.max()
        if low < -1.001 or high > 1.001:  # bfloat16 and resizing round a little
            raise InputError(
                f"{name} must be images in [-1, 1]; images / 127.5 - 1 converts 8-bit images. "
                f"Received: values from {low:g} to {high:g}."
            )
        arrays.append(array.astype("float32", copy=False))
    real, fake = arrays
    if real.shape != fake.shape:
        raise InputError(
            "real_images and fake_images must have the same shape, one pair per row. "
            f"Received: {real.shape} and {fake.shape}."
        )
    if min(real.shape[1:3]) < smallest:
        raise InputError(
            f"Structural similarity needs images of at least {smallest}x{smallest} pixels, the "
            f"size of its window. Received: {real.shape[1]}x{real.shape[2]}."
        )
    return arrays
