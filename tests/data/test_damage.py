"""Damaged pictures: what is taken away, by which seed, and pass by pass."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.data import damage, damaged_pairs, load
from keras_genimg.errors import InputError

SEED = tf.constant([3, 8], tf.int64)


def pictures(count, height=12, width=17, channels=3):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (count, height, width, channels)).astype("float32")


def test_a_mask_is_a_box_of_half_the_side_somewhere():
    images = pictures(400)
    masked = damage(images, "mask", SEED).numpy()
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


def test_noise_is_gaussian_and_cut_off():
    images = np.zeros((64, 32, 32, 1), "float32")
    noise = damage(images, "noise", SEED).numpy()
    assert noise.min() == -1 and noise.max() == 1
    inside = np.abs(noise) < 1
    assert inside.mean() == pytest.approx(0.9545, abs=0.003)  # within two deviations of 0.5
    assert np.var(noise[inside]) == pytest.approx(0.25 * 0.7737, abs=0.003)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert np.abs(noise[0] - noise[1]).min() < 0.1 < np.abs(noise[0] - noise[1]).mean()


def test_grey_is_the_brightness_in_one_channel():
    colors = [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1], [-1, -1, -1], [0.5, 0.5, 0.5]]
    images = np.broadcast_to(np.float32(colors)[:, None, None, :], (6, 4, 4, 3))
    grey = damage(images, "grey", SEED).numpy()
    assert grey.shape == (6, 4, 4, 1) and np.abs(grey).max() <= 1
    expected = [-1 + 2 * 0.299, -1 + 2 * 0.587, -1 + 2 * 0.114, 1, -1, 0.5]
    np.testing.assert_allclose(grey[:, 0, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["mask", "noise"])
def test_the_seed_is_all_the_chance(kind):
    images = pictures(8)
    first = damage(images, kind, SEED).numpy()
    np.testing.assert_array_equal(damage(images, kind, SEED), first)
    assert np.abs(damage(images, kind, tf.constant([3, 9], tf.int64)) - first).max() > 0.1


def epoch(pairs):
    return [tuple(part.numpy() for part in pair) for pair in pairs]


def stream(**arguments):
    return load("glyphs", batch_size=4, image_size=16, num_images=10, **arguments)


def test_pairs_are_the_pictures_and_other_damage_each_pass():
    pairs = damaged_pairs(stream(), "noise", seed=5)
    assert int(pairs.cardinality()) == 3
    first, second = epoch(pairs), epoch(pairs)
    assert [len(inputs) for inputs, _ in first] == [4, 4, 2]
    for (inputs, targets), (again, same), original in zip(first, second, stream()):
        np.testing.assert_array_equal(targets, original)
        np.testing.assert_array_equal(same, original)
        assert np.abs(inputs - again).max() > 0.5
    # No two batches have one noise, and another program would draw the same.
    noises = [(inputs - targets)[0] for inputs, targets in first + second]
    assert all(np.abs(a - b).max() > 0.1 for i, a in enumerate(noises) for b in noises[:i])
    repeated = damaged_pairs(stream(), "noise", seed=5)
    for mine, other in zip(epoch(repeated) + epoch(repeated), first + second):
        np.testing.assert_array_equal(mine[0], other[0])
    assert np.abs(epoch(damaged_pairs(stream(), "noise", seed=6))[0][0] - first[0][0]).max() > 0.5


def test_a_pass_that_is_not_finished_does_not_count():
    pairs = damaged_pairs(stream(), "mask", seed=5)
    next(iter(pairs))  # as Keras looks at a first batch under a strategy
    for mine, other in zip(epoch(pairs), epoch(damaged_pairs(stream(), "mask", seed=5))):
        np.testing.assert_array_equal(mine[0], other[0])


def test_an_endless_stream_goes_on_from_any_batch():
    endless = {"shuffle_seed": 1, "epochs": None, "drop_remainder": True}
    pairs = damaged_pairs(stream(**endless), "mask", seed=5)
    assert int(pairs.cardinality()) == tf.data.INFINITE_CARDINALITY
    whole = epoch(pairs.take(9))
    # 2 batches a pass: batch 6 is the first of pass 3.
    resumed = damaged_pairs(stream(**endless, first_epoch=3), "mask", seed=5, first_batch=6)
    for mine, other in zip(epoch(resumed.take(3)), whole[6:]):
        for part, expected in zip(mine, other):
            np.testing.assert_array_equal(part, expected)


def test_labels_are_left_out():
    inputs, targets = next(iter(damaged_pairs(stream(with_labels=True), "mask", seed=5)))
    assert inputs.shape == targets.shape == (4, 16, 16, 1)


def test_replicas_get_the_rows_of_the_global_damage(mirrored):
    pairs = damaged_pairs(stream(), "noise", seed=5)
    expected = epoch(damaged_pairs(stream(), "noise", seed=5))
    for found, (inputs, targets) in zip(mirrored.experimental_distribute_dataset(pairs), expected):
        parts = [mirrored.experimental_local_results(part) for part in found]
        np.testing.assert_array_equal(tf.concat(parts[0], 0), inputs)
        np.testing.assert_array_equal(tf.concat(parts[1], 0), targets)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: damage(pictures(1), "blur", SEED),
         "kind of damage must be one of mask, noise, grey. Received: 'blur'."),
        (lambda: damage(pictures(1, channels=1), "grey", SEED),
         "is for pictures in colour, of 3 channels. Received: pictures of shape (12, 17, 1)."),
        (lambda: damaged_pairs(stream(), "grey", 0), "is for pictures in colour, of 3 channels."),
        (lambda: damaged_pairs(stream(), "mask", 0.5), "seed must be an integer. Received: seed=0.5."),
        (lambda: damaged_pairs(stream().filter(lambda x: True), "mask", 0),
         "Received: one of unknown length."),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_is_refused(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)
