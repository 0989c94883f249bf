"""The memorisation report against distances one by one."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.metrics import memorization, nearest_training_images


def images(count, seed, size=6, channels=2):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, size, size, channels)).astype("float32")


def by_loops(samples, training):
    found = [
        [np.sqrt(np.sum((x.astype("float64") - y) ** 2)) for y in training] for x in samples
    ]
    return np.min(found, axis=1), np.argmin(found, axis=1)


def test_nearest():
    samples, training = images(30, 0), images(80, 1)
    report = nearest_training_images(samples, training)
    distances, indices = by_loops(samples, training)
    np.testing.assert_allclose(report["distances"], distances, rtol=1e-12)
    np.testing.assert_array_equal(report["indices"], indices)
    np.testing.assert_array_equal(report["images"], training[indices])
    assert report["median_distance"] == pytest.approx(np.median(distances))
    assert set(report) == {"distances", "indices", "images", "median_distance"}


def test_copies_are_found_at_0():
    training = images(50, 2)
    training[40] = training[7]
    samples = training[[7, 3, 49]]
    report = nearest_training_images(samples, training)
    assert report["distances"].tolist() == [0.0, 0.0, 0.0]
    assert report["indices"].tolist() == [7, 3, 49]  # the first of two equal images
    # A copy with 0.25 added to one pixel is a quarter away.
    samples[1, 2, 3, 0] += 0.25
    assert nearest_training_images(samples, training)["distances"][1] == pytest.approx(0.25)


@pytest.mark.parametrize("values", [1, 72 * 7, 10**6])
def test_any_way_of_giving_the_training_set(values, monkeypatch):
    monkeypatch.setattr(memorization, "PIECE_VALUES", values)
    samples, training = images(10, 3), images(33, 4)
    training[30] = training[2]
    samples[0] = training[2]
    want, indices = by_loops(samples, training)
    dataset = tf.data.Dataset.from_tensor_slices(training).batch(8)
    labelled = tf.data.Dataset.from_tensor_slices((training, np.arange(33))).batch(8)
    for given in (training, tf.constant(training), np.array_split(training, 4), dataset, labelled):
        report = nearest_training_images(samples, given)
        np.testing.assert_allclose(report["distances"], want, rtol=1e-12)
        np.testing.assert_array_equal(report["indices"], indices)
        np.testing.assert_array_equal(report["images"], training[indices])


def test_comparison_with_held_out_images():
    samples, training, held_out = images(40, 5), images(60, 6), images(30, 7)
    report = nearest_training_images(samples, training, held_out)
    natural, _ = by_loops(held_out, training)
    np.testing.assert_allclose(report["held_out_distances"], natural, rtol=1e-12)
    assert report["held_out_median_distance"] == pytest.approx(np.median(natural))
    assert report["distances"].shape == (40,) and report["images"].shape == samples.shape
    pairs = report["distances"][:, None] < natural
    assert report["nearer_than_held_out"] == pytest.approx(pairs.mean())
    assert 0.35 < report["nearer_than_held_out"] < 0.65
    assert report["share_of_copies"] == np.mean(report["distances"] < natural.min())


def test_a_model_that_memorised():
    training, held_out = images(100, 8), images(200, 9)
    noise = 0.01 * images(50, 10)
    report = nearest_training_images(training[:50] + noise, training, held_out)
    assert report["nearer_than_held_out"] == 1.0 and report["share_of_copies"] == 1.0
    assert report["median_distance"] < report["held_out_median_distance"] / 10
    # Half of the samples copied.
    mixed = np.concatenate([training[:50], images(50, 11)])
    report = nearest_training_images(mixed, training, held_out)
    assert 0.5 <= report["share_of_copies"] < 0.6
    # Equally near counts half.
    report = nearest_training_images(held_out, training, held_out)
    assert report["nearer_than_held_out"] == pytest.approx(0.5)
    assert report["share_of_copies"] <= 0.01


def test_distances_between_features():
    samples, training = images(20, 12), images(300, 13)
    calls = []

    def features(batch):
        calls.append(len(batch))
        return tf.reduce_mean(batch, axis=(1, 2))

    report = nearest_training_images(samples, training, features=features)
    want, indices = by_loops(samples.mean(axis=(1, 2)), training.mean(axis=(1, 2)))
    np.testing.assert_allclose(report["distances"], want, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(report["images"], training[report["indices"]])
    assert np.mean(report["indices"] == indices) > 0.9
    assert max(calls) <= 256 and sum(calls) == 320


GOOD = images(4, 0)


@pytest.mark.parametrize(
    "training, held_out, message",
    [
        (GOOD[:, :5], None, r"images of the same shape as the samples, \(6, 6, 2\)"),
        (GOOD, GOOD[..., :1], r"held_out must be .* same shape .* Received: \(6, 6, 1\)"),
        (GOOD[:0], None, "training must be at least one image"),
        (iter([]), None, "training must hold at least one image"),
        (GOOD * np.nan, None, "training must be finite"),
        (GOOD[0], None, "training must be at least one image"),
    ],
)
def test_invalid_images_are_refused(training, held_out, message):
    with pytest.raises(InputError, match=message):
        nearest_training_images(GOOD, training, held_out)


def test_invalid_features_are_refused():
    with pytest.raises(InputError, match="features of samples must have the shape"):
        nearest_training_images(GOOD, GOOD, features=lambda batch: batch)
