"""Folders of images: layouts, sizes, corrupt files, sets too large for memory."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile

from keras_genimg.data import data_info, load
from keras_genimg.data.images import UnknownSplit
from keras_genimg.errors import InputError


def save(path, value, size=(6, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode == "L" else (value, 0, 255 - value)
    Image.new(mode, size[::-1], colour).save(path)


def values(dataset):
    """The constant value of each image, as the uint8 that was saved."""
    images = np.concatenate([batch.numpy() for batch in dataset])
    return [int(round((image[0, 0, 0] + 1) * 127.5)) for image in images]


@pytest.fixture(params=["in memory", "streamed"])
def either_way(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr("keras_genimg.data.images.MEMORY_LIMIT", 0)


def test_flat_folder(tmp_path, either_way):
    for i in range(7):
        save(tmp_path / f"{i}.png", 10 * i)
    (tmp_path / "notes.txt").write_text("not an image")
    assert data_info(str(tmp_path)) == ((6, 8, 1), 7, None)
    batches = [batch.numpy() for batch in load(tmp_path, batch_size=3)]
    assert [batch.shape for batch in batches] == [(3, 6, 8, 1), (3, 6, 8, 1), (1, 6, 8, 1)]
    assert batches[0].dtype == np.float32
    np.testing.assert_allclose(batches[0][1], 10 / 127.5 - 1, atol=1e-6)
    assert values(load(tmp_path, batch_size=3)) == [0, 10, 20, 30, 40, 50, 60]
    shuffled = values(load(tmp_path, batch_size=3, shuffle_seed=0, epochs=3))
    passes = [shuffled[:7], shuffled[7:14], shuffled[14:]]
    assert all(sorted(one) == [0, 10, 20, 30, 40, 50, 60] for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_classes_are_sorted_sub_folders(tmp_path, either_way):
    for i, name in enumerate(["zebra", "ant", "mouse"]):
        save(tmp_path / name / "a.png", i)
        save(tmp_path / name / "deeper" / "b.png", 100 + i)
    save(tmp_path / ".hidden" / "a.png", 9)
    assert data_info(tmp_path).num_classes == 3
    ((images, labels),) = load(tmp_path, batch_size=10, with_labels=True)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 2, 2])
    assert values([images]) == [1, 101, 2, 102, 0, 100]


def test_splits(tmp_path):
    for name in "abc":
        save(tmp_path / "train" / name / "1.png", ord(name))
    save(tmp_path / "test" / "c" / "1.png", 7)  # the other classes have no test image
    assert values(load(tmp_path, batch_size=4)) == [97, 98, 99]
    ((images, labels),) = load(tmp_path, "test", batch_size=4, with_labels=True)
    assert values([images]) == [7] and labels.numpy().tolist() == [2]
    assert data_info(tmp_path, "test").num_classes == 3
    with pytest.raises(InputError, match=r"one of \['test', 'train'\].*'validation'"):
        load(tmp_path, "validation", batch_size=4)


SIX = [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("train, other", [
    ("train", "val"), ("train", "valid"), ("train", "validation"), ("Train", "Test"),
    ("TRAIN", "VAL"), ("training", "testing"),
])  # fmt: skip
def test_split_names(tmp_path, train, other):
    for i, value in enumerate(SIX):
        save(tmp_path / (train if i < 4 else other) / f"{i}.png", value)
    assert values(load(tmp_path, batch_size=8)) == SIX[:4]
    assert data_info(tmp_path).num_classes is None
    for name in {"v": ("val", "valid", "Validation"), "t": ("test",)}[other[0].lower()]:
        assert values(load(tmp_path, name, batch_size=8)) == SIX[4:]


def test_splits_of_classes(tmp_path):
    for part in ("train/cat", "train/dog", "val/dog", "val/fox", "unlabeled"):
        save(tmp_path / part / "a.png", 1)
    (tmp_path / "test").mkdir()  # empty: no split
    assert data_info(tmp_path).class_names == ("cat", "dog", "fox")
    ((_, labels),) = load(tmp_path, "val", batch_size=8, with_labels=True)
    assert labels.numpy().tolist() == [1, 2]
    assert data_info(tmp_path, "unlabeled").num_images == 1
    with pytest.raises(InputError, match=r"one of \['train', 'unlabeled', 'val'\]"):
        data_info(tmp_path, "test")


@pytest.mark.parametrize("paths, message", [
    (("bus/1", "train/1"), "one or the other.*with train beside bus"),
    (("1", "test/1"), "one or the other.*with test beside 1 images"),
    (("train/1", "val/1", "Valid/1"), "one sub-folder per split.*with Valid, train, val"),
    (("shapes/train/cat/1", "shapes/val/cat/1"), "sub-folder 'shapes' has the splits"),
])  # fmt: skip
def test_layouts_with_two_meanings(tmp_path, paths, message):
    for path in paths:
        save(tmp_path / f"{path}.png", 1)
    with pytest.raises(InputError, match=message):
        data_info(tmp_path)


def test_only_train(tmp_path):
    save(tmp_path / "train" / "cat" / "1.png", 1)
    save(tmp_path / "train" / "test" / "1.png", 2)  # a class
    save(tmp_path / "cover.png", 3)
    assert data_info(tmp_path).class_names == ("cat", "test")
    with pytest.warns(UserWarning, match=r"1 of 3 .* 1 beside the splits \(cover.png\)"):
        assert values(load(tmp_path, batch_size=4)) == [1, 2]
    with pytest.raises(UnknownSplit, match=r"one of \['train'\]"):
        data_info(tmp_path, "test")


def test_slices(tmp_path, either_way):
    for i in range(20):
        save(tmp_path / "ab"[i // 10] / f"{i:02}.png", i)
    whole = values(load(tmp_path, batch_size=20))
    most, rest = (values(load(tmp_path, f"train[{part}]", batch_size=20))
                  for part in (":80%", "80%:"))
    assert (len(most), len(rest)) == (16, 4)
    assert sorted(most + rest) == whole == list(range(20))
    assert most == sorted(most) and {i // 10 for i in rest} == {0, 1}  # of both classes
    assert rest == [0, 6, 7, 19]  # the same on every machine
    for part in ("-20%:", "16:", "-4:"):
        assert values(load(tmp_path, f"train[{part}]", batch_size=20)) == rest
    assert data_info(tmp_path, "train[:7]").num_images == 7
    ((_, labels),) = load(tmp_path, "train[80%:]", batch_size=9, with_labels=True)
    assert labels.numpy().tolist() == [0, 0, 0, 1]
    with pytest.raises(InputError, match="must not be empty.*train"):
        load(tmp_path, "train[:1%]", batch_size=1)


def test_unknown_split_of_a_plain_folder(tmp_path):
    save(tmp_path / "a.png", 1)
    with pytest.raises(InputError, match=r"one of \['train'\].*split='test'"):
        load(tmp_path, "test", batch_size=1)


def test_sizes_and_channels(tmp_path):
    save(tmp_path / "a.png", 50, size=(6, 8))
    save(tmp_path / "b.jpg", 200, size=(30, 20), mode="RGB")
    with pytest.raises(InputError, match=r"need image_size.*\(6, 8\) to \(30, 20\)"):
        load(tmp_path, batch_size=1)
    assert data_info(tmp_path, image_size=(4, 5)) == ((4, 5, 3), 2, None)
    assert data_info(tmp_path, image_size=4, channels=1) == ((4, 4, 1), 2, None)
    (batch,) = load(tmp_path, batch_size=2, image_size=(4, 5))
    assert batch.shape == (2, 4, 5, 3)
    assert len(set(batch[0, 0, 0].numpy())) == 1  # grey made colour


def test_camera_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    assert data_info(tmp_path).image_shape == (8, 6, 3)
    (batch,) = load(tmp_path, batch_size=1)
    assert batch.shape == (1, 8, 6, 3)


def break_off(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_corrupt_images_are_skipped_with_one_warning(tmp_path, either_way):
    for i in range(5):
        save(tmp_path / f"{i}.png", i, size=(40, 40))
    (tmp_path / "1.png").write_bytes(b"not an image")
    break_off(tmp_path / "3.png")
    save(tmp_path / "5.jpg", 5, size=(40, 40))
    (tmp_path / "5.jpg").write_bytes((tmp_path / "5.jpg").read_bytes()[:-2])
    expected = [0, 2, 4]
    break_off(tmp_path / "5.jpg")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(tmp_path, batch_size=2)
        assert values(dataset) == expected
    caught = [str(warning.message) for warning in caught]
    assert len(caught) == 1
    assert caught[0].startswith(f"Skipped 3 of 6 files in {str(tmp_path)!r}: ")
    assert "1 not recognised by Pillow (1.png)" in caught[0]
    assert "2 damaged or cut off (3.png, 5.jpg)" in caught[0]
    assert len(dataset) == 2


def test_the_warning_names_only_the_first(tmp_path):
    save(tmp_path / "z.png", 1)
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"Skipped 8 of 9 .*8 empty.*4\.png, \.\.\.") as caught:
        load(tmp_path, batch_size=1)
    assert "5.png" not in str(caught[0].message)


def test_an_image_that_disappears_during_training_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_genimg.data.images.MEMORY_LIMIT", 0)
    for i in range(4):
        save(tmp_path / f"{i}.png", i)
    dataset = load(tmp_path, batch_size=2, epochs=2)
    (tmp_path / "1.png").unlink()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert values(dataset) == [0, 2, 2, 3] * 2
    assert len(caught) == 1 and "1.png" in str(caught[0].message)


def test_all_corrupt(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"with 1 that cannot be read: 1 empty \(a.png"):
        load(tmp_path, batch_size=1)
    save(tmp_path / "a.png", 3, size=(40, 40))
    break_off(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"with 1 that cannot be read: 1 damaged"):
        load(tmp_path, batch_size=1)


def test_empty_and_missing_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(InputError, match="must hold images.*which has none"):
        load(tmp_path, batch_size=1)
    with pytest.raises(InputError, match="must exist.*nowhere"):
        load(str(tmp_path / "nowhere"), batch_size=1)


def test_images_next_to_class_folders(tmp_path):
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b" / "a.png", 1)
    with pytest.raises(InputError, match="1 images next to its sub-folders"):
        load(tmp_path, batch_size=1)


def test_labels_of_a_flat_folder(tmp_path):
    save(tmp_path / "a.png", 1)
    with pytest.raises(InputError, match="with_labels needs a set with labels"):
        load(tmp_path, batch_size=1, with_labels=True)


def test_num_images_spread_over_the_classes(tmp_path):
    for i in range(12):
        save(tmp_path / "abc"[i // 4] / f"{i:02}.png", i)
    assert values(load(tmp_path, batch_size=9, num_images=3)) == [0, 4, 8]
    assert data_info(tmp_path, num_images=3).num_images == 3
    with pytest.raises(InputError, match="num_images must not exceed .* has 12"):
        load(tmp_path, batch_size=1, num_images=13)


def test_a_file_that_changed_is_read_anew(tmp_path, either_way):
    path = tmp_path / "a.bmp"
    save(path, 1)
    assert values(load(tmp_path, batch_size=1)) == [1]
    before = path.stat()
    save(path, 2)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size, too
    assert values(load(tmp_path, batch_size=1)) == [2]


def test_an_edited_folder_is_read_anew(tmp_path):
    save(tmp_path / "a.png", 1)
    assert values(load(tmp_path, batch_size=1)) == [1]
    save(tmp_path / "a.png", 200, size=(10, 10))
    save(tmp_path / "b.png", 3, size=(10, 10))
    assert values(load(tmp_path, batch_size=2)) == [200, 3]


def test_bare_name_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "my_images" / "a.png", 5)
    save(tmp_path / "glyphs" / "a.png", 5)
    assert values(load("my_images", batch_size=1)) == [5]
    assert data_info("glyphs").num_images == 20_000  # a name comes before a folder
    assert data_info("./glyphs").num_images == 1


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_headers_are_read_without_decoding(tmp_path, monkeypatch, kind):
    save(tmp_path / f"a.{kind}", 9)
    path = tmp_path / f"b.{kind}"
    save(path, 9, size=(64, 64))
    path.write_bytes(path.read_bytes()[:-20])  # only `load` notices a truncated file
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    assert data_info(str(tmp_path), image_size=8).num_images == 2
    assert not decoded
