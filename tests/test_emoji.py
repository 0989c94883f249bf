"""The folders that `benchmarks/emoji.py` writes of two drawings."""

import importlib
import io
import pathlib
import zipfile

import pytest
from PIL import Image

from keras_genimg.data import data_info
from keras_genimg.data.pairs import open_pairs

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def archives(tmp_path):
    """Two drawings of twenty emoji in two classes, transparent."""
    paths = [tmp_path / f"{drawing}.zip" for drawing in ("noto", "twemoji")]
    for path in paths:
        with zipfile.ZipFile(path, "w") as file:
            for index in range(20):
                image = io.BytesIO()
                Image.new("RGBA", (8, 8), (index, 0, 0, 0)).save(image, "PNG")
                name = f"{path.stem}/{'ab'[index % 2]}/{index:02x}.png"
                file.writestr(name, image.getvalue())
    return paths


@pytest.fixture(scope="module")
def emoji():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("emoji")


def test_one_folder_holds_both_drawings(emoji, archives, tmp_path):
    output = tmp_path / "emoji"
    assert emoji.lay_out(archives, output, 9) == {"train": 36, "test": 4}
    assert data_info(output) == ((8, 8, 3), 36, 2)
    test = sorted(path.name for path in (output / "test").rglob("*.png"))
    assert test == ["noto-09.png", "noto-13.png", "twemoji-09.png", "twemoji-13.png"]


def test_separate_folders_are_paired_by_name(emoji, archives, tmp_path):
    assert emoji.lay_out(archives, tmp_path, 9, separate=True) == {"train": 36, "test": 4}
    for split, count in (("train", 18), ("test", 2)):
        info, info_b, open_reader = open_pairs(tmp_path / "noto", tmp_path / "twemoji", split)
        assert info == info_b and info.num_images == count
        assert not open_reader().skipped
