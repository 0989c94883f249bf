"""Precision, recall, density and coverage against distances one by one."""

import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.metrics import neighbors, precision_recall_density_coverage


def distances(a, b):
    """Squared, from differences in float64."""
    a, b = a.astype("float64"), b.astype("float64")
    return np.array([[np.sum((x - y) ** 2) for y in b] for x in a])


def by_loops(real, fake, k):
    """The reference code's definitions, from full matrices."""
    radii = []
    for x in (real, fake):
        own = distances(x, x)
        np.fill_diagonal(own, np.inf)
        radii.append(np.sort(own, axis=1)[:, k - 1])
    cross = distances(real, fake)
    in_real = cross < radii[0][:, None]
    return {
        "precision": in_real.any(axis=0).mean(),
        "recall": (cross < radii[1][None, :]).any(axis=1).mean(),
        "density": in_real.sum(axis=0).mean() / k,
        "coverage": (cross.min(axis=1) < radii[0]).mean(),
    }


def check(real, fake, k):
    found = precision_recall_density_coverage(real_features=real, fake_features=fake, k=k)
    assert found == pytest.approx(by_loops(real, fake, k), rel=1e-12)
    return found


def features(n, d, seed, scale=1.0, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * scale + shift).astype("float32")


def test_on_a_line_by_hand():
    real = np.array([[0.0], [1.0], [3.0], [10.0]])  # radii for k = 1: 1, 1, 2, 7
    fake = np.array([[0.5], [2.0], [50.0]])  # radii: 1.5, 1.5, 48
    found = precision_recall_density_coverage(real_features=real, fake_features=fake, k=1)
    # 0.5 is in the balls of 0 and 1 (3 is 2.5 away); 2 in that of 3 alone: it is at the very
    # radius of 1, and 8 from 10. 50 is in none.
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["density"] == pytest.approx(3 / 3)
    assert found["coverage"] == pytest.approx(3 / 4)  # 10 has 2 at 8, beyond 7
    assert found["recall"] == pytest.approx(4 / 4)  # 10 is within 48 of 50
    assert all(isinstance(value, float) for value in found.values())


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("n, m, d", [(60, 45, 2), (40, 70, 1), (50, 50, 33)])
def test_any_features(n, m, d, k):
    check(features(n, d, k), features(m, d, k + 10, scale=0.8, shift=0.2), k)


def test_default_is_five():
    real, fake = features(60, 3, 0), features(60, 3, 1)
    found = precision_recall_density_coverage(real_features=real, fake_features=fake)
    assert found == pytest.approx(by_loops(real, fake, 5))
    assert found != pytest.approx(by_loops(real, fake, 3))


@pytest.mark.parametrize("seed", range(5))
def test_ties(seed):
    # On a grid most radii are met exactly: a strict inequality must see it.
    rng = np.random.default_rng(seed)
    real, fake = rng.integers(0, 4, (2, 50, 3)).astype("float32") * 3 + 1
    check(real, fake, 5)


@pytest.mark.parametrize("shift, scale", [(1e4, 1.0), (0.0, 1e-25), (0.0, 1e25), (-3e3, 0.1)])
def test_far_from_0_and_in_any_unit(shift, scale):
    real, fake = features(60, 4, 2, scale, shift), features(50, 4, 3, 0.9 * scale, shift)
    if 1e-3 < scale < 1e3:
        check(real, fake, 4)
    else:
        found = precision_recall_density_coverage(real_features=real, fake_features=fake, k=4)
        plain = by_loops(real.astype("float64") / scale, fake.astype("float64") / scale, 4)
        assert found == pytest.approx(plain)


def test_clusters_tighter_than_the_rounding_of_float32():
    # Two clusters a thousand apart, each 1e-4 wide: their inner distances are the rounding of
    # float32 products, and only the differences themselves tell them apart.
    rng = np.random.default_rng(4)
    places = np.where(rng.random((2, 150, 1)) < 0.5, 0.0, 1000.0)
    real, fake = places + 1e-4 * rng.normal(size=(2, 150, 5))
    found = check(real, fake, 5)
    assert 0.5 < found["precision"] < 1.0


def test_many_blocks(monkeypatch):
    real, fake = features(83, 6, 5), features(61, 6, 6)
    for values in (1, 100, 1000):
        monkeypatch.setattr(neighbors, "BLOCK_VALUES", values)
        monkeypatch.setattr(neighbors, "PAIR_VALUES", values)
        monkeypatch.setattr(neighbors, "CROWDED", values // 100)
        check(real, fake, 3)


def test_identical_sets():
    real = features(200, 5, 7)
    found = check(real, real.copy(), 5)
    assert found == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}


def test_copies():
    # k + 1 copies of a sample leave its ball empty, in one set or in both.
    real = np.repeat(features(10, 4, 8), 6, axis=0)
    assert set(check(real, real, 5).values()) == {0.0}
    constant = np.ones((300, 4), "float32")
    assert set(check(constant, constant, 5).values()) == {0.0}
    check(features(60, 4, 9), real, 5)
    check(real, features(60, 4, 9), 5)


def test_lost_modes_and_stray_samples():
    # Fakes on one of two modes: precise, half recalled. Fakes on a third: half precise.
    modes = np.repeat([[0.0, 0.0], [100.0, 0.0]], 100, axis=0)
    real = features(200, 2, 10) + modes
    dropped = features(200, 2, 11)
    found = check(real, dropped, 5)
    assert found["precision"] > 0.9 and 0.4 < found["recall"] < 0.6 and found["coverage"] < 0.6
    stray = features(200, 2, 12) + modes * [[-5.0, 1.0]]
    found = check(real, stray, 5)
    assert 0.4 < found["precision"] < 0.6


def test_swapped_sets_swap_precision_and_recall():
    real, fake = features(60, 3, 13), features(50, 3, 14, scale=0.5)
    one = precision_recall_density_coverage(real_features=real, fake_features=fake)
    other = precision_recall_density_coverage(real_features=fake, fake_features=real)
    assert one["precision"] == other["recall"] and one["recall"] == other["precision"]
    assert one["precision"] != one["recall"]
    with pytest.raises(TypeError, match="positional"):
        precision_recall_density_coverage(real, fake)


GOOD = features(20, 3, 0)


@pytest.mark.parametrize(
    "fake, k, message",
    [
        (GOOD, 20, "at most 19, one less than the number of samples in the smaller set"),
        (GOOD[:5], 5, "at most 4"),
        (GOOD, 0, "k=0"),
        (GOOD, 2.5, "a positive integer"),
        (GOOD[:1], 1, "at least 2 samples. Received: 1"),
        (GOOD[:, :2], 1, "same dimensions. Received: 3 and 2"),
        (GOOD * np.nan, 1, "finite"),
        (GOOD[None], 1, "shape"),
    ],
)
def test_invalid_arguments_are_refused(fake, k, message):
    with pytest.raises(InputError, match=message):
        precision_recall_density_coverage(real_features=GOOD, fake_features=fake, k=k)
