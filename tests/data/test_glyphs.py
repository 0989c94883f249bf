"""The drawn digits: what they depend on, what they look like, where they come from."""

import pathlib

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from keras_genimg.data.sets import glyphs


def draw(indices, split="train", image_size=(28, 28), channels=1):
    images, labels = glyphs.draw_glyphs(tf.constant(indices, tf.int64), split, image_size, channels)
    return images.numpy(), labels.numpy()


def splitmix64(counter, key):
    """The published algorithm, in Python's unbounded integers."""
    mask = 2**64 - 1
    state = (counter * 0x9E3779B97F4A7C15 + key) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_random_numbers_are_splitmix64():
    # The first outputs for seed 1234567, as published with the reference implementation.
    assert [splitmix64(i, 1234567) for i in (1, 2)] == [6457827717110365317, 3203168211198807973]
    numbers = glyphs.uniform_numbers(tf.constant([0, 5, 2**40], tf.int64), 3, 1234567).numpy()
    expected = [[(splitmix64(3 * i + j, 1234567) >> 40) / 2**24 for j in (1, 2, 3)]
                for i in (0, 5, 2**40)]  # fmt: skip
    np.testing.assert_array_equal(numbers, np.array(expected, "float32"))


def test_random_numbers_are_uniform_and_independent():
    indices = tf.range(20_000, dtype=tf.int64)
    numbers = glyphs.uniform_numbers(indices, 4, glyphs.DATA_SEED["train"]).numpy()
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(numbers.var(0), 1 / 12, atol=0.003)
    correlation = np.corrcoef(np.concatenate([numbers[:-1], numbers[1:]], axis=1).T)
    assert np.abs(correlation - np.eye(8)).max() < 0.03


@pytest.mark.parametrize("image_size", [(16, 16), (28, 28), (32, 48), (256, 256)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_type_and_labels(image_size, channels):
    images, labels = draw(range(12), image_size=image_size, channels=channels)
    assert images.shape == (12, *image_size, channels) and images.dtype == np.uint8
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.arange(12) % 10)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_depends_on_its_number_alone(channels):
    images, _ = draw(range(40), channels=channels)
    order = [31, 7, 7, 0]
    np.testing.assert_array_equal(draw(order, channels=channels)[0], images[order])
    assert len(np.unique(images.reshape(40, -1), axis=0)) == 40


def test_splits_differ():
    assert (draw(range(20), "train")[0] != draw(range(20), "test")[0]).any((1, 2, 3)).all()


def test_grey_is_white_on_black_within_the_frame():
    images, _ = draw(range(500))
    assert (images[:, [0, -1]] == 0).mean() > 0.97 and (images[:, :, [0, -1]] == 0).mean() > 0.97
    assert (images.max((1, 2, 3)) > 200).mean() > 0.98
    ink = images.mean((1, 2, 3)) / 255
    assert 0.03 < ink.min() and ink.max() < 0.45
    soft = ((images > 20) & (images < 235)).mean((1, 2, 3))
    assert soft.min() > 0.01  # no jagged edges


def test_colours_contrast():
    images, _ = draw(range(200), channels=3)
    luma = images @ np.array([0.299, 0.587, 0.114]) / 255
    paper = luma[:, 0, 0]
    furthest = np.abs(luma - paper[:, None, None]).max((1, 2))
    assert furthest.min() > 0.25 and np.median(furthest) > 0.5
    dark_paper = (paper < 0.5).mean()
    assert 0.35 < dark_paper < 0.65


def test_every_font_has_ten_different_digits():
    for digits in glyphs._rasters():
        assert ((digits > 0.5).mean((1, 2)) > 0.02).all()
        differences = np.abs(digits[:, None] - digits[None]).mean((2, 3)) + np.eye(10)
        assert differences.min() > 0.01
        rows = np.flatnonzero(digits[0].max(1) > 0.5)
        height = (rows[-1] - rows[0] + 1) / glyphs.RASTER_PIXELS
        assert height == pytest.approx(glyphs.DIGIT_SHARE, abs=0.02)


def raster(path, digit):
    """A digit in the centre of a square, as `digits.png` holds it; "0" is equally high in all."""
    side = glyphs.RASTER_PIXELS
    _, top, _, bottom = ImageFont.truetype(path, 400).getbbox("0")
    face = ImageFont.truetype(path, 400 * glyphs.DIGIT_SHARE * side / (bottom - top))
    left, top, right, bottom = face.getbbox(digit)
    image = Image.new("L", (side, side))
    corner = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(image).text(corner, digit, font=face, fill=255)
    return np.asarray(image)


def test_digits_are_those_of_the_fonts():
    folder = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")
    found = 0
    for font, digits in zip(glyphs.FONTS, glyphs._rasters()):
        path = folder / f"{font}.ttf"
        if path.exists():  # Matplotlib has had cmti10 since 3.11
            found += 1
            drawn = np.stack([raster(str(path), digit) for digit in "0123456789"])
            np.testing.assert_array_equal(np.rint(digits * 255), drawn)
    assert found >= 11


@pytest.mark.parametrize(
    "split, channels, total",
    [
        ("train", 1, 6_310_357), ("train", 3, 64_864_531),
        ("test", 1, 6_318_809), ("test", 3, 65_378_492),
    ],
)  # fmt: skip
def test_images_stay_the_same(split, channels, total):
    """Published numbers and the packaged features depend on them."""
    images, _ = draw(range(240), split, channels=channels)
    # Processors may round a pixel differently; the digits of another font change a thousandth.
    assert images.sum(dtype="int64") == pytest.approx(total, rel=1e-6)


def test_distance_of_a_disc():
    rows, columns = np.indices((96, 96)) - 47.5
    radius = np.hypot(rows, columns)
    coverage = np.clip(30 - radius + 0.5, 0, 1)[None].astype("float32")
    distance = glyphs._distance_to_zero(coverage, 20) - glyphs._distance_to_zero(1 - coverage, 20)
    near = np.abs(30 - radius) < 15
    np.testing.assert_allclose(distance[0][near], (30 - radius)[near], atol=0.75)
    assert distance.max() <= 20 and distance.min() >= -20


def test_distance_is_exact_for_whole_pixels():
    empty = np.ones((1, 24, 24), "float32")
    empty[0, [3, 20, 9], [5, 19, 12]] = 0
    rows, columns = np.indices((24, 24))
    points = np.array([[3, 5], [20, 19], [9, 12]])
    exact = np.min([np.hypot(rows - r, columns - c) for r, c in points], axis=0)
    distance = glyphs._distance_to_zero(empty, 9)[0]
    np.testing.assert_allclose(distance, np.minimum(exact, 9), rtol=1e-6)


def test_digits_can_be_told_apart():
    """The mean image of each class, learnt from one split, recognises most of the other."""
    images, labels = draw(range(4000))
    means = np.stack([images[labels == digit].mean(0).ravel() for digit in range(10)])
    images, labels = draw(range(1000), "test")
    scores = images.reshape(1000, -1) @ means.T / np.linalg.norm(means, axis=1)
    assert (scores.argmax(1) == labels).mean() > 0.6
