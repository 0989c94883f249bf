"""The content loss, by hand and in a network's features."""

import keras
import numpy as np
import pytest

from keras_genimg.losses import content_loss

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.uniform(-1, 1, (2, 3, 4, 5, 2)).astype("float32")


def test_of_pixels():
    assert float(content_loss(REAL, FAKE)) == pytest.approx(np.mean((REAL - FAKE) ** 2), rel=1e-6)
    assert float(content_loss(REAL, REAL)) == 0.0


def test_of_features():
    found = content_loss(REAL, FAKE, lambda images: keras.ops.mean(images, axis=(1, 2)))
    means = REAL.mean(axis=(1, 2)) - FAKE.mean(axis=(1, 2))
    assert float(found) == pytest.approx(np.mean(means**2), rel=1e-5)


def test_of_several_maps_each_counts_the_same():
    found = content_loss(REAL, FAKE, lambda images: [images, 3.0 * images[:, :1, :1]])
    small = np.mean((REAL[:, :1, :1] - FAKE[:, :1, :1]) ** 2)
    expected = (np.mean((REAL - FAKE) ** 2) + 9.0 * small) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_features_of_low_precision_are_compared_in_float32():
    found = content_loss(REAL, FAKE, lambda images: keras.ops.cast(images, "bfloat16"))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert float(found) == pytest.approx(np.mean((REAL - FAKE) ** 2), rel=2e-2)
