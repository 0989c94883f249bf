"""The fitting of one picture and the reading from memory."""

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_genimg.data import pictures


def test_kept_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
    fitted = pictures.fit_picture(Image.fromarray(pixels), None, 3)
    np.testing.assert_array_equal(fitted, pixels)
    np.testing.assert_array_equal(pictures.fit_picture(Image.fromarray(pixels), (5, 7), 3), pixels)


def test_centre_is_cut_before_resizing():
    wide = np.zeros((8, 24, 3), "uint8")
    wide[:, 8:16] = 200  # the middle square
    fitted = pictures.fit_picture(Image.fromarray(wide), (4, 4), 3)
    assert fitted.shape == (4, 4, 3) and fitted.min() > 150
    tall = wide.transpose(1, 0, 2)
    assert pictures.fit_picture(Image.fromarray(np.ascontiguousarray(tall)), (4, 4), 3).min() > 150
    assert pictures.fit_picture(Image.fromarray(wide), (4, 12), 3).shape == (4, 12, 3)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64), "uint8")
    stripes[:, ::2] = 255
    fitted = pictures.fit_picture(Image.fromarray(stripes), (8, 8), 1)
    assert np.abs(fitted.astype(int) - 127).max() < 12


def test_grey_and_colour():
    colour = np.full((2, 2, 3), (100, 150, 200), "uint8")
    grey = pictures.fit_picture(Image.fromarray(colour), None, 1)
    assert grey.shape == (2, 2, 1)
    assert abs(int(grey[0, 0, 0]) - (0.299 * 100 + 0.587 * 150 + 0.114 * 200)) <= 1
    back = pictures.fit_picture(Image.fromarray(grey[..., 0]), None, 3)
    np.testing.assert_array_equal(back, np.repeat(grey, 3, axis=2))


def test_transparency_becomes_white_and_16_bits_become_8():
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert (pictures.fit_picture(clear, None, 3) == 255).all()
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], "uint16"))
    np.testing.assert_array_equal(pictures.fit_picture(deep, None, 1)[..., 0], [[0, 100, 255]])


def test_read_from_memory():
    images = np.arange(5 * 4 * 3, dtype="uint8").reshape(5, 2, 2, 3)
    reader = pictures.read_from_memory(images, np.arange(5, dtype="int32"))
    assert reader.num_images == 5
    batch, labels = reader.read(tf.constant([4, 0], tf.int64))
    np.testing.assert_array_equal(batch, images[[4, 0]])
    np.testing.assert_array_equal(labels, [4, 0])
    assert [int(i) for i in reader.order(None)] == [0, 1, 2, 3, 4]
    assert sorted(int(i) for i in reader.order(tf.constant([1, 2], tf.int64))) == [0, 1, 2, 3, 4]


def test_fits_in_memory():
    assert pictures.fits_in_memory(pictures.DataInfo((1024, 1024, 1), 1024, None))
    assert not pictures.fits_in_memory(pictures.DataInfo((1024, 1024, 1), 1025, None))
