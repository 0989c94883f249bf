"""GaussianMixture: densities against NumPy, the fit against what it was drawn from."""

import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.layers import GaussianMixture

RNG = np.random.default_rng(0)
CENTRES = np.array([[4.0, 0.0], [-4.0, 1.0], [0.0, -5.0]])
SPREADS = np.array([[[1.0, 0.0], [0.5, 0.3]], [[0.4, 0.0], [-0.2, 0.9]], [[0.7, 0.0], [0.0, 0.7]]])
SHARES = np.array([0.5, 0.3, 0.2])


def drawn(count):
    component = RNG.choice(3, count, p=SHARES)
    return CENTRES[component] + np.einsum(
        "nij,nj->ni", SPREADS[component], RNG.normal(size=(count, 2))
    )


def true_mixture():
    mixture = GaussianMixture(3, 2)
    for weight, value in zip(
        (mixture.shares, mixture.means, mixture.factors), (SHARES, CENTRES, SPREADS)
    ):
        weight.assign(value)
    return mixture


def test_densities():
    z = drawn(20)
    expected = np.zeros(20)
    for share, centre, spread in zip(SHARES, CENTRES, SPREADS):
        covariance = spread @ spread.T
        offsets = z - centre
        squares = np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(covariance), offsets)
        expected += (
            share * np.exp(-0.5 * squares) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
        )
    np.testing.assert_allclose(true_mixture()(z.astype("float32")), np.log(expected), rtol=1e-4)


def test_the_fit_finds_what_the_vectors_were_drawn_from():
    mixture, z = GaussianMixture(3, 2), drawn(3000)
    history = mixture.fit(z, seed=1)
    assert (np.diff(history[:-1]) > 0).all() and len(history) > 2
    order = [int(np.linalg.norm(mixture.means.numpy() - c, axis=1).argmin()) for c in CENTRES]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(mixture.means.numpy()[order], CENTRES, atol=0.15)
    np.testing.assert_allclose(mixture.shares.numpy()[order], SHARES, atol=0.03)
    factors = mixture.factors.numpy()[order]
    covariances = factors @ factors.transpose(0, 2, 1)
    np.testing.assert_allclose(covariances, SPREADS @ SPREADS.transpose(0, 2, 1), atol=0.15)
    # Held-out vectors are as likely as under the truth.
    held_out = drawn(2000).astype("float32")
    gap = np.mean(true_mixture()(held_out)) - np.mean(mixture(held_out))
    assert abs(gap) < 0.02


def test_samples_have_the_moments_of_the_mixture():
    mixture = true_mixture()
    samples = mixture.sample(20_000, (3, 0)).numpy()
    nearest = np.linalg.norm(samples[:, None] - CENTRES, axis=-1).argmin(1)
    np.testing.assert_allclose(np.bincount(nearest) / 20_000, SHARES, atol=0.015)
    for k in range(3):
        np.testing.assert_allclose(samples[nearest == k].mean(0), CENTRES[k], atol=0.1)
    np.testing.assert_array_equal(mixture.sample(7, (3, 0)), mixture.sample(7, (3, 0)))
    assert np.abs(mixture.sample(7, (4, 0)) - mixture.sample(7, (3, 0))).max() > 0.1


def test_equal_vectors_do_not_break_it():
    mixture = GaussianMixture(2, 3)
    mixture.fit(np.ones((10, 3)))
    assert np.isfinite(mixture.sample(4, (0, 0))).all()
    np.testing.assert_allclose(mixture.sample(4, (0, 0)), 1.0, atol=1e-4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: GaussianMixture(0, 2), "num_components must be a positive integer"),
        (lambda: GaussianMixture(3, 2).fit(np.zeros((3, 2))), "more than 3 vectors of length 2"),
        (lambda: GaussianMixture(3, 2).fit(np.zeros((9, 4))), "more than 3 vectors of length 2"),
        (lambda: GaussianMixture(1, 2).fit(np.full((9, 2), np.nan)), "fit takes finite vectors"),
    ],
    ids=range(4),
)
def test_what_does_not_fit(call, words):
    with pytest.raises(InputError, match=words):
        call()
