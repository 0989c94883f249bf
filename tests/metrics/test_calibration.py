"""On a ladder of known damage every metric moves the way it must: built-in digits, small."""

import pathlib
import runpy

import pytest

from keras_genimg.metrics import get_features

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "calibration.py"
COUNT = 1000
LADDERS = [
    ["noise 0.1", "noise 0.2", "noise 0.4"],
    ["blur 0.5 pixels", "blur 1.0 pixels", "blur 2.0 pixels"],
    ["1 of 10 classes missing", "3 of 10 classes missing", "5 of 10 classes missing"],
    ["each picture 2 times", "each picture 10 times", "each picture 100 times"],
]


@pytest.fixture(scope="module")
def table():
    calibration = runpy.run_path(str(SCRIPT))
    real, _ = calibration["everything"]("glyphs", "test", num_images=COUNT)
    images, labels = calibration["everything"]("glyphs", "train", num_images=3 * COUNT)
    rungs = calibration["ladder"](images, labels, COUNT)
    return calibration["measure"](rungs, real, get_features("glyphs"))


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: ladder[0])
def test_distances_rise_and_coverage_falls(table, ladder):
    for figure, sign in (("frechet_distance", 1), ("kernel_distance", 1), ("coverage", -1)):
        steps = [sign * table[rung][figure] for rung in ladder]
        assert steps == sorted(steps), (figure, steps)
        # The worst is far from the floor; kernel distances scatter around 0.
        floor = sign * table["none (the floor)"][figure]
        assert steps[-1] - floor > 0.1 * abs(floor), figure


def test_recall_sees_what_is_missing(table):
    for ladder in LADDERS:
        assert table[ladder[-1]]["recall"] < table["none (the floor)"]["recall"] - 0.1


def test_precision_sees_noise_and_not_what_is_missing(table):
    floor = table["none (the floor)"]["precision"]
    assert table["noise 0.4"]["precision"] < floor - 0.1
    assert table["5 of 10 classes missing"]["precision"] > floor - 0.05


def test_the_score_counts_classes(table):
    # Ten sure classes give 10, five give 5.
    floor, half = table["none (the floor)"], table["5 of 10 classes missing"]
    assert floor["inception_score"] == pytest.approx(10, abs=1)
    assert half["inception_score"] == pytest.approx(5, abs=0.6)
