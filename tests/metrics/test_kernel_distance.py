"""The kernel distance against loops over pairs."""

import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.metrics import kernel_distance


def kernel(x, y):
    return (float(np.dot(x.astype("float64"), y.astype("float64"))) / len(x) + 1) ** 3


def discrepancy(real, fake):
    """MMD_u^2 of Gretton et al. (2012), Eq. 3, pair by pair."""
    n, m = len(real), len(fake)
    within_real = sum(kernel(real[i], real[j]) for i in range(n) for j in range(n) if i != j)
    within_fake = sum(kernel(fake[i], fake[j]) for i in range(m) for j in range(m) if i != j)
    between = sum(kernel(x, y) for x in real for y in fake)
    return within_real / (n * (n - 1)) + within_fake / (m * (m - 1)) - 2 * between / (n * m)


def features(n, d, seed, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype("float32")


def test_two_samples_by_hand():
    # k(0, 2) = 1, k(1, 3) = 4^3, k(0, .) = 1, k(2, 1) = 3^3, k(2, 3) = 7^3.
    mean, std = kernel_distance([[0.0], [2.0]], [[1.0], [3.0]], subset_size=2, num_subsets=3)
    assert mean == pytest.approx(1 + 64 - 2 * (1 + 1 + 27 + 343) / 4)
    assert std == 0.0 and isinstance(mean, float) and isinstance(std, float)


@pytest.mark.parametrize("d", [1, 7])
def test_the_whole_set_as_a_subset(d):
    real, fake = features(30, d, 0), features(30, d, 1, shift=0.5)
    mean, std = kernel_distance(real, fake, subset_size=30, num_subsets=2)
    assert mean == pytest.approx(discrepancy(real, fake), rel=1e-5, abs=1e-6)
    assert std == pytest.approx(0, abs=1e-6)  # the same samples in another order
    back, _ = kernel_distance(fake, real, subset_size=30, num_subsets=2)
    assert back == pytest.approx(mean, rel=1e-5, abs=1e-6)


def test_subsets_are_without_replacement():
    # Sets of 4 in subsets of 3: all values that can come out, by leaving one out of each.
    real, fake = features(4, 3, 2).astype("float64"), features(4, 3, 3).astype("float64")
    possible = np.array(
        [discrepancy(np.delete(real, i, 0), np.delete(fake, j, 0))
         for i in range(4) for j in range(4)]
    )  # fmt: skip
    ones = [kernel_distance(real, fake, subset_size=3, num_subsets=1, seed=s)[0] for s in range(60)]
    distances = np.abs(np.array(ones)[:, None] - possible)
    assert distances.min(axis=1).max() < 1e-10
    assert len(set(distances.argmin(axis=1))) > 12
    mean, std = kernel_distance(real, fake, subset_size=3, num_subsets=3000)
    assert mean == pytest.approx(possible.mean(), abs=4 * possible.std() / np.sqrt(3000))
    assert std == pytest.approx(possible.std(), rel=0.1)  # over all 16: divided by their number


def test_without_bias():
    # Of one distribution: 0 on average, to both sides.
    values = [
        kernel_distance(features(20, 4, 2 * s), features(20, 4, 2 * s + 1),
                        subset_size=20, num_subsets=1)[0]
        for s in range(300)
    ]  # fmt: skip
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)
    assert min(values) < 0 < max(values)


def test_float32_is_enough():
    rng = np.random.default_rng(4)
    real, fake = np.maximum(rng.normal(size=(2, 400, 512)), 0)
    arguments = {"subset_size": 200, "num_subsets": 5}
    single = kernel_distance(real.astype("float32"), fake.astype("float32"), **arguments)
    assert single[0] == pytest.approx(kernel_distance(real, fake, **arguments)[0], abs=1e-7)


def test_the_seed_chooses_the_subsets():
    real, fake = features(50, 3, 5), features(60, 3, 6)
    arguments = {"subset_size": 10, "num_subsets": 4}
    first = kernel_distance(real, fake, **arguments)
    assert kernel_distance(real, fake, **arguments) == first
    assert kernel_distance(real, fake, seed=0, **arguments) == first
    assert kernel_distance(real, fake, seed=1, **arguments) != first
    different = {kernel_distance(real, fake, seed=None, **arguments) for _ in range(3)}
    assert len(different) == 3


GOOD = features(20, 3, 0)


@pytest.mark.parametrize(
    "fake, arguments, message",
    [
        (GOOD, {}, "at most 20, the number of samples in the smaller set. Received: subset_size="),
        (GOOD[:10], {"subset_size": 11}, "at most 10"),
        (GOOD, {"subset_size": 1}, "at least 2. Received: subset_size=1"),
        (GOOD, {"subset_size": 5.0}, "an integer of at least 2"),
        (GOOD, {"subset_size": 5, "num_subsets": 0}, "num_subsets must be"),
        (GOOD, {"subset_size": 5, "seed": -1}, "seed must be an integer of at least 0"),
        (GOOD[:, :2], {"subset_size": 5}, "same dimensions. Received: 3 and 2"),
        (GOOD[:1], {"subset_size": 5}, "at least 2 samples"),
        (GOOD * np.nan, {"subset_size": 5}, "finite"),
        (GOOD[0], {"subset_size": 5}, "shape"),
    ],
)
def test_invalid_arguments_are_refused(fake, arguments, message):
    with pytest.raises(InputError, match=message):
        kernel_distance(GOOD, fake, **arguments)
