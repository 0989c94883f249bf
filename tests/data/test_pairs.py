"""Pairs of two folders: names decide, and what has no partner is left out and counted."""

import warnings

import numpy as np
import pytest
from PIL import Image

from keras_genimg.data import load_pairs
from keras_genimg.data.pairs import open_pairs
from keras_genimg.errors import InputError


def save(folder, names, first, size=(6, 8), mode="L"):
    """Images named so, of the values first, first + 1, ..."""
    for value, name in enumerate(names, start=first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size[::-1], value if mode == "L" else (value, 0, 255)).save(path)
    return folder


def values(dataset):
    """The values of both images of each pair, as they were saved."""
    parts = [np.concatenate(part) for part in zip(*dataset.as_numpy_iterator())]
    return list(zip(*(((part[:, 0, 0, 0] + 1) * 127.5).round().astype(int).tolist()
                      for part in parts)))  # fmt: skip


@pytest.fixture(params=["in memory", "streamed"])
def either_way(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr("keras_genimg.data.images.MEMORY_LIMIT", 0)


@pytest.fixture
def folders(tmp_path):
    """Ten pairs in two classes, whose values differ by 100; the files differ in their endings."""
    names = [f"{kind}/{i}" for kind in "ab" for i in range(5)]
    one = save(tmp_path / "one", [f"train/{name}.png" for name in names], 10)
    two = save(tmp_path / "two", [f"Training/{name}.bmp" for name in names], 110, (12, 16), "RGB")
    return one, two


def test_files_of_one_name_are_a_pair(folders, either_way):
    inputs, targets = next(iter(load_pairs(*folders, batch_size=4)))
    assert inputs.shape == (4, 6, 8, 1) and targets.shape == (4, 6, 8, 3)
    assert values(load_pairs(*folders, batch_size=4)) == [(i, i + 100) for i in range(10, 20)]
    shuffled = values(load_pairs(*folders, batch_size=4, shuffle_seed=1, epochs=2))
    assert all(second == first + 100 for first, second in shuffled)
    firsts = [first for first, _ in shuffled]
    assert sorted(firsts[:10]) == sorted(firsts[10:]) == list(range(10, 20))
    assert firsts[:10] != firsts[10:]


def test_an_accent_may_be_written_in_two_ways(tmp_path):
    one = save(tmp_path / "one", ["caf\u00e9.png", "b.png"], 10)
    two = save(tmp_path / "two", ["cafe\u0301.png", "b.png"], 20)
    assert sorted(values(load_pairs(one, two, batch_size=2))) == [(10, 20), (11, 21)]


def test_a_resumed_stream_is_that_of_the_unbroken_one(folders, either_way):
    def stream(step):
        first_epoch, first_batch = divmod(step, 3)  # epochs of 3 batches
        return load_pairs(
            *folders, batch_size=3, shuffle_seed=4, drop_remainder=True, epochs=None,
            first_epoch=first_epoch, first_batch=first_batch,
        )  # fmt: skip

    unbroken = values(stream(0).take(9))
    assert values(stream(5).take(4)) == unbroken[15:]
    assert unbroken[:9] != unbroken[9:18]


def test_the_second_folder_is_resized_to_the_first_unless_a_size_is_given(folders):
    sizes = [
        [info.image_shape for info in open_pairs(*each, image_size=size)[:2]]
        for each, size in ((folders, None), (folders[::-1], None), (folders, 4))
    ]
    assert sizes == [
        [(6, 8, 1), (6, 8, 3)], [(12, 16, 3), (12, 16, 1)], [(4, 4, 1), (4, 4, 3)]
    ]  # fmt: skip


def test_what_lacks_a_partner_is_counted_in_one_warning(folders):
    one, two = folders
    save(one, ["train/a/x.png", "train/b/0b.png"], 1)
    save(two, ["Training/a/y.png"], 1)
    with pytest.warns(UserWarning, match="without a partner") as seen:
        pairs = values(load_pairs(one, two, batch_size=4))
    assert pairs == [(i, i + 100) for i in range(10, 20)]
    assert [str(each.message) for each in seen] == [
        "Images without a partner of the same name in the other folder are not used: 2 in "
        f"{str(one)!r} (train/a/x.png, train/b/0b.png); 1 in {str(two)!r} (Training/a/y.png)."
    ]
    with pytest.warns(UserWarning, match="without a partner"):
        assert open_pairs(one, two)[2]().skipped == {"without a partner": 3}


@pytest.mark.parametrize("backwards", [False, True])
def test_a_damaged_image_takes_its_partner_along(folders, either_way, backwards):
    path = folders[0] / "train/a/1.png"
    path.write_bytes(path.read_bytes()[:45])
    order = folders[::-1] if backwards else folders
    with pytest.warns(UserWarning, match="1 damaged or cut off") as seen:
        pairs = values(load_pairs(*order, batch_size=3))
    assert len(seen) == 1
    left = [(i, i + 100) for i in range(10, 20) if i != 11]
    assert [pair[::-1] for pair in pairs] == left if backwards else pairs == left


def test_a_pair_that_is_damaged_during_training_is_replaced_by_another(folders, monkeypatch):
    monkeypatch.setattr("keras_genimg.data.images.MEMORY_LIMIT", 0)
    pairs = load_pairs(*folders, batch_size=10)
    (folders[1] / "Training/a/2.bmp").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left = [i for i in range(10, 20) if i != 12]
        assert sorted(values(pairs)) == sorted([(i, i + 100) for i in [13, *left]])


def test_slices_are_parts_of_the_same_pairs(folders):
    one, two = folders
    (two / "Training/a/0.bmp").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        some = values(load_pairs(one, two, batch_size=2, num_images=3))
        parts = [values(load_pairs(one, two, f"train{part}", batch_size=4))
                 for part in ("[:70%]", "[70%:]")]  # fmt: skip
    assert sorted(sum(parts, [])) == [(i, i + 100) for i in range(11, 20)]
    assert some == [(11, 111), (14, 114), (17, 117)]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda one, two: ("mnist", two), "which folders of images have. Received: 'mnist'."),
        (lambda one, two: (one / "train/a", two / "Training"), "which share none in 'train'."),
        (lambda one, two: (save(one, ["train/a/1.bmp"], 1), two), "1.bmp and train/a/1.png"),
        (lambda one, two: (one, two / "none"), "must exist."),
    ],
    ids=range(4),
)
def test_folders_without_pairs_are_refused(folders, change, words):
    with pytest.raises(InputError) as raised:
        load_pairs(*change(*folders), batch_size=2)
    assert words in str(raised.value)


def test_a_folder_of_damaged_partners_is_refused(tmp_path):
    one = save(tmp_path / "one", ["0.png", "1.png"], 10)
    two = save(tmp_path / "two", ["0.png", "1.png"], 10)
    for path in (one / "0.png", two / "1.png"):
        path.write_bytes(path.read_bytes()[:45])
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(InputError, match="both images can be read"),
    ):
        load_pairs(one, two, batch_size=1)
