"""Binarised images: with which probability, for which seed, and pass by pass."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.data import binarize, binarized, load
from keras_genimg.errors import InputError

SEED = tf.constant([3, 8], tf.int64)


def stream(**arguments):
    return load("glyphs", batch_size=4, image_size=16, num_images=10, **arguments)


def epoch(dataset):
    return [element.numpy() for element in dataset]


def test_each_pixel_is_white_as_often_as_it_is_bright():
    brightness = np.float32([0.0, 0.1, 0.5, 0.75, 1.0])
    images = np.broadcast_to((2 * brightness - 1)[:, None, None, None], (5, 200, 200, 1))
    made = binarize(images, "dynamic", SEED).numpy()
    assert made.dtype == np.float32 and set(np.unique(made)) == {-1, 1}
    shares = (made == 1).mean(axis=(1, 2, 3))
    assert shares[0] == 0 and shares[4] == 1  # black stays black, and white white
    np.testing.assert_allclose(shares, brightness, atol=4 * 0.5 / 200)  # four deviations
    np.testing.assert_array_equal(made, binarize(images, "dynamic", SEED))
    other = binarize(images, "dynamic", tf.constant([3, 9], tf.int64)).numpy()
    assert (made != other).mean() > 0.1


def test_the_threshold_is_the_middle_grey():
    images = np.float32([-1, -1e-6, 0, 1e-6, 1]).reshape(1, 5, 1, 1)
    for seed in (SEED, (0, 0)):
        found = binarize(images, "threshold", seed).numpy().ravel()
        assert found.tolist() == [-1, -1, 1, 1, 1]


def test_draws_differ_from_pass_to_pass_and_not_from_program_to_program():
    dataset = binarized(stream(), "dynamic", seed=5)
    assert int(dataset.cardinality()) == 3
    first, second = epoch(dataset), epoch(dataset)
    assert [len(images) for images in first] == [4, 4, 2]
    for images, again, original in zip(first, second, stream()):
        assert set(np.unique(images)) == {-1, 1}
        certain = np.abs(original) == 1
        np.testing.assert_array_equal(images[certain], original[certain])
        assert (images != again).any()
    repeated = binarized(stream(), "dynamic", seed=5)
    for mine, other in zip(epoch(repeated) + epoch(repeated), first + second):
        np.testing.assert_array_equal(mine, other)
    assert any((a != b).any() for a, b in zip(epoch(binarized(stream(), "dynamic", 6)), first))


def test_an_endless_stream_resumes_at_any_batch():
    endless = {"shuffle_seed": 1, "epochs": None, "drop_remainder": True}
    whole = epoch(binarized(stream(**endless), "dynamic", 5).take(9))
    # 2 batches a pass: batch 6 is the first of pass 3.
    resumed = binarized(stream(**endless, first_epoch=3), "dynamic", 5, first_batch=6)
    for mine, other in zip(epoch(resumed.take(3)), whole[6:]):
        np.testing.assert_array_equal(mine, other)


def test_labels_are_kept():
    dataset = binarized(stream(with_labels=True), "threshold", seed=5)
    for (images, labels), (original, wanted) in zip(dataset, stream(with_labels=True)):
        np.testing.assert_array_equal(labels, wanted)
        np.testing.assert_array_equal(images, np.where(original >= 0, 1, -1))


def test_replicas_get_their_rows_of_the_global_draw(mirrored):
    expected = epoch(binarized(stream(), "dynamic", seed=5))
    dataset = mirrored.experimental_distribute_dataset(binarized(stream(), "dynamic", seed=5))
    for found, images in zip(dataset, expected):
        parts = mirrored.experimental_local_results(found)
        np.testing.assert_array_equal(tf.concat(parts, 0), images)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: binarize(np.zeros((1, 2, 2, 1)), "static"),
         "kind of binarisation must be one of dynamic, threshold. Received: 'static'."),
        (lambda: binarized(stream(), "static", 0), "must be one of dynamic, threshold."),
        (lambda: binarized(stream(), "dynamic", "a"),
         "seed must be an integer. Received: seed='a'."),
        (lambda: binarized(stream().filter(lambda x: True), "dynamic", 0),
         "binarized needs a dataset of known length;"),
    ],
    ids=range(4),
)  # fmt: skip
def test_what_is_refused(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["dynamic", "threshold"])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_dtype_is_kept(kind, dtype):
    images = tf.cast(np.linspace(-1, 1, 9).reshape(1, 3, 3, 1), dtype)
    found = binarize(images, kind, SEED)
    assert found.dtype == dtype
    expected = binarize(tf.cast(images, tf.float32), kind, SEED)
    np.testing.assert_array_equal(tf.cast(found, tf.float32), expected)
