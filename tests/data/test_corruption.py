"""Corrupted images: what is removed, for which seed, and pass by pass."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import data
from keras_genimg.data import corrupt, corrupted_pairs, corrupted_shape, load
from keras_genimg.errors import InputError

SEED = tf.constant([3, 8], tf.int64)


def random_images(count, height=12, width=17, channels=3):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (count, height, width, channels)).astype("float32")


def test_a_mask_is_a_box_of_half_the_side_somewhere():
    images = random_images(400)
    masked = corrupt(images, "mask", SEED).numpy()
    places = set()
    for image, found in zip(images, masked):
        hidden = (found == 0).all(axis=-1)  # (h, w)
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        assert len(rows) == 6 and np.ptp(rows) == 5  # half of 12
        assert len(columns) == 9 and np.ptp(columns) == 8  # half of 17, rounded up
        assert hidden.sum() == 6 * 9
        np.testing.assert_array_equal(found[~hidden], image[~hidden])
        places.add((rows[0], columns[0]))
    assert places == {(row, column) for row in range(7) for column in range(9)}


def test_noise_is_gaussian_and_clipped():
    images = np.zeros((64, 32, 32, 1), "float32")
    noise = corrupt(images, "noise", SEED).numpy()
    assert noise.min() == -1 and noise.max() == 1
    inside = np.abs(noise) < 1
    assert inside.mean() == pytest.approx(0.9545, abs=0.003)  # within two deviations of 0.5
    assert np.var(noise[inside]) == pytest.approx(0.25 * 0.7737, abs=0.003)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert np.abs(noise[0] - noise[1]).min() < 0.1 < np.abs(noise[0] - noise[1]).mean()


def test_grey_is_the_luma_in_one_channel():
    colors = [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1], [-1, -1, -1], [0.5, 0.5, 0.5]]
    images = np.broadcast_to(np.float32(colors)[:, None, None, :], (6, 4, 4, 3))
    grey = corrupt(images, "grey", SEED).numpy()
    assert grey.shape == (6, 4, 4, 1) and np.abs(grey).max() <= 1
    expected = [-1 + 2 * 0.299, -1 + 2 * 0.587, -1 + 2 * 0.114, 1, -1, 0.5]
    np.testing.assert_allclose(grey[:, 0, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["mask", "noise"])
def test_only_the_seed_decides(kind):
    images = random_images(8)
    first = corrupt(images, kind, SEED).numpy()
    np.testing.assert_array_equal(corrupt(images, kind, SEED), first)
    assert np.abs(corrupt(images, kind, tf.constant([3, 9], tf.int64)) - first).max() > 0.1


def epoch(pairs):
    return [tuple(part.numpy() for part in pair) for pair in pairs]


def stream(**arguments):
    return load("glyphs", batch_size=4, image_size=16, num_images=10, **arguments)


def test_each_pass_pairs_the_images_with_other_corruptions():
    pairs = corrupted_pairs(stream(), "noise", seed=5)
    assert int(pairs.cardinality()) == 3
    first, second = epoch(pairs), epoch(pairs)
    assert [len(inputs) for inputs, _ in first] == [4, 4, 2]
    for (inputs, targets), (again, same), original in zip(first, second, stream()):
        np.testing.assert_array_equal(targets, original)
        np.testing.assert_array_equal(same, original)
        assert np.abs(inputs - again).max() > 0.5
    # No two batches share their noise, and another program would draw the same.
    noises = [(inputs - targets)[0] for inputs, targets in first + second]
    assert all(np.abs(a - b).max() > 0.1 for i, a in enumerate(noises) for b in noises[:i])
    repeated = corrupted_pairs(stream(), "noise", seed=5)
    for mine, other in zip(epoch(repeated) + epoch(repeated), first + second):
        np.testing.assert_array_equal(mine[0], other[0])
    assert np.abs(epoch(corrupted_pairs(stream(), "noise", seed=6))[0][0] - first[0][0]).max() > 0.5


def test_an_unfinished_pass_does_not_count():
    pairs = corrupted_pairs(stream(), "mask", seed=5)
    next(iter(pairs))  # as Keras looks at a first batch under a strategy
    for mine, other in zip(epoch(pairs), epoch(corrupted_pairs(stream(), "mask", seed=5))):
        np.testing.assert_array_equal(mine[0], other[0])


def test_an_endless_stream_resumes_at_any_batch():
    endless = {"shuffle_seed": 1, "epochs": None, "drop_remainder": True}
    pairs = corrupted_pairs(stream(**endless), "mask", seed=5)
    assert int(pairs.cardinality()) == tf.data.INFINITE_CARDINALITY
    whole = epoch(pairs.take(9))
    # 2 batches a pass: batch 6 is the first of pass 3.
    resumed = corrupted_pairs(stream(**endless, first_epoch=3), "mask", seed=5, first_batch=6)
    for mine, other in zip(epoch(resumed.take(3)), whole[6:]):
        for part, expected in zip(mine, other):
            np.testing.assert_array_equal(part, expected)


def test_labels_are_dropped():
    inputs, targets = next(iter(corrupted_pairs(stream(with_labels=True), "mask", seed=5)))
    assert inputs.shape == targets.shape == (4, 16, 16, 1)


def test_replicas_get_their_rows_of_the_global_draw(mirrored):
    pairs = corrupted_pairs(stream(), "noise", seed=5)
    expected = epoch(corrupted_pairs(stream(), "noise", seed=5))
    for found, (inputs, targets) in zip(mirrored.experimental_distribute_dataset(pairs), expected):
        parts = [mirrored.experimental_local_results(part) for part in found]
        np.testing.assert_array_equal(tf.concat(parts[0], 0), inputs)
        np.testing.assert_array_equal(tf.concat(parts[1], 0), targets)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: corrupt(random_images(1), "blur", SEED),
         "kind of corruption must be one of mask, noise, grey. Received: 'blur'."),
        (lambda: corrupt(random_images(1, channels=1), "grey", SEED),
         "needs RGB images, with 3 channels. Received: images of shape (12, 17, 1)."),
        (lambda: corrupted_pairs(stream(), "grey", 0), "needs RGB images, with 3 channels."),
        (lambda: corrupted_pairs(stream(), "mask", 0.5),
         "seed must be an integer. Received: seed=0.5."),
        (lambda: corrupted_pairs(stream().filter(lambda x: True), "mask", 0),
         "corrupted_pairs needs a dataset of known length;"),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_is_refused(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_float64_images_stay_float64():
    for kind in ("mask", "noise", "grey"):
        images = random_images(4)
        expected = corrupt(images, kind, SEED)
        found = corrupt(images.astype("float64"), kind, SEED)
        assert found.dtype == tf.float64
        np.testing.assert_allclose(found, expected, atol=1e-6)
    inputs, targets = next(iter(corrupted_pairs(stream(), "noise", seed=0)))
    assert inputs.dtype == targets.dtype == tf.float32


def test_names_of_version_0_1():
    assert (data.damage, data.damaged_pairs) == (corrupt, corrupted_pairs)
    assert data.damaged_shape("grey", (8, 8, 3)) == corrupted_shape("grey", (8, 8, 3)) == (8, 8, 1)
    with pytest.raises(InputError):
        data.check_damage("blur", (8, 8, 3))
