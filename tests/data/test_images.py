"""Cropping and resizing of an image, and reading from memory."""

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_genimg.data.images import DataInfo, fit_image, fits_in_memory, read_from_memory


def test_unchanged_where_it_fits():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
    fitted = fit_image(Image.fromarray(pixels), None, 3)
    np.testing.assert_array_equal(fitted, pixels)
    np.testing.assert_array_equal(fit_image(Image.fromarray(pixels), (5, 7), 3), pixels)


def test_centre_is_cropped_before_resizing():
    wide = np.zeros((8, 24, 3), "uint8")
    wide[:, 8:16] = 200  # the middle square
    fitted = fit_image(Image.fromarray(wide), (4, 4), 3)
    assert fitted.shape == (4, 4, 3) and fitted.min() > 150
    tall = wide.transpose(1, 0, 2)
    assert fit_image(Image.fromarray(np.ascontiguousarray(tall)), (4, 4), 3).min() > 150
    assert fit_image(Image.fromarray(wide), (4, 12), 3).shape == (4, 12, 3)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64), "uint8")
    stripes[:, ::2] = 255
    fitted = fit_image(Image.fromarray(stripes), (8, 8), 1)
    assert np.abs(fitted.astype(int) - 127).max() < 12


def test_grey_and_colour():
    colour = np.full((2, 2, 3), (100, 150, 200), "uint8")
    grey = fit_image(Image.fromarray(colour), None, 1)
    assert grey.shape == (2, 2, 1)
    assert abs(int(grey[0, 0, 0]) - (0.299 * 100 + 0.587 * 150 + 0.114 * 200)) <= 1
    back = fit_image(Image.fromarray(grey[..., 0]), None, 3)
    np.testing.assert_array_equal(back, np.repeat(grey, 3, axis=2))


def test_transparency_becomes_white_and_16_bits_become_8():
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert (fit_image(clear, None, 3) == 255).all()
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], "uint16"))
    np.testing.assert_array_equal(fit_image(deep, None, 1)[..., 0], [[0, 100, 255]])


def test_read_from_memory():
    images = np.arange(5 * 4 * 3, dtype="uint8").reshape(5, 2, 2, 3)
    reader = read_from_memory(images, np.arange(5, dtype="int32"))
    assert reader.num_images == 5
    batch, labels = reader.read(tf.constant([4, 0], tf.int64))
    np.testing.assert_array_equal(batch, images[[4, 0]])
    np.testing.assert_array_equal(labels, [4, 0])
    assert [int(i) for i in reader.order(None)] == [0, 1, 2, 3, 4]
    assert sorted(int(i) for i in reader.order(tf.constant([1, 2], tf.int64))) == [0, 1, 2, 3, 4]


def test_fits_in_memory():
    assert fits_in_memory(DataInfo((1024, 1024, 1), 1024, None))
    assert not fits_in_memory(DataInfo((1024, 1024, 1), 1025, None))
