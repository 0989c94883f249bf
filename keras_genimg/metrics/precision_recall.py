"""Precision, recall, density and coverage of pictures by nearest neighbours."""

import numpy as np

from keras_genimg.metrics.checks import check_count, check_pair
from keras_genimg.metrics.neighbors import PointSets, nearest_neighbors, within_radius

__all__ = ["precision_recall_density_coverage"]


def precision_recall_density_coverage(*, real_features, fake_features, k=5):
    """How much of the fakes is real-looking, and how much of the real ones they cover.

    The ball around a sample reaches to its k-th nearest neighbour in its own set, itself
    not counted. A sample is in a ball if it is strictly nearer than the radius.

    - precision: share of fake samples in any ball of a real one;
    - recall: share of real samples in any ball of a fake one;
    - density: balls of real samples that a fake one is in, over k, averaged over the fakes
      (1 for two sets alike, and it can be more);
    - coverage: share of real samples with a fake one in their ball.

    All four follow the code that came with density and coverage: k = 5 and a strict
    inequality. The paper of the improved precision and recall has k = 3 and counts a sample
    at the radius itself; on features that differ from each other only k matters. A real
    sample with k copies has a ball with nothing in it.

    Args:
        real_features: array `(samples, dimensions)`. By name only: precision and recall
            trade places if the two sets do.
        fake_features: array `(samples, dimensions)`.
        k: int. Neighbours.

    Returns:
        dict of floats: precision, recall, density, coverage.

    Raises:
        InputError: fewer than two samples, different dimensions, NaN or infinity, or no
            k-th neighbour because a set has only k samples.

    Example:
        >>> real, fake = np.random.normal(size=(2, 500, 16))
        >>> sorted(precision_recall_density_coverage(real_features=real, fake_features=fake))
        ['coverage', 'density', 'precision', 'recall']

    Reference: Kynkaanniemi et al. (2019), https://arxiv.org/abs/1904.06991 (precision,
        recall); Naeem et al. (2020), https://arxiv.org/abs/2002.09797 (density, coverage).
    """
    real, fake = check_pair(real_features, fake_features)
    most = min(len(real), len(fake)) - 1
    k = check_count(k, "k", 1, most, ", one less than the samples of the smaller set")
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
