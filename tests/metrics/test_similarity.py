"""PSNR and SSIM against their formulas in NumPy."""

import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.metrics import peak_signal_to_noise_ratio, similarity, structural_similarity

RNG = np.random.default_rng(0)
REAL = RNG.uniform(-1, 1, (5, 14, 12, 3)).astype("float32")
FAKE = np.clip(REAL + RNG.normal(0, [[[[0.05]]], [[[0.1]]], [[[0.2]]], [[[0.4]]], [[[0.0]]]],
                                 REAL.shape), -1, 1).astype("float32")


def ssim_of(real, fake):
    """One channel of one image, window by window, from Eq. 13 of Wang et al., on [0, 1]."""
    real, fake = (real + 1) / 2, (fake + 1) / 2
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for i in range(real.shape[0] - 10):
        for j in range(real.shape[1] - 10):
            x, y = (a[i : i + 11, j : j + 11].astype("float64") for a in (real, fake))
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            cov = (weights * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + c1) * (2 * cov + c2)
                          / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_psnr_by_its_formula():
    found = peak_signal_to_noise_ratio(REAL, FAKE)
    errors = np.mean((REAL[:4].astype("float64") - FAKE[:4]) ** 2, axis=(1, 2, 3))
    assert found.shape == (5,) and found.dtype == np.float32
    np.testing.assert_allclose(found[:4], 10 * np.log10(4 / errors), rtol=1e-5)
    assert found[4] == np.inf
    # An error of 0.2 everywhere: 10 log10(4 / 0.04) = 20 dB.
    twenty = peak_signal_to_noise_ratio(np.zeros((2, 4, 4, 1)), np.full((2, 4, 4, 1), 0.2))
    np.testing.assert_allclose(twenty, 20.0, rtol=1e-6)


def test_ssim_by_its_formula():
    found = structural_similarity(REAL, FAKE)
    assert found.shape == (5,) and found.dtype == np.float32
    for index in range(4):
        channels = [ssim_of(REAL[index, ..., c], FAKE[index, ..., c]) for c in range(3)]
        assert found[index] == pytest.approx(np.mean(channels), abs=1e-4)
    assert found[4] == pytest.approx(1.0, abs=1e-6)
    assert (np.diff(found[:4]) < 0).all()  # more noise, less similarity


@pytest.mark.parametrize("function", [peak_signal_to_noise_ratio, structural_similarity])
def test_batches_change_nothing(function, monkeypatch):
    whole = function(REAL, FAKE)
    monkeypatch.setattr(similarity, "BATCH", 2)
    np.testing.assert_allclose(function(REAL, FAKE), whole, rtol=1e-6)


@pytest.mark.parametrize("function", [peak_signal_to_noise_ratio, structural_similarity])
@pytest.mark.parametrize(
    "real, fake, words",
    [
        (REAL, FAKE[:4], "the same shape, one pair per row. Received: (5, 14, 12, 3) and (4,"),
        (REAL[0], FAKE[0], "real_images must be images of shape (n, height, width, channels)."),
        (REAL[:0], FAKE[:0], "Received: shape=(0, 14, 12, 3)."),
        (REAL, 127.5 * (FAKE + 1), "fake_images must be images in [-1, 1]"),
        (REAL, np.full_like(FAKE, np.nan), "fake_images must be finite numbers."),
        ([["a"]], FAKE, "real_images must be numbers."),
    ],
    ids=range(6),
)
def test_invalid_images_are_refused(function, real, fake, words):
    with pytest.raises(InputError) as caught:
        function(real, fake)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_images_below_the_window_of_ssim_are_refused():
    small = np.zeros((2, 10, 12, 1))
    with pytest.raises(InputError, match="at least 11x11 pixels.*Received: 10x12"):
        structural_similarity(small, small)
    assert peak_signal_to_noise_ratio(small, small).tolist() == [np.inf, np.inf]
