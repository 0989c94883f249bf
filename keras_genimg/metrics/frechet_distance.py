"""Fréchet distance between Gaussians fitted to two sets of features."""

import contextlib

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.errors import InputError
from keras_genimg.metrics.checks import check_dimensions, check_features, to_float_array

__all__ = ["RunningMoments", "frechet_distance", "frechet_distance_from_moments"]

BLOCK = 1024  # rows merged at a time: every merge costs (dimensions)^2 additions
COLUMNS = 256  # processed at a time, where half of a matrix is enough
EPSILON = np.finfo("float64").eps


class RunningMoments:
    """Mean and covariance of features that arrive in batches and are not stored.

    Batches are merged by their centred moments. Raw sums of squares would lose precision for
    features whose mean is large compared with their standard deviation.

    Example:
        >>> moments = RunningMoments()
        >>> for batch in np.random.normal(size=(10, 64, 8)):
        ...     moments.update(batch)
        >>> moments.count, moments.mean.shape, moments.covariance.shape
        (640, (8,), (8, 8))

    Reference: Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise
        algorithm for computing sample variances".
    """

    def __init__(self):
        self._merged = 0
        self._mean = None  # (d,)
        self._scatter = None  # (d, d): sum of the outer products of deviations
        self._waiting = []  # batches of fewer than BLOCK rows together

    @property
    def count(self) -> int:
        """int, samples so far."""
        return self._merged + sum(map(len, self._waiting))

    @property
    def dimensions(self) -> int | None:
        """int, or None before the first batch."""
        return None if self._mean is None else len(self._mean)

    @property
    def mean(self) -> np.ndarray:
        """float64 array `(dimensions,)`."""
        self._merge_at_least(1)
        return self._mean.copy()

    @property
    def covariance(self) -> np.ndarray:
        """float64 array `(dimensions, dimensions)`, divided by count - 1."""
        self._merge_at_least(2)
        return self._scatter / (self.count - 1)

    def update(self, features: ArrayLike) -> None:
        """Adds a batch; an empty one changes nothing.

        Args:
            features: array `(samples, dimensions)`.

        Raises:
            InputError: the wrong shape, NaN or infinity, or other dimensions than earlier batches.
        """
        features = check_features(features, "features", at_least=0)
        self._check_dimensions(features.shape[1])
        for start in range(0, len(features), BLOCK):
            # A copy: the caller may reuse the array for the next batch.
            self._waiting.append(features[start : start + BLOCK].astype("float64"))
            if sum(map(len, self._waiting)) >= BLOCK:
                self._merge_waiting()

    def merge(self, other: "RunningMoments") -> None:
        """Adds the samples of another object, for instance from another worker.

        Args:
            other: `RunningMoments` of features with the same dimensions.

        Raises:
            InputError: other dimensions.
        """
        if other.count:
            self._check_dimensions(other.dimensions)
            other._merge_waiting()
            self._merge_waiting()
            scatter = other._scatter.copy()  # `other` may be `self`
            self._merge_rows(other.count, other._mean, np.empty((0, other.dimensions)))
            self._scatter += scatter

    def _merge_waiting(self):
        if self._waiting:
            rows, self._waiting = np.concatenate(self._waiting), []  # (n, d)
            mean = rows.mean(axis=0)
            self._merge_rows(len(rows), mean, rows - mean)

    def _merge_rows(self, count, mean, centred):
        total = self._merged + count
        step = mean - self._mean
        # The term of the two means is the outer product of one more row, so one matrix product
        # (of which NumPy computes one triangle) is enough.
        between = step * np.sqrt(self._merged * count / total)
        rows = np.vstack([centred, between])  # (n + 1, d)
        self._scatter += rows.T @ rows
        self._mean = self._mean + step * (count / total)
        self._merged = total

    def _check_dimensions(self, dimensions):
        if self._mean is None:
            self._mean = np.zeros(dimensions)
            self._scatter = np.zeros((dimensions, dimensions))
        if self.dimensions != dimensions:
            raise InputError(
                f"Features must have {self.dimensions} dimensions, like earlier ones. "
                f"Received: {dimensions}."
            )

    def _merge_at_least(self, least):
        if self.count < least:
            raise InputError(f"Moments need at least {least} samples. Received: {self.count}.")
        self._merge_waiting()


def frechet_distance(real_features, fake_features) -> float:
    """Squared Fréchet distance between Gaussians fitted to two sets of features.

    |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) with means m and covariances S
    (divided by samples - 1) in float64. In features of the 2015 Inception graph it is the
    FID; in any others it is named after those features. It falls as samples are added, so
    report it with both sets and their sizes.

    Args:
        real_features: array `(samples, dimensions)`, an iterable of such batches, which are
            not stored, or a `RunningMoments`.
        fake_features: the same.

    Returns:
        float, 0 or more. The order of the two sets does not matter.

    Raises:
        InputError: fewer than two samples, different dimensions, NaN or infinity.

    Example:
        >>> real, fake = np.random.normal(size=(2, 500, 16))
        >>> frechet_distance(real, (fake[i : i + 50] for i in range(0, 500, 50)))  # float, ()

    Reference: Heusel et al. (2017), https://arxiv.org/abs/1706.08500
    """
    real = _summary(real_features, "real_features")
    fake = _summary(fake_features, "fake_features")
    check_dimensions(*(
        side.dimensions if isinstance(side, RunningMoments) else side.shape[1]
        for side in (real, fake)
    ))
    if isinstance(real, RunningMoments) and isinstance(fake, RunningMoments):
        return frechet_distance_from_moments(real.mean, real.covariance, fake.mean, fake.covariance)
    # Fewer samples than dimensions: S = A'A with A the centred samples over sqrt(samples - 1),
    # and the trace of the root is the nuclear norm of A_1 A_2'. That is exact for a singular
    # covariance and needs no matrix of (dimensions)^2.
    mean_1, root_1 = _mean_and_root(real)
    mean_2, root_2 = _mean_and_root(fake)
    traces = np.sum(root_1**2) + np.sum(root_2**2)
    return _distance(mean_1 - mean_2, traces, np.linalg.norm(root_1 @ root_2.T, "nuc"))


def frechet_distance_from_moments(
    mean_1: ArrayLike, cov_1: ArrayLike, mean_2: ArrayLike, cov_2: ArrayLike
) -> float:
    """`frechet_distance` of Gaussians with known means and covariances.

    Args:
        mean_1: array `(dimensions,)`.
        cov_1: array `(dimensions, dimensions)`, symmetric; it may be singular.
        mean_2: array `(dimensions,)`.
        cov_2: array `(dimensions, dimensions)`.

    Returns:
        float, 0 or more.

    Raises:
        InputError: inconsistent shapes, NaN or infinity, or a matrix that is not a covariance.

    Example:
        >>> frechet_distance_from_moments([0.0], [[4.0]], [3.0], [[1.0]])  # 3^2 + (2 - 1)^2
        10.0
    """
    mean_1, cov_1 = _check_moments(mean_1, cov_1, 1)
    mean_2, cov_2 = _check_moments(mean_2, cov_2, 2)
    if len(mean_1) != len(mean_2):
        raise InputError(
            "The two Gaussians must have the same dimensions. "
            f"Received: {len(mean_1)} and {len(mean_2)}."
        )
    traces = np.trace(cov_1) + np.trace(cov_2)
    return _distance(mean_1 - mean_2, traces, _trace_of_root(cov_1, cov_2))


def _distance(difference, traces, trace_of_root):
    # Negative by rounding only.
    return float(max(difference @ difference + traces - 2.0 * trace_of_root, 0.0))


def _trace_of_root(cov_1, cov_2):
    """tr((S_1 S_2)^(1/2)): the sum of the roots of the eigenvalues of S_1 S_2."""
    with contextlib.suppress(np.linalg.LinAlgError):
        # S_1 = LL', and S_1 S_2 has the eigenvalues of the symmetric L' S_2 L: no general
        # eigenvalue solve, no matrix root.
        lower = np.linalg.cholesky(cov_1)
        eigenvalues = np.linalg.eigvalsh(_lower_half_of_product(lower, cov_2))
        # The rounding error of an eigenvalue is about epsilon times the largest, and the roots
        # of those near 0 magnify it. Singular values are roots already: slower, but exact there.
        if not (eigenvalues[0] < 8.0 * EPSILON * eigenvalues[-1] or eigenvalues[-1] <= 0.0):
            return np.sqrt(eigenvalues).sum()
    return np.linalg.norm(_covariance_root(cov_1, 1) @ _covariance_root(cov_2, 2).T, "nuc")


def _lower_half_of_product(lower, covariance):
    """The lower triangle of L' S L, the only part that `eigvalsh` reads; L is triangular."""
    product = np.zeros_like(lower)
    for start in range(0, len(lower), COLUMNS):
        columns = lower[start:, start : start + COLUMNS]  # L is 0 above
        product[start:, start : start + COLUMNS] = lower[start:, start:].T @ (
            covariance[start:, start:] @ columns
        )
    return product


def _covariance_root(covariance, number):
    """A `(rank, dimensions)` such that A'A is the covariance."""
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:
        eigenvalues, vectors = np.linalg.eigh(covariance)
    largest = max(eigenvalues[-1], 0.0)
    if eigenvalues[0] < -1e-4 * largest or eigenvalues[-1] < 0.0:
        raise InputError(
            f"cov_{number} must be a covariance, without negative eigenvalues. "
            f"Received: eigenvalues from {eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g}."
        )
    # Anything smaller is rounding error, and its root would not be small.
    kept = eigenvalues > len(covariance) * EPSILON * largest
    return (vectors[:, kept] * np.sqrt(eigenvalues[kept])).T  # (d, rank) -> (rank, d)


def _check_moments(mean, covariance, number):
    mean = to_float_array(mean, f"mean_{number}").astype("float64", copy=False)
    covariance = to_float_array(covariance, f"cov_{number}").astype("float64", copy=False)
    if mean.ndim != 1 or mean.size == 0 or covariance.shape != 2 * mean.shape:
        raise InputError(
            f"mean_{number} must have the shape (dimensions,) and cov_{number} the shape "
            f"(dimensions, dimensions). Received: {mean.shape} and {covariance.shape}."
        )
    asymmetry = max(  # by strips: a transposed copy would cost as much as the Cholesky
        np.abs(covariance[i : i + COLUMNS, i:] - covariance[i:, i : i + COLUMNS].T).max()
        for i in range(0, len(mean), COLUMNS)
    )
    if asymmetry > 1e-5 * max(covariance.max(), -covariance.min()):
        raise InputError(
            f"cov_{number} must be symmetric. Received: entries that differ by {asymmetry:.3g} "
            "from their mirror images."
        )
    return mean, covariance


def _is_one_array(features):
    if hasattr(features, "shape"):
        return True
    # Lists of numbers are rows; a list of arrays with two axes is a stream of batches.
    return isinstance(features, (list, tuple)) and not (features and np.ndim(features[0]) == 2)


def _summary(features, name):
    """`RunningMoments`, or the samples themselves if they are fewer than the dimensions."""
    moments, batches = RunningMoments(), features
    if isinstance(features, RunningMoments):
        moments, batches = features, ()
    elif _is_one_array(features):
        features = check_features(features, name)
        if len(features) < features.shape[1]:
            return features.astype("float64")
        batches = [features]
    try:
        batches = iter(batches)
    except TypeError:
        raise InputError(
            f"{name} must be an array, an iterable of batches or a RunningMoments. "
            f"Received: {type(features).__name__}."
        ) from None
    for batch in batches:
        moments.update(batch)
    if moments.count < 2:
        raise InputError(f"{name} must hold at least 2 samples. Received: {moments.count}.")
    return moments


def _mean_and_root(side):
    if isinstance(side, RunningMoments):
        return side.mean, _covariance_root(side.covariance, 1)
    mean = side.mean(axis=0)
    return mean, (side - mean) / np.sqrt(len(side) - 1)  # (n, d)
