"""Kernel distance: squared maximum mean discrepancy with a cubic kernel."""

import numpy as np

from keras_genimg.errors import InputError
from keras_genimg.metrics.checks import check_count, check_pair

__all__ = ["kernel_distance"]


def kernel_distance(real_features, fake_features, *, subset_size=1000, num_subsets=100, seed=0):
    """Squared maximum mean discrepancy of two sets of features, without bias.

    The kernel is k(x, y) = (x.y / dimensions + 1)^3. Each subset takes `subset_size` samples
    of either set without replacement and gives the unbiased estimate, which leaves out every
    sample's kernel with itself; so a value can come out below 0. In Inception features it is
    the KID. Unlike the Frechet distance it does not depend on the number of samples.

    Args:
        real_features: array `(samples, dimensions)`.
        fake_features: array `(samples, dimensions)`.
        subset_size: int. Samples of each set in a subset.
        num_subsets: int. Subsets that the figures are taken over.
        seed: int, or None for other subsets at every call.

    Returns:
        (mean, std): floats over the subsets; the standard deviation is divided by
        `num_subsets`, as is the custom, and is that of a subset, not of the mean.

    Raises:
        InputError: fewer than two samples, different dimensions, NaN or infinity, or more
            samples in a subset than in a set.

    Example:
        >>> real, fake = np.random.normal(size=(2, 500, 16))
        >>> mean, std = kernel_distance(real, fake, subset_size=100, num_subsets=10)  # (), ()

    Reference: Binkowski et al. (2018), https://arxiv.org/abs/1801.01401
    """
    real, fake = check_pair(real_features, fake_features)
    smaller = min(len(real), len(fake))
    size = check_count(subset_size, "subset_size", 2, smaller, ", the samples of the smaller set")
    count = check_count(num_subsets, "num_subsets", 1)
    try:
        rng = np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(
            f"seed must be a whole number from 0 on, or None. Received: seed={seed!r}."
        ) from None
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
    return kernel * kernel * kernel  # powers by multiplication: `** 3` takes far longer
