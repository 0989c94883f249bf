"""Sets of tensorflow-datasets: small ones made here, the real ones where they are prepared."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.data import data_info, load
from keras_genimg.data.sets import tfds as tfds_sets
from keras_genimg.errors import InputError


@pytest.fixture
def real_set(real_data):
    """Tells how to load a real set, or skips where it is not prepared."""

    def find(name):
        if not os.path.isdir(os.path.join(real_data, name)):
            pytest.skip(f"{name} is not prepared in {real_data}")
        return {"name": name, "data_dir": real_data}

    return find


@pytest.fixture(scope="module")
def own_sets(tmp_path_factory):
    """A data_dir with four small prepared sets."""
    import tensorflow_datasets as tfds

    folder = str(tmp_path_factory.mktemp("tfds"))
    image = tfds.features.Image

    def store(name, features, make, count=7):
        examples = {split: [(i, make(i)) for i in range(count)] for split in ("train", "test")}
        with tfds_sets._quiet():
            tfds.dataset_builders.store_as_tfds_dataset(
                name, "1.0.0", data_dir=folder, split_datasets=examples, disable_shuffling=True,
                features=tfds.features.FeaturesDict(features),
            )  # fmt: skip

    label = tfds.features.ClassLabel(num_classes=3)
    store("even_set", {"image": image(shape=(4, 6, 3)), "label": label},
          lambda i: {"image": np.full((4, 6, 3), 10 * i, "uint8"), "label": i % 3})  # fmt: skip
    store("uneven_set", {"photo": image(shape=(None, None, 3))},
          lambda i: {"photo": np.full((4 + i, 6, 3), 10 * i, "uint8")})  # fmt: skip
    store("words", {"text": tfds.features.Text()}, lambda i: {"text": "word"})
    store("long_set", {"image": image(shape=(2, 2, 1)), "label": label},
          lambda i: {"image": np.full((2, 2, 1), i, "uint8"), "label": i % 3}, 200)  # fmt: skip
    return folder


def values(dataset):
    images = np.concatenate([batch.numpy() for batch in dataset])
    return [int(round((image[0, 0, 0] + 1) * 127.5)) for image in images]


@pytest.fixture(params=["in memory", "streamed"])
def either_way(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr("keras_genimg.data.images.MEMORY_LIMIT", 0)


def test_own_set(own_sets, either_way):
    assert data_info("even_set", data_dir=own_sets) == ((4, 6, 3), 7, 3)
    batches = list(load("even_set", data_dir=own_sets, batch_size=5, with_labels=True))
    assert [images.shape for images, _ in batches] == [(5, 4, 6, 3), (2, 4, 6, 3)]
    assert batches[0][1].dtype == tf.int32
    assert np.concatenate([labels for _, labels in batches]).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert values(images for images, _ in batches) == [0, 10, 20, 30, 40, 50, 60]


def test_reading_a_set_logs_nothing(own_sets, either_way, caplog):
    assert len(list(load("even_set", data_dir=own_sets, batch_size=5))) == 2
    assert not caplog.records


def test_the_environment_names_the_folder(own_sets, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", own_sets)
    assert data_info("even_set").num_images == 7


def test_size_and_channels(own_sets, either_way):
    options = {"data_dir": own_sets, "image_size": (3, 2), "channels": 1}
    assert data_info("even_set", **options) == ((3, 2, 1), 7, 3)
    (batch,) = load("even_set", batch_size=7, **options)
    assert batch.shape == (7, 3, 2, 1) and values([batch]) == [0, 10, 20, 30, 40, 50, 60]


def test_images_of_several_sizes(own_sets, either_way):
    with pytest.raises(InputError, match="need image_size"):
        load("uneven_set", data_dir=own_sets, batch_size=2)
    (batch,) = load("uneven_set", data_dir=own_sets, batch_size=7, image_size=4)
    assert batch.shape == (7, 4, 4, 3) and values([batch]) == [0, 10, 20, 30, 40, 50, 60]
    with pytest.raises(InputError, match="with_labels needs a set with labels"):
        load("uneven_set", data_dir=own_sets, batch_size=2, image_size=4, with_labels=True)


def test_orders(own_sets, either_way):
    def orders(**options):
        order = values(load("long_set", data_dir=own_sets, batch_size=64, **options))
        return [order[i : i + 200] for i in range(0, len(order), 200)]

    tf.random.set_seed(3)
    first = orders(shuffle_seed=5, epochs=4)
    assert all(sorted(one) == list(range(200)) for one in first)
    assert len({tuple(one) for one in first}) == 4
    tf.random.set_seed(4)  # the seed of the whole program has no say
    assert orders(shuffle_seed=5, epochs=2, first_epoch=2) == first[2:]
    assert orders(shuffle_seed=6)[0] != first[0]
    assert orders() == [list(range(200))]


def test_part_of_a_split_and_num_images(own_sets):
    assert data_info("even_set", "train[:4]", data_dir=own_sets).num_images == 4
    assert values(load("even_set", "train[2:4]", data_dir=own_sets, batch_size=4)) == [20, 30]
    assert values(load("even_set", data_dir=own_sets, batch_size=4, num_images=2)) == [0, 10]
    with pytest.raises(InputError, match="num_images must not exceed .* has 7"):
        load("even_set", data_dir=own_sets, batch_size=4, num_images=8)


@pytest.mark.parametrize("split", ["validation", "train[", "train[:0]"])
def test_unknown_split(own_sets, split):
    with pytest.raises(InputError, match="(one of .'test', 'train'.|must not be empty)") as error:
        load("even_set", split, data_dir=own_sets, batch_size=4)
    assert repr(split) in str(error.value)


def test_set_without_images(own_sets):
    with pytest.raises(InputError, match=r"feature of 8-bit images.*\['text'\]"):
        load("words", data_dir=own_sets, batch_size=4)


def test_unknown_configuration(tmp_path):
    with pytest.raises(InputError, match="known to .*name='lsun/no_such_room'"):
        load("lsun/no_such_room", data_dir=tmp_path, batch_size=4)


def test_neither_prepared_nor_downloadable(tmp_path, monkeypatch, capfd):
    import requests

    def no_network(*_, **__):
        raise requests.exceptions.ConnectionError("no network")

    monkeypatch.setattr(requests.Session, "request", no_network)
    start = time.monotonic()
    with pytest.raises(InputError) as error:
        load("cifar100", data_dir=tmp_path / "data", batch_size=4)
    assert time.monotonic() - start < 15
    for part in ("TFDS_DATA_DIR", "data_dir", str(tmp_path / "data"), "name='cifar100'", "reached"):
        assert part in str(error.value)
    assert not (tmp_path / "data").exists()
    assert capfd.readouterr() == ("", "")


def test_a_download_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def break_off(builder, *_, **__):
        root = Path(builder.data_path).parents[1]
        for half in ("cifar100/3.0.2.incomplete", "downloads/cifar100/half", "downloads/extracted"):
            (root / half).mkdir(parents=True)
        raise OSError("connection lost\nand more lines")

    monkeypatch.setattr(tfds_sets, "_probe", lambda url: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", break_off)
    with pytest.raises(InputError, match="connection lost$"):
        load("cifar100", data_dir=tmp_path / "data", batch_size=4)
    assert list(tmp_path.iterdir()) == []
    # What was there before stays.
    for kept in ("data/downloads/other", "data/cifar100/2.0.0", "data/mnist"):
        (tmp_path / kept).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        load("cifar100", data_dir=tmp_path / "data", batch_size=4)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name, shape, train, test",
    [
        ("mnist", (28, 28, 1), 60_000, 10_000),
        ("fashion_mnist", (28, 28, 1), 60_000, 10_000),
        ("cifar10", (32, 32, 3), 50_000, 10_000),
    ],
)
def test_real_sets(real_set, name, shape, train, test):
    where = real_set(name)
    assert data_info(**where) == (shape, train, 10)
    assert data_info(**where, split="test") == (shape, test, 10)
    dataset = load(**where, split="test", batch_size=1000, with_labels=True, shuffle_seed=0)
    assert len(dataset) == test // 1000
    images, labels = (np.concatenate(parts) for parts in zip(*dataset.as_numpy_iterator()))
    assert images.shape == (test, *shape) and images.dtype == np.float32
    assert images.min() == -1 and images.max() == 1
    np.testing.assert_array_equal(
        np.bincount(labels),
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009] if name == "mnist" else [1000] * 10,
    )


def test_real_images_are_those_of_tfds(real_set):
    where = real_set("fashion_mnist")
    import tensorflow_datasets as tfds

    expected = tfds.load(where["name"], split="test", data_dir=where["data_dir"]).take(20)
    (batch,) = load(**where, split="test", batch_size=20, num_images=20)
    stored = np.stack([example["image"] for example in expected])
    np.testing.assert_allclose((batch.numpy() + 1) * 127.5, stored, atol=1e-3)
