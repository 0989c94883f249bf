"""Each tutorial runs from top to bottom, with its parameters made small."""

import pathlib

import numpy as np
import pytest
from PIL import Image

TUTORIALS = pathlib.Path(__file__).resolve().parent.parent / "tutorials"
SMALL = {
    "00_first_generator.py": {"EPOCHS = 5": "EPOCHS = 1", "NUM_IMAGES = 20_000": "NUM_IMAGES = 128"}
}


def test_every_tutorial_is_listed_and_tested():
    names = {path.name for path in TUTORIALS.glob("*.py")}
    assert names == set(SMALL)
    index = (TUTORIALS / "README.md").read_text()
    assert all(name in index for name in names)


@pytest.mark.parametrize("name", SMALL)
def test_tutorial_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (TUTORIALS / name).read_text()
    for long, short in SMALL[name].items():
        assert long in code
        code = code.replace(long, short)
    namespace = {"__name__": "__main__"}
    exec(compile(code, name, "exec"), namespace)
    pictures = list(tmp_path.rglob("*.png"))
    assert len(pictures) >= 4
    for picture in pictures:
        with Image.open(picture) as opened:
            assert np.ptp(np.asarray(opened)) > 0  # something is on it
