"""What is in a folder: links, stray folders, files of all kinds, and the reasons."""

import os
import socket
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_genimg.data import data_info, load
from keras_genimg.data.pipeline import open_set
from keras_genimg.errors import InputError


def save(path, value=1, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value,) * 3).save(path, **options)


def read(folder):
    """The values of the images, and what is skipped: reason -> count."""
    _, open_reader = open_set(folder, "train", (8, 8), None, None, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = open_reader()
    elements = reader.order(None).batch(1000)
    images, labels = next(iter(elements.map(reader.read)))
    assert len(images) == reader.num_images
    return images.numpy()[:, 0, 0, 0].tolist(), labels.numpy().tolist(), dict(reader.skipped)


@pytest.fixture(params=["in memory", "streamed"])
def either_way(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr("keras_genimg.data.images.MEMORY_LIMIT", 0)


def test_the_content_decides_and_not_the_name(tmp_path, either_way):
    lossless = {"PNG": "a.jpg", "BMP": "b.jpg", "GIF": "c.jpg", "TGA": "d.tga", "TIFF": "e",
                "JPEG2000": "f.jp2", "PPM": "g.txt", "PCX": "h.png", "SGI": "i.new"}  # fmt: skip
    for i, (kind, name) in enumerate(lossless.items()):
        save(tmp_path / name, 10 * i, format=kind)
    avif = ".avif" in Image.registered_extensions()  # since Pillow 11.3
    if avif:
        save(tmp_path / "j.avif", 200, format="AVIF", quality=100)
    save(tmp_path / "k.jfif", 210, format="JPEG")
    save(tmp_path / "l.jpg", 220, format="WEBP", lossless=True)
    found, _, skipped = read(tmp_path)
    np.testing.assert_allclose(found, [*range(0, 90, 10), *[200] * avif, 210, 220], atol=2)
    assert not skipped


def test_what_is_not_used_has_a_reason(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    Image.new("F", (16, 16)).save(tmp_path / "float.tif")
    Image.new("L", (40, 40)).save(tmp_path / "huge.bmp")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.png").write_text("no image")
    (tmp_path / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    for name in ("notes.txt", "README", "labels.csv", "Thumbs.db"):
        (tmp_path / name).write_text("no image")
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), "uint8")
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-400])
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    with socket.socket(socket.AF_UNIX) as served:
        monkeypatch.chdir(tmp_path)  # the path of a socket is short
        served.bind("socket.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
        found, _, skipped = read(tmp_path)
        with pytest.warns(UserWarning, match="Skipped") as caught:
            load(tmp_path, batch_size=1, image_size=8)
    assert found == [1]
    assert skipped == {
        "of other kinds": 4,
        "of floats, which have no fixed range (save them with 8 or 16 bits)": 1,
        "above Pillow's limit of 600 pixels (twice PIL.Image.MAX_IMAGE_PIXELS)": 1,
        "in HEIC, which Pillow reads only with a plugin (pillow-heif)": 1,
        "empty": 1,
        "not recognised by Pillow": 2,
        "damaged or cut off": 1,
        "that cannot be opened (No such file or directory)": 1,
        "that cannot be opened (Too many levels of symbolic links)": 1,
        "neither file nor folder": 2,
    }
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("Skipped 11 of 12 files")
    assert "2 neither file nor folder (pipe.png, socket.png)" in message
    assert "notes.txt" not in message


def test_links_are_followed_and_circles_are_not(tmp_path):
    folder = tmp_path / "set"
    save(folder / "cat" / "a.png", 1)
    save(tmp_path / "elsewhere" / "deep" / "b.png", 2)
    save(tmp_path / "outside.png", 3)
    (folder / "dog").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "c.png").symlink_to(tmp_path / "outside.png")
    (folder / "cat" / "deep").symlink_to(tmp_path / "elsewhere" / "deep")
    for name, target in (("up", "."), ("far_up", tmp_path), ("cat/back", ".."),
                         ("cat/again", "../cat")):  # fmt: skip
        (folder / name).symlink_to(target)
    assert read(folder) == ([1, 3, 2, 2], [0, 0, 0, 1], {"linked in a circle": 4})
    assert data_info(folder).class_names == ("cat", "dog")


def test_the_whole_file_system_is_not_searched(tmp_path):
    (tmp_path / "link").symlink_to(os.sep)
    for folder in (os.sep, str(tmp_path / "link")):
        with pytest.raises(InputError, match="must lie below the root"):
            load(folder, batch_size=1)


def test_stray_folders_are_no_classes(tmp_path):
    for name in ("cat", "dog"):
        save(tmp_path / name / "a.png")
    for hidden in (".git", "cat/.ipynb_checkpoints", "__MACOSX/cat", ".cache/cat"):
        save(tmp_path / hidden / "a.png")
    save(tmp_path / "cat" / "._a.png")
    (tmp_path / "aaa_empty").mkdir()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.txt").write_text("x")
    info = data_info(tmp_path)
    assert info == ((8, 8, 3), 2, 2) and info.class_names == ("cat", "dog")
    assert read(tmp_path) == ([1, 1], [0, 1], {"of other kinds": 1})


def test_a_class_of_damaged_files_is_no_class(tmp_path):
    save(tmp_path / "cat" / "a.png")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"not an image")
    assert data_info(tmp_path).class_names == ("cat",)
    with pytest.warns(UserWarning, match=r"Skipped 1 of 2 .*\(bad/a.png\)"):
        load(tmp_path, batch_size=1)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_any_name_of_a_file(tmp_path):
    for name in (b"\xff\xfe.png", "ä ü\n.png".encode(), b"a" * 250 + b".png"):
        path = os.path.join(os.fsencode(tmp_path), b"\xff class")
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, name), "wb") as file:
            Image.new("L", (8, 8), 7).save(file, "PNG")
    assert data_info(tmp_path).class_names == ("\ufffd class",)
    assert data_info(tmp_path, "train[:2]").num_images == 2
    assert read(tmp_path)[0] == [7] * 3


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_folders_that_cannot_be_opened(tmp_path):
    save(tmp_path / "a" / "a.png")
    (tmp_path / "b").mkdir(mode=0)
    assert read(tmp_path)[2] == {"that cannot be opened (Permission denied)": 1}


def test_a_scan_above_the_limit_alone(tmp_path, monkeypatch):
    save(tmp_path / "scan.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(InputError, match=r"1 above Pillow's limit of 40 pixels.*\(scan.png\)"):
        data_info(tmp_path)
