"""The content loss and the perceptual loss, by hand and in a network's features."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.losses import content_loss, perceptual_loss

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


def test_features_of_length_1():
    """Two positions of two features: unit vectors at 90 degrees, and one direction twice."""
    real = np.float32([[[[3.0, 0.0], [1.0, 1.0]]]])  # (1, 1, 2, 2)
    fake = np.float32([[[[0.0, 0.1], [5.0, 5.0]]]])
    assert float(perceptual_loss(real, fake, lambda images: images)) == pytest.approx((2 + 0) / 2)
    # However large the features are; several maps add up.
    both = perceptual_loss(real, fake, lambda images: [100.0 * images, -images[:, :, :1]])
    assert float(both) == pytest.approx(1 + 2)


def test_images_without_a_difference_and_positions_without_a_feature():
    def network(images):
        return [keras.ops.relu(images), keras.ops.zeros_like(images)]

    assert float(perceptual_loss(REAL, REAL, network)) == 0.0
    given = tf.constant(FAKE)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = perceptual_loss(REAL, given, network)
    assert float(loss) > 0.1 and np.isfinite(tape.gradient(loss, given)).all()


def test_perceptual_loss_is_twice_the_cosine_distance():
    found = perceptual_loss(REAL, FAKE, lambda images: keras.ops.cast(images, "bfloat16"))
    lengths = np.linalg.norm(REAL, axis=-1) * np.linalg.norm(FAKE, axis=-1)
    cosine = np.sum(REAL * FAKE, -1) / lengths
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert float(found) == pytest.approx(np.mean(2 - 2 * cosine), rel=1e-2)
