"""Kernel distance: squared maximum mean discrepancy with a cubic kernel."""

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count
from keras_genimg.metrics.checks import check_at_most, check_pair

__all__ = ["kernel_distance"]


def kernel_distance(
    real_features: ArrayLike, fake_features: ArrayLike, *, subset_size: int = 1000,
    num_subsets: int = 100, seed: int | None = 0,
) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy of two sets of features.

    The kernel is k(x, y) = (x.y / dimensions + 1)^3. Each subset draws `subset_size` samples
    from each set without replacement. Its unbiased estimate leaves out the kernel of a sample
    with itself, so values below 0 are possible. In Inception features it is the KID. Unlike
    the Fréchet distance, it does not depend on the number of samples.

    Args:
        real_features: array `(samples, dimensions)`.
        fake_features: array `(samples, dimensions)`.
        subset_size: int. Samples per subset, from each set.
        num_subsets: int. Number of subsets.
        seed: int of at least 0, or None for other subsets at every call.

    Returns:
        (mean, std): floats over the subsets. By convention, the standard deviation is divided
        by `num_subsets`; it is that of one subset's estimate, not of the mean.

    Raises:
        InputError: fewer than two samples, different dimensions, NaN or infinity, or a subset
            larger than a set.

    Example:
        >>> real, fake = np.random.normal(size=(2, 500, 16))
        >>> mean, std = kernel_distance(real, fake, subset_size=100, num_subsets=10)  # (), ()

    Reference: Bińkowski et al. (2018), https://arxiv.org/abs/1801.01401
    """
    real, fake = check_pair(real_features, fake_features)
    smaller = min(len(real), len(fake))
    meaning = "the number of samples in the smaller set"
    size = check_at_most("subset_size", subset_size, 2, smaller, meaning)
    count = check_count("num_subsets", num_subsets)
    rng = np.random.default_rng(None if seed is None else check_count("seed", seed, 0))
    values = [
        _discrepancy(
            real[rng.choice(len(real), size, replace=False)],
            fake[rng.choice(len(fake), size, replace=False)],
        )
        for _ in range(count)
    ]
    return float(np.mean(values)), float(np.std(values))


def _discrepancy(real, fake):
    """The unbiased estimate (MMD_u^2) of two subsets of the same size."""
    size = len(real)
    within = 0.0
    for features in (real, fake):
        kernel = _kernel(features, features)  # (size, dimensions) -> (size, size)
        within += kernel.sum(dtype="float64") - np.trace(kernel, dtype="float64")
    between = _kernel(real, fake).sum(dtype="float64")
    return within / (size * (size - 1)) - 2.0 * between / size**2


def _kernel(x, y):
    kernel = x @ y.T
    kernel /= x.shape[1]
    kernel += 1.0
    return kernel * kernel * kernel  # `** 3` takes far longer
