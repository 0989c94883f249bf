"""ImagePool against a loop over the images, one after the other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import distribution, layers
from keras_genimg.errors import InputError
from keras_genimg.layers import ImagePool

SIZE = 6


def numbered(first, count):
    """Images that differ in their value: `(count, 2, 3, 1)`."""
    return np.broadcast_to(
        np.arange(first, first + count, dtype="float32")[:, None, None, None], (count, 2, 3, 1)
    )


def numbers(images):
    assert (np.ptp(np.array(images), axis=(1, 2, 3)) == 0).all()  # no image is a mixture
    return np.array(images)[:, 0, 0, 0]


def seed_of(step):
    return tf.constant([step, 7], tf.int64)


def by_loop(pool, images, step):
    """Zhu et al.'s pool, a list of images: store, return or exchange them in turn."""
    batch = distribution.whole_batch(max(len(images), SIZE))
    draws = distribution.random_uniform(batch, (2,), seed_of(step)).numpy()
    places = np.argsort(draws[:, 0], kind="stable")
    shown, kept_before = [], len(pool)
    for image, place, (_, coin) in zip(images, places, draws):
        if len(pool) < SIZE:
            pool.append(image)
            shown.append(image)
        elif coin < 0.5 and place < kept_before:
            shown.append(pool[place])
            pool[place] = image
        else:
            shown.append(image)
    return shown


BATCHES = [4, 4, 4, 2, 3, 10, 5, 5]  # filled in the second batch; one larger than the pool


def test_it_is_the_loop():
    layer, pool, first, returned = ImagePool(SIZE), [], 0, 0
    for step, count in enumerate(BATCHES):
        images = numbered(first, count)
        shown = layer(images, seed=seed_of(step))
        expected = by_loop(pool, images, step)
        np.testing.assert_array_equal(shown, expected)
        np.testing.assert_array_equal(layer.images[: len(pool)], pool)
        assert int(layer.filled) == len(pool)
        returned += (numbers(shown) != numbers(images)).sum()
        first += count
    assert returned > 5


def test_no_image_gets_lost_and_half_are_earlier_ones():
    layer = ImagePool(SIZE)
    layer(numbered(0, SIZE), seed=seed_of(0))
    shown = [layer(numbered(SIZE + 3 * i, 3), seed=seed_of(1 + i)) for i in range(150)]
    shown = np.concatenate([numbers(part) for part in shown])
    left = numbers(layer.images)
    assert sorted([*shown, *left]) == list(range(SIZE + 450))  # each is once somewhere
    earlier = (shown != SIZE + np.arange(450)).mean()
    assert earlier == pytest.approx(0.5, abs=0.07)
    # A slot is drawn again after 2 pool_size images on average: each of 3 takes it with 1/12.
    ages = SIZE + np.arange(450) - shown
    assert ages[ages > 0].mean() == pytest.approx(2 * SIZE, rel=0.25)


def test_replicas_hold_one_pool(mirrored):
    first, batches = 0, []
    for count in BATCHES:
        batches.append(numbered(first, count))
        first += count
    alone = ImagePool(SIZE)
    expected = [alone(images, seed=seed_of(step)) for step, images in enumerate(batches)]
    with mirrored.scope():
        layer = ImagePool(SIZE)
        layer.build((None, 2, 3, 1))

    @tf.function(reduce_retracing=True)
    def show(images, seed):
        return mirrored.run(lambda x: layer(x, seed=seed), (images,))

    for step, images in enumerate(batches):
        batch = tf.data.Dataset.from_tensor_slices(images).batch(len(images))
        data = mirrored.experimental_distribute_dataset(batch)
        parts = mirrored.experimental_local_results(show(next(iter(data)), seed_of(step)))
        np.testing.assert_array_equal(tf.concat(parts, 0), expected[step])
    for mine in mirrored.experimental_local_results(layer.images.value):
        np.testing.assert_array_equal(mine, alone.images)
    for mine in mirrored.experimental_local_results(layer.filled.value):
        assert int(mine) == SIZE


def test_it_stays_float32_under_a_16_bit_policy():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = ImagePool(SIZE)
        images = np.full((2, 4, 4, 1), 0.123456789, "float32")
        shown = layer(images, seed=seed_of(0))
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_array_equal(shown, images)
    np.testing.assert_array_equal(layer.images[:2], images)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None])
def test_an_invalid_size(size):
    with pytest.raises(InputError) as caught:
        ImagePool(size)
    words = f"pool_size must be a positive integer. Received: pool_size={size!r}."
    assert str(caught.value) == words


def test_it_is_float64_under_that_policy():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        layer = ImagePool(SIZE)
        images = np.full((2, 4, 4, 1), 0.1)  # not a float32 number
        shown = layer(images, seed=seed_of(0))
    finally:
        keras.config.set_dtype_policy(policy)
    assert shown.dtype == "float64" and layer.images.dtype == "float64"
    np.testing.assert_array_equal(shown, images)
    np.testing.assert_array_equal(layer.images[:2], images)


def test_the_name_of_version_0_1_still_loads():
    config = keras.saving.serialize_keras_object(ImagePool(SIZE, name="pool"))
    config["registered_name"], config["class_name"] = "keras_genimg>PicturePool", "PicturePool"
    config["module"] = "keras_genimg.layers.picture_pool"
    layer = keras.saving.deserialize_keras_object(config)
    assert type(layer) is ImagePool and (layer.pool_size, layer.name) == (SIZE, "pool")
    assert layers.PicturePool is ImagePool
