"""Precision, recall, density and coverage of images by nearest neighbours."""

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.metrics.checks import check_at_most, check_pair
from keras_genimg.metrics.neighbors import PointSets, nearest_neighbors, within_radius

__all__ = ["precision_recall_density_coverage"]


def precision_recall_density_coverage(
    *, real_features: ArrayLike, fake_features: ArrayLike, k: int = 5
) -> dict[str, float]:
    """Fidelity (precision, density) and diversity (recall, coverage) of generated samples.

    The ball around a sample reaches to its k-th nearest neighbour in the same set, the sample
    itself excluded. A sample is inside a ball if it is strictly nearer than the radius.

    - precision: share of fake samples inside at least one ball of a real sample;
    - recall: share of real samples inside at least one ball of a fake sample;
    - density: number of real balls that contain a fake sample, divided by k and averaged over
      the fake samples (1 for identical distributions; it can exceed 1);
    - coverage: share of real samples whose ball contains a fake sample.

    All four follow the reference code of density and coverage: k = 5 and a strict inequality.
    The paper of improved precision and recall uses k = 3 and counts a sample at the radius
    itself; where no two distances are equal, only k matters. The ball of a real sample with k
    copies is empty.

    Args:
        real_features: array `(samples, dimensions)`. Keyword only: swapping the two sets swaps
            precision and recall.
        fake_features: array `(samples, dimensions)`.
        k: int. Which nearest neighbour defines the radius.

    Returns:
        dict of floats: precision, recall, density, coverage.

    Raises:
        InputError: fewer than two samples, different dimensions, NaN or infinity, or a set
            without a k-th neighbour because it has at most k samples.

    Example:
        >>> real, fake = np.random.normal(size=(2, 500, 16))
        >>> sorted(precision_recall_density_coverage(real_features=real, fake_features=fake))
        ['coverage', 'density', 'precision', 'recall']

    Reference: Kynkäänniemi et al. (2019), https://arxiv.org/abs/1904.06991 (precision,
        recall); Naeem et al. (2020), https://arxiv.org/abs/2002.09797 (density, coverage).
    """
    real, fake = check_pair(real_features, fake_features)
    most = min(len(real), len(fake)) - 1
    k = check_at_most("k", k, 1, most, "one less than the number of samples in the smaller set")
    real, fake = PointSets(real, fake).sets
    real_radii = nearest_neighbors(real, real, k)[0][:, -1:]  # (n, 1)
    fake_radii = nearest_neighbors(fake, fake, k)[0][:, -1:].T  # (m, 1) -> (1, m)

    real_like, covered, recalled, in_balls = np.zeros(len(fake), bool), [], [], 0
    for start, lower in real.lower_bounds(fake):  # blocks (rows, m)
        block_radii = real_radii[start : start + len(lower)]
        inside = within_radius(real, fake, block_radii, start, lower)
        real_like |= inside.any(axis=0)
        covered.append(inside.any(axis=1))
        in_balls += int(inside.sum())
        recalled.append(within_radius(real, fake, fake_radii, start, lower).any(axis=1))
    return {
        "precision": float(real_like.mean()),
        "recall": float(np.concatenate(recalled).mean()),
        "density": in_balls / (k * len(fake)),
        "coverage": float(np.concatenate(covered).mean()),
    }
