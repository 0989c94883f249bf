"""Clips of moving digits: their motion, against a ball followed step by step; and loading."""

import os

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.data import data_info, load
from keras_genimg.data.sets import moving
from keras_genimg.errors import InputError


def clips_of(images, indices, split="train", image_size=(12, 14), num_frames=9):
    """`moving.move` of arrays."""
    indices = tf.constant(indices, tf.int64)
    return moving.move(tf.constant(images), indices, split, image_size, num_frames).numpy()


def centres(clips):
    """The middle of the ink of each frame: `(clips, frames, 2)`."""
    ink = clips[..., 0].astype("float64")
    total = ink.sum((2, 3))
    rows, columns = np.arange(ink.shape[2]), np.arange(ink.shape[3])
    return np.stack([ink.sum(3) @ rows / total, ink.sum(2) @ columns / total], axis=-1)


def dots(count, side=5):
    """Bright 3x3 squares within a dark margin."""
    images = np.zeros((count, side, side, 1), "uint8")
    images[:, 1:-1, 1:-1] = 240
    return images


def test_places_are_those_of_a_ball_between_two_walls():
    starts = np.linspace(0, 0.999, 40).astype("float32")
    velocities = np.linspace(-9, 9, 40).astype("float32")
    found = moving._bounce(tf.constant(starts), tf.constant(velocities), 7, 50).numpy()
    for row, start, velocity in zip(found, starts, velocities):
        place, step = int(start * (7 * 16 + 1)), round(float(velocity) * 16)
        for frame in range(50):
            assert row[frame] == place
            place += step
            while not 0 <= place <= 112:  # it may fly past both walls between two frames
                place, step = (-place, -step) if place < 0 else (224 - place, -step)
    assert found.min() == 0 and found.max() == 112


@pytest.mark.parametrize(
    "place, expected",
    [
        (0, [200, 100, 0, 0]),
        (16, [0, 200, 100, 0]),
        (8, [100, 150, 50, 0]),
        (20, [0, 150, 125, 25]),
    ],
)
def test_a_pixel_between_two_is_shared_in_proportion(place, expected):
    weights = moving._overlap(tf.constant([[place]]), 2, 4)[0, 0].numpy()
    np.testing.assert_array_equal(weights @ [200, 100], expected)


def test_clips_go_straight_on_at_their_speed_and_keep_their_ink():
    clips = clips_of(dots(200), range(200), image_size=(40, 40), num_frames=7)
    assert clips.dtype == np.uint8 and clips.shape == (200, 7, 40, 40, 1)
    np.testing.assert_allclose(clips.astype(float).sum((2, 3, 4)), 9 * 240, rtol=0.004)
    places = centres(clips)
    assert places.min() >= 2 - 0.02 and places.max() <= 37 + 0.02  # the margin too stays inside
    steps = np.diff(places, axis=1)
    speeds = np.linalg.norm(steps, axis=-1)  # from 1/28 to 2/28 of 40, rounded
    straight = np.abs(np.diff(steps, axis=1)).max((1, 2)) < 0.05
    assert 60 < straight.sum() < 180  # some meet a wall
    speeds = speeds[straight]
    assert 40 / 28 - 0.1 < speeds.min() < 1.6 and 2.7 < speeds.max() < 80 / 28 + 0.1
    assert (steps[straight, 0].min(0) < -1).all() and (steps[straight, 0].max(0) > 1).all()


def test_a_clip_depends_on_its_number_and_split_alone():
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 5, 3)).astype("uint8")
    images[:, 0, 0] = 7
    clips = clips_of(images, range(30))
    order = [29, 3, 3, 0]
    np.testing.assert_array_equal(clips_of(images[order], order), clips[order])
    np.testing.assert_array_equal(clips_of(images, range(30), num_frames=4), clips[:, :4])
    np.testing.assert_array_equal(clips_of(images, range(30), "train[:50%]"), clips)
    other = clips_of(images, range(30), "test")
    assert (other != clips).any((1, 2, 3, 4)).all()
    np.testing.assert_array_equal(clips_of(images, range(30), "test[:9]"), other)


def test_the_canvas_has_the_background_colour():
    images = np.zeros((8, 5, 5, 3), "uint8")
    images[:] = [200, 30, 90]
    images[:, 2, 2] = [0, 255, 90]
    clips = clips_of(images, range(8))
    changed = (clips != [200, 30, 90]).any(-1)
    assert changed.any((2, 3)).all() and changed.sum((2, 3)).max() <= 4  # one pixel, between four
    assert (clips[..., 2] == 90).all()


def batches(name="moving_glyphs", **options):
    options = {"batch_size": 16, "num_images": 40, "image_size": 16, "num_frames": 3, **options}
    return [batch.numpy() for batch in load(name, **options)]


def test_load_gives_clips():
    clips, labels = next(iter(load("moving_glyphs", batch_size=12, with_labels=True)))
    assert clips.shape == (12, 16, 28, 28, 1) and clips.dtype == tf.float32
    assert labels.dtype == tf.int32
    np.testing.assert_array_equal(labels, np.arange(12) % 10)
    assert float(tf.reduce_min(clips)) == -1 and float(tf.reduce_max(clips)) > 0.9
    places = centres(np.asarray(clips) + 1)
    steps = np.linalg.norm(np.diff(places, axis=1), axis=-1)
    assert 0.9 < np.median(steps) < 2.1  # pixels a frame
    spec = load("moving_glyphs", batch_size=8, image_size=(20, 32), channels=3, num_frames=5,
                drop_remainder=True).element_spec  # fmt: skip
    assert spec.shape.as_list() == [8, 5, 20, 32, 3]
    assert data_info("moving_glyphs") == ((28, 28, 1), 20_000, 10)
    assert data_info("moving_glyphs", "test", image_size=32, channels=3, num_frames=4,
                     num_images=10**7) == ((32, 32, 3), 10**7, 10)  # fmt: skip


def test_orders_and_passes_are_those_of_every_set():
    stored = np.concatenate(batches())
    where = {clip.tobytes(): number for number, clip in enumerate(stored)}
    assert len(where) == 40

    def orders(**options):
        made = np.concatenate(batches(**options))
        numbers = [where[clip.tobytes()] for clip in made]
        return [numbers[i : i + 40] for i in range(0, len(numbers), 40)]

    passes = orders(shuffle_seed=1, epochs=3)
    assert all(sorted(one) == list(range(40)) for one in passes)
    assert passes[0] != passes[1] != passes[2]
    assert orders(shuffle_seed=1, first_epoch=2) == passes[2:]
    assert [len(batch) for batch in batches(epochs=2)] == [16, 16, 8] * 2
    assert (np.concatenate(batches(split="test")) != stored).any((1, 2, 3, 4)).all()


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("glyphs", {}, "num_frames is only for sets of clips, moving_glyphs and moving_mnist. "
         "Received: num_frames=3 for 'glyphs'"),
        ("mnist", {}, "num_frames=3 for 'mnist'"),
        (".", {}, "num_frames=3 for '.'"),
        ("moving_glyphs", {"num_frames": 0}, "num_frames must be a positive integer.*num_frames=0"),
        ("moving_glyphs", {"num_frames": 2.0}, "num_frames must be a positive integer"),
        ("moving_glyphs", {"image_size": 15}, r'from 16 to 128 for "moving_glyphs".*\(15, 15\)'),
        ("moving_mnist", {"image_size": (28, 129)}, r'16 to 128 for "moving_mnist".*\(28, 129\)'),
        ("moving_glyphs", {"split": "validation"}, r"\['test', 'train'\] for \"moving_glyphs\""),
        ("moving_glyph", {"num_frames": None}, "closest names are moving_glyphs"),
    ],
)  # fmt: skip
def test_what_cannot_be_had(name, options, message):
    with pytest.raises(InputError, match=message):
        batches(name, **options)
    with pytest.raises(InputError, match=message):
        options = {"image_size": 16, "num_frames": 3, **options}
        data_info(name, **options)


def test_moving_mnist_is_made_of_the_digits_of_mnist(real_data):
    if not os.path.isdir(os.path.join(real_data, "mnist")):
        pytest.skip(f"mnist is not prepared in {real_data}")
    where = {"split": "test", "data_dir": real_data, "batch_size": 50, "with_labels": True}
    assert data_info("moving_mnist", "test", data_dir=real_data) == ((28, 28, 1), 10_000, 10)
    clips, labels = next(iter(load("moving_mnist", num_images=50, num_frames=4, **where)))
    digits, own = next(iter(load("mnist", num_images=50, image_size=16, **where)))
    np.testing.assert_array_equal(labels, own)
    ink = tf.reduce_sum(clips + 1, (2, 3, 4)), tf.reduce_sum(digits + 1, (1, 2, 3))
    np.testing.assert_allclose(ink[0], np.repeat(ink[1][:, None], 4, axis=1), rtol=0.01)
    # The same numbers move alike, whatever it is that moves.
    glyphs = next(iter(load("moving_glyphs", "test", batch_size=50, num_frames=4)))
    ways = [np.diff(centres(np.asarray(each) + 1), axis=1) for each in (clips, glyphs)]
    np.testing.assert_allclose(*ways, atol=0.05)
