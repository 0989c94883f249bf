"""The Fréchet distance against closed forms, and roots by eigen-decomposition."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.metrics import (
    RunningMoments,
    frechet_distance,
    frechet_distance_from_moments,
)


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def covariance(d, seed=0):
    root = np.random.default_rng(seed).normal(size=(d, 2 * d))
    return root @ root.T / d


def matrix_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def by_matrix_roots(mean_1, cov_1, mean_2, cov_2):
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2) (Dowson and Landau)."""
    half = matrix_root(cov_1)
    cross = matrix_root(half @ cov_2 @ half)
    return np.sum((mean_1 - mean_2) ** 2) + np.trace(cov_1 + cov_2 - 2 * cross)


def from_samples(real, fake):
    real, fake = np.asarray(real, "float64"), np.asarray(fake, "float64")
    moments = [(x.mean(axis=0), np.cov(x, rowvar=False, ddof=1)) for x in (real, fake)]
    return by_matrix_roots(*moments[0], *moments[1])


def features(n, d, seed, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d)
    return (scale * mixed + shift).astype("float32")


def test_one_dimension_by_hand():
    # (m1 - m2)^2 + (s1 - s2)^2
    assert frechet_distance_from_moments([0.0], [[4.0]], [3.0], [[1.0]]) == pytest.approx(10.0)
    # Means 1 and 5; variances 2 (divided by 1, not by 2) and 8.
    found = frechet_distance([[0.0], [2.0]], [[3.0], [7.0]])
    assert isinstance(found, float)
    assert found == pytest.approx(16 + (np.sqrt(2) - np.sqrt(8)) ** 2)


def test_covariances_that_commute():
    # In common eigenvectors the distance is that of the roots of the eigenvalues.
    rng, q = np.random.default_rng(1), rotation(12)
    a, b = rng.uniform(0.1, 3, (2, 12))
    means = rng.normal(size=(2, 12))
    found = frechet_distance_from_moments(means[0], q * a @ q.T, means[1], q * b @ q.T)
    want = np.sum((means[0] - means[1]) ** 2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    assert found == pytest.approx(want, rel=1e-10)


def test_covariances_that_do_not():
    mean_1, mean_2 = np.random.default_rng(2).normal(size=(2, 20))
    moments = mean_1, covariance(20, 3), mean_2, covariance(20, 4)
    assert frechet_distance_from_moments(*moments) == pytest.approx(
        by_matrix_roots(*moments), rel=1e-10
    )


def test_more_dimensions_than_a_block_of_columns():
    zeros, cov_1, cov_2 = np.zeros(600), covariance(600, 3), covariance(600, 4)
    found = frechet_distance_from_moments(zeros, cov_1, zeros, cov_2)
    assert found == pytest.approx(by_matrix_roots(zeros, cov_1, zeros, cov_2), rel=1e-10)


def test_against_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    cov_1, cov_2, zero = covariance(30, 3), covariance(30, 4), np.zeros(30)
    root = linalg.sqrtm(cov_1 @ cov_2).real
    want = np.trace(cov_1 + cov_2 - 2 * root)
    assert frechet_distance_from_moments(zero, cov_1, zero, cov_2) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("n, m", [(200, 150), (12, 9), (12, 90), (90, 12), (31, 30), (2, 2)])
def test_features_many_or_fewer_than_dimensions(n, m):
    real, fake = features(n, 30, 5), features(m, 30, 6, scale=1.3, shift=0.2)
    found = frechet_distance(real, fake)
    assert found == pytest.approx(from_samples(real, fake), rel=1e-6)
    # Streams never hold the samples, so few samples go by a singular covariance instead.
    streamed = frechet_distance(np.array_split(real, 2), iter(np.array_split(fake, 2)))
    assert streamed == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("n", [500, 40, 5])
def test_identical_sets_are_at_0(n):
    real = features(n, 40, 7, scale=10)
    spread = np.trace(np.cov(real, rowvar=False))
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-10 * spread)
    assert frechet_distance(real, real[::-1]) == pytest.approx(0, abs=1e-10 * spread)
    assert frechet_distance([real], [real]) == pytest.approx(0, abs=1e-10 * spread)


def test_singular_covariances_from_moments():
    q, zeros = rotation(10), np.zeros(10)
    a = np.array([3.0, 2, 1, 1, 0.5, 0, 0, 0, 0, 0])
    b = np.array([0, 0, 1.0, 4, 0.5, 2, 0, 0, 0, 0])
    want = np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    found = frechet_distance_from_moments(zeros, q * a @ q.T, zeros, q * b @ q.T)
    assert found == pytest.approx(want, rel=1e-7)
    # One point each, and a point beside a spread.
    nothing = np.zeros((10, 10))
    assert frechet_distance_from_moments(zeros, nothing, zeros + 1, nothing) == pytest.approx(10)
    assert frechet_distance_from_moments(zeros, nothing, zeros, np.eye(10)) == pytest.approx(10)


def test_nearly_singular_covariances_keep_their_precision():
    # The eigenvalues of the product go down to 4 epsilon: their roots lose digits that the
    # covariances themselves still have.
    q, zeros = rotation(200), np.zeros(200)
    spread = np.full(200, 3e-8)
    spread[0] = 1.0
    cov = (q * spread) @ q.T
    cov = (cov + cov.T) / 2
    assert frechet_distance_from_moments(zeros, cov, zeros, cov) < 1e-12
    # Nine times the covariance: every root is three times the spread.
    found = frechet_distance_from_moments(zeros, cov, zeros, 9 * cov)
    assert found == pytest.approx(4 * np.trace(cov), rel=1e-12)


def test_symmetric_and_of_the_second_degree():
    real, fake = features(100, 20, 8), features(80, 20, 9, shift=0.5)
    found = frechet_distance(real, fake)
    assert frechet_distance(fake, real) == pytest.approx(found, rel=1e-9)
    assert frechet_distance(4 * real, 4 * fake) == pytest.approx(16 * found, rel=1e-9)
    q = rotation(20)
    assert frechet_distance(real @ q + 3, fake @ q + 3) == pytest.approx(found, rel=1e-5)


def test_moments_of_batches():
    x = features(1000, 6, 10, shift=3)
    moments = RunningMoments()
    assert moments.count == 0 and moments.dimensions is None
    for batch in np.split(x, [1, 1, 7, 500]):  # of 1, 0, 6, 493 and 500
        moments.update(batch)
    assert moments.count == 1000 and moments.mean.dtype == np.float64
    np.testing.assert_allclose(moments.mean, x.mean(axis=0, dtype="float64"), rtol=1e-12)
    want = np.cov(x.astype("float64"), rowvar=False, ddof=1)
    np.testing.assert_allclose(moments.covariance, want, rtol=1e-10)

    parts = [RunningMoments() for _ in range(3)]  # the last one stays empty
    parts[0].update(x[:300])
    parts[1].update(x[300:])
    parts[0].merge(parts[2])
    parts[2].merge(parts[0])
    parts[2].merge(parts[1])
    np.testing.assert_allclose(parts[2].covariance, want, rtol=1e-10)
    assert parts[2].count == 1000 and parts[0].count == 300
    parts[0].merge(parts[0])
    want = np.cov(np.concatenate([x[:300]] * 2).astype("float64"), rowvar=False, ddof=1)
    np.testing.assert_allclose(parts[0].covariance, want, rtol=1e-10)


@pytest.mark.parametrize("sizes", [(64,) * 20, (3000, 5, 1500), (1,) * 40])
def test_batches_of_any_size(sizes):
    x = features(sum(sizes), 5, 14, shift=2)
    moments, start, buffer = RunningMoments(), 0, np.empty((max(sizes), 5), "float32")
    for size in sizes:
        buffer[:size] = x[start : start + size]
        moments.update(buffer[:size])  # an array that is reused
        start += size
        assert moments.count == start
        if size == 1500:
            moments.mean  # reading in between changes nothing
    want = np.cov(x.astype("float64"), rowvar=False)
    np.testing.assert_allclose(moments.covariance, want, rtol=1e-10)
    np.testing.assert_allclose(moments.mean, x.mean(axis=0, dtype="float64"), rtol=1e-12)


def test_a_large_mean_loses_no_precision():
    # Raw sums of squares of numbers near 1e8 would leave no digit of a variance of 1.
    x = np.random.default_rng(11).normal(size=(600, 3))
    moments = RunningMoments()
    for batch in np.split(x + 1e8, 6):
        moments.update(batch)
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False), rtol=1e-6, atol=1e-7)


def test_streams_of_every_kind():
    real, fake = features(300, 8, 12), features(300, 8, 13, scale=2)
    want = frechet_distance(real, fake)
    moments = RunningMoments()
    moments.update(fake)
    dataset = tf.data.Dataset.from_tensor_slices(fake).batch(64)
    for given in (moments, dataset, (fake[i : i + 7] for i in range(0, 300, 7)),
                  list(np.split(fake, 3)), tf.constant(fake), fake.tolist()):  # fmt: skip
        assert frechet_distance(real, given) == pytest.approx(want, rel=1e-9)


GOOD = features(20, 3, 0)


@pytest.mark.parametrize(
    "bad, message",
    [
        (GOOD[:1], "fake_features must hold at least 2 samples. Received: 1"),
        ([GOOD[:1]], "fake_features must hold at least 2 samples. Received: 1"),
        (iter([]), "at least 2 samples. Received: 0"),
        (RunningMoments(), "at least 2 samples. Received: 0"),
        (GOOD[:, :2], "same dimensions. Received: 3 and 2"),
        ([GOOD, GOOD[:, :2]], "must have 3 dimensions, like earlier ones. Received: 2"),
        (GOOD * np.array([1, np.nan, 1]), "NaN or infinity in 20 of 60"),
        (GOOD * np.array([1, np.inf, 1]), "finite"),
        (GOOD[:, 0], r"shape \(samples, dimensions\). Received: shape=\(20,\)"),
        (GOOD.reshape(5, 4, 3), r"shape=\(5, 4, 3\)"),
        (np.full((3, 3), "a"), "must be numbers. Received: dtype=<U1"),
        ([[1.0, 2.0], [3.0]], "rows of one length"),
        (7, "an array, an iterable of batches or a RunningMoments. Received: int"),
    ],
)
def test_invalid_features_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        frechet_distance(GOOD, bad)


@pytest.mark.parametrize(
    "mean, cov, message",
    [
        (np.zeros(3), np.eye(3), "same dimensions. Received: 2 and 3"),
        (np.zeros((1, 2)), np.eye(2), "shape"),
        (np.zeros(2), np.ones(2), "shape"),
        (np.zeros(2), [[1, 2], [0, 1]], "cov_2 must be symmetric"),
        (np.zeros(2), [[1, 2], [2, 1]], "without negative eigenvalues. Received: .* -1 to 3"),
        (np.zeros(2), -np.eye(2), "without negative eigenvalues"),
        (np.zeros(2), [[np.nan, 0], [0, 1]], "finite"),
    ],
)
def test_invalid_moments_are_refused(mean, cov, message):
    with pytest.raises(InputError, match=message):
        frechet_distance_from_moments(np.zeros(2), np.eye(2), mean, cov)


def test_moments_of_too_few_are_refused():
    moments = RunningMoments()
    with pytest.raises(InputError, match="at least 1 samples. Received: 0"):
        moments.mean
    moments.update(GOOD[:1])
    assert moments.mean.shape == (3,)
    with pytest.raises(InputError, match="at least 2 samples. Received: 1"):
        moments.covariance
