"""Pixels of files: deep values, scaled decoding, orientation."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_genimg.data import decoding, load
from keras_genimg.data.decoding import decode, decode_alone, peak_of, read_header, white_of
from keras_genimg.data.images import fit_image
from keras_genimg.errors import InputError

RAMP = np.tile(np.linspace(0, 255, 32).astype("uint8"), (32, 1))


@pytest.fixture(params=["in memory", "streamed"])
def either_way(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr("keras_genimg.data.images.MEMORY_LIMIT", 0)


def pixels(folder):
    (batch,) = load(folder, batch_size=8)
    return np.rint((batch.numpy() + 1) * 127.5).astype(int)[..., 0]


@pytest.mark.parametrize("name, values", [
    ("8 bits in 32.tif", RAMP.astype("int32")),
    ("12 bits in 16.png", RAMP.astype("uint16") * 16),
    ("12 bits in 16.tif", RAMP.astype("uint16") * 16),
])  # fmt: skip
def test_values_of_few_bits_fill_the_range(tmp_path, either_way, name, values):
    Image.fromarray(values).save(tmp_path / name)
    Image.fromarray(values // 2).save(tmp_path / f"dark {name}")
    with pytest.warns(UserWarning, match=f"at most {values.max()}: .* becomes white"):
        found = pixels(tmp_path)
    np.testing.assert_allclose(found, [RAMP, RAMP / 2], atol=1)  # one range for the set


@pytest.mark.filterwarnings("error")
def test_values_of_16_bits(tmp_path, either_way):
    Image.fromarray(RAMP.astype("uint16") * 257).save(tmp_path / "a.png")
    Image.fromarray(RAMP).save(tmp_path / "b.png")
    np.testing.assert_array_equal(pixels(tmp_path), [RAMP, RAMP])


def test_values_without_a_range_are_refused(tmp_path, either_way):
    Image.fromarray(RAMP / np.float32(255)).save(tmp_path / "a.tif")
    Image.fromarray(RAMP.astype("int32") - 9).save(tmp_path / "b.tif")
    with pytest.raises(InputError, match=r"1 of floats.*\(a.tif\)"):
        load(tmp_path, batch_size=1)
    Image.fromarray(RAMP).save(tmp_path / "c.png")
    with pytest.warns(UserWarning, match=r"2 of 3 .*1 of floats.*\(a.tif\); 1 with neg.*\(b.tif\)"):
        assert len(pixels(tmp_path)) == 1


def test_dark_colours_of_16_bits_are_refused(tmp_path):
    for name, top in (("dark", 4095), ("full", 65535)):
        values = np.linspace(0, top, 48).reshape(4, 4, 3).astype("uint16")
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(tf.io.encode_png(values).numpy())
    with pytest.raises(InputError, match="1 with 16-bit colours in the low bits"):
        load(tmp_path / "dark", batch_size=1)
    assert load(tmp_path / "full", batch_size=1).cardinality() == 1


def test_white():
    assert [white_of("PNG I;16", peak) for peak in (1, 255, 256, 4095, 65535)] == [
        255, 255, 1023, 4095, 65535]  # fmt: skip
    assert white_of("TIFF I", 2**30) == 2**32 - 1


def photograph(size, seed=0):
    """Smooth noise of four scales, as photographs have."""
    generator = np.random.default_rng(seed)
    layers = [
        weight * np.asarray(Image.fromarray(
            generator.integers(0, 256, (side, side, 3), "uint8")).resize(size, 3), float)
        for side, weight in ((4, 0.45), (16, 0.3), (64, 0.17), (256, 0.08))
    ]  # fmt: skip
    return Image.fromarray(np.clip(1.6 * (sum(layers) - 128) + 128, 0, 255).astype("uint8"))


def exact(path, image_size, channels=3):
    with Image.open(path) as image:
        image.load()  # the whole JPEG: too late to scale it
        return fit_image(ImageOps.exif_transpose(image), image_size, channels)


@pytest.mark.parametrize("size, target", [
    ((256, 256), (64, 64)), ((500, 375), (64, 64)), ((257, 301), (32, 48)), ((1024, 768), (32, 32)),
])  # fmt: skip
@pytest.mark.parametrize("quality", [75, 95])
def test_scaled_decoding_is_close(tmp_path, size, target, quality):
    photograph(size).save(tmp_path / "a.jpg", quality=quality)
    found = decode(tmp_path / "a.jpg", (*target, 3)).astype(int)
    difference = np.abs(found - exact(tmp_path / "a.jpg", target))
    assert difference.mean() < 2.5 and np.quantile(difference, 0.99) <= 7


def test_scaled_decoding_keeps_twice_the_target(tmp_path, monkeypatch):
    photograph((256, 256)).save(tmp_path / "a.jpg")
    seen = []

    def note(image, image_size, *arguments, **more):
        seen.append(image.size)
        return fit_image(image, image_size, *arguments, **more)

    monkeypatch.setattr("keras_genimg.data.decoding.fit_image", note)
    for side in (16, 32, 64, 65, 128, 256):
        decode(tmp_path / "a.jpg", (side, side, 3))
    assert [width for width, _ in seen] == [32, 64, 128, 256, 256, 256]
    photograph((256, 256)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(decode(tmp_path / "b.png", (64, 64, 3)),
                                  exact(tmp_path / "b.png", (64, 64)))  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(256, 192), (301, 203)])
def test_scaled_decoding_keeps_the_orientation(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    photograph(size).save(path, exif=exif, quality=90)
    expected = exact(path, (24, 40))
    assert read_header(path).size == (size if orientation >= 5 else size[::-1])
    assert np.abs(decode(path, (24, 40, 3)).astype(int) - expected).mean() < 2.5


def test_inks_and_grey_are_scaled_too(tmp_path):
    for mode in ("CMYK", "L"):
        photograph((256, 256)).convert(mode).save(tmp_path / "a.jpg")
        for channels in (1, 3):
            found = decode(tmp_path / "a.jpg", (32, 32, channels)).astype(int)
            assert np.abs(found - exact(tmp_path / "a.jpg", (32, 32), channels)).mean() < 2.5


@pytest.mark.parametrize("size", [(256, 256), (301, 203), (40, 50), (1024, 333)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": "x", "subsampling": 0}])
def test_a_plain_jpeg_has_the_pixels_of_any_other(tmp_path, monkeypatch, size, mode, options):
    path = tmp_path / "a.jpg"
    photograph(size).convert(mode).save(path, **options)
    with open(path, "rb") as file:
        assert decoding._decode_plain_jpeg(file, (24, 40, 3)) is not None
    found = [decode(path, (24, 40, channels)) for channels in (1, 3)]
    monkeypatch.setattr(decoding, "_decode_plain_jpeg", lambda *arguments: None)
    for pixels in found:
        np.testing.assert_array_equal(pixels, decode(path, pixels.shape))


def test_what_is_no_plain_jpeg(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, mode, options in (("a.jpg", "RGB", {"exif": exif}), ("b.jpg", "CMYK", {}),
                                ("c.png", "RGB", {})):  # fmt: skip
        photograph((64, 64)).convert(mode).save(tmp_path / name, **options)
    photograph((64, 64)).save(tmp_path / "d.jpg")
    data = (tmp_path / "d.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    for length in (1, 2, 3, 20, 100, 170):
        (tmp_path / f"{length}.jpg").write_bytes(data[:length])
    others = set(tmp_path.iterdir()) - {tmp_path / "d.jpg"}
    for path in others:
        with open(path, "rb") as file:
            assert decoding._decode_plain_jpeg(file, (16, 16, 3)) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        decode(tmp_path / "d.jpg", (16, 16, 3))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_a_file_that_became_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="not a file"):
        decode(tmp_path / "a.jpg", (16, 16, 3))
    path, header = str(tmp_path / "a.jpg"), decoding.Header((4, 4), True, "JPEG", None)
    assert decoding.reason_of(ValueError(), path) == "damaged or cut off"
    for found in (read_header(path), peak_of(path), decode_alone(path, (16, 16, 3))):
        assert "cannot be opened" in found
    for format in ("JPEG", "PNG"):
        assert not decoding.looks_whole(path, header._replace(format=format))


def test_a_single_file_is_read_as_in_a_folder(tmp_path, monkeypatch):
    shape, path = (32, 32, 1), str(tmp_path / "a.png")
    Image.fromarray(RAMP.astype("uint16") * 16).save(path)
    with pytest.warns(UserWarning, match="at most 4080: 4095 becomes white"):
        np.testing.assert_allclose(decode_alone(path, shape)[..., 0], RAMP, atol=1)
    for values, why in ((RAMP / np.float32(255), "of floats"), (RAMP.astype("int32") - 9, "negat")):
        Image.fromarray(values).save(tmp_path / "a.tif")
        assert why in decode_alone(str(tmp_path / "a.tif"), shape)
    Image.fromarray(RAMP).save(path)
    np.testing.assert_array_equal(decode_alone(path, shape)[..., 0], RAMP)
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)
    assert decode_alone(path, shape) == "damaged or cut off"
    Image.fromarray(RAMP).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "above Pillow's limit of 200 pixels" in decode_alone(path, shape)


def test_peaks(tmp_path):
    Image.fromarray(RAMP.astype("uint16")).save(tmp_path / "a.png")
    assert peak_of(tmp_path / "a.png") == 255
    (tmp_path / "a.png").write_bytes(b"")
    assert peak_of(str(tmp_path / "a.png")) == "empty"
