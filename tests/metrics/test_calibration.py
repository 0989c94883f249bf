"""Every metric moves in the right direction as known corruption grows (built-in digits)."""

import pathlib
import runpy

import pytest

from keras_genimg.metrics import get_features

pytestmark = pytest.mark.full

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "calibration.py"
COUNT = 1000
KINDS = ["noise", "blur", "missing", "times"]  # words in the names of the three levels of each


@pytest.fixture(scope="module")
def table():
    calibration = runpy.run_path(str(SCRIPT))
    real, _ = calibration["everything"]("glyphs", "test", num_images=COUNT)
    images, labels = calibration["everything"]("glyphs", "train", num_images=3 * COUNT)
    rungs = calibration["ladder"](images, labels, COUNT)
    return calibration["measure"](rungs, real, get_features("glyphs"))


def levels(table, kind):
    """The rows of real images (the floor) and of one kind of corruption, from weak to strong."""
    rows = [row for name, row in table.items() if kind in name]
    assert len(rows) == 3
    return next(iter(table.values())), rows


@pytest.mark.parametrize("kind", KINDS)
def test_distances_rise_and_coverage_falls(table, kind):
    floor, rows = levels(table, kind)
    for metric, sign in (("frechet_distance", 1), ("kernel_distance", 1), ("coverage", -1)):
        values = [sign * row[metric] for row in rows]
        assert values == sorted(values), (metric, values)
        # The strongest level is far from the floor; kernel distances scatter around 0.
        assert values[-1] - sign * floor[metric] > 0.1 * abs(floor[metric]), metric


@pytest.mark.parametrize("kind", KINDS)
def test_recall_detects_what_is_missing(table, kind):
    floor, rows = levels(table, kind)
    assert rows[-1]["recall"] < floor["recall"] - 0.1


def test_precision_detects_noise_but_not_missing_classes(table):
    floor, rows = levels(table, "noise")
    assert rows[-1]["precision"] < floor["precision"] - 0.1
    assert levels(table, "missing")[1][-1]["precision"] > floor["precision"] - 0.05


def test_the_inception_score_counts_classes(table):
    # Ten certain classes give 10, five give 5.
    floor, rows = levels(table, "missing")
    assert floor["inception_score"] == pytest.approx(10, abs=1)
    assert rows[-1]["inception_score"] == pytest.approx(5, abs=0.6)
