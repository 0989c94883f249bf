"""BestCheckpoint keeps the best, also across a restart."""

import keras
import numpy as np
import pytest

from keras_genimg.callbacks import BestCheckpoint
from keras_genimg.errors import InputError

DATA = np.zeros((2, 3), "float32")


class Score(keras.callbacks.Callback):
    """Logs the given values, and marks the model with the number of the epoch."""

    def __init__(self, values, name="score"):
        super().__init__()
        self.values = values
        self.name = name

    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[0].bias.assign([epoch + 1.0])
        if self.values[epoch] is not None:
            logs[self.name] = self.values[epoch]


def fit(values, best):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(
        DATA, DATA[:, :1], epochs=len(values), verbose=0, callbacks=[Score(values), best]
    )


def epoch_in(path):
    return float(keras.saving.load_model(path).layers[0].bias.numpy()[0])


@pytest.mark.parametrize("mode, epoch, value", [("min", 3, 1.0), ("max", 2, 9.0)])
def test_keeps_the_best_epoch(tmp_path, mode, epoch, value):
    path = tmp_path / "run" / "best.keras"
    best = BestCheckpoint(path, monitor="score", mode=mode)
    fit([5.0, 9.0, 1.0, 4.0, value], best)  # the last one equals the best: the first stays
    assert epoch_in(path) == epoch
    assert best.best == value


def test_default_is_the_lowest_loss(tmp_path):
    best = BestCheckpoint(str(tmp_path / "best.keras"))
    fit([0.0], best)
    assert best.best is not None and epoch_in(tmp_path / "best.keras") == 1


def test_best_survives_a_restart(tmp_path):
    path = tmp_path / "best.keras"
    fit([5.0, 2.0], BestCheckpoint(path, "score"))
    second = BestCheckpoint(path, "score")
    fit([4.0, 3.0, 2.5], second)  # all worse than the 2.0 of the first run
    assert second.best == 2.0
    assert epoch_in(path) == 2
    fit([4.0, 3.0, 1.5], BestCheckpoint(path, "score"))
    assert epoch_in(path) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_non_finite_values_are_never_best(tmp_path, bad, mode):
    path = tmp_path / "best.keras"
    best = BestCheckpoint(path, "score", mode)
    fit([bad], best)
    assert not path.exists()
    fit([bad, 3.0, bad], best)
    assert epoch_in(path) == 2 and best.best == 3.0


def test_unknown_monitor_lists_the_logs(tmp_path):
    with pytest.raises(InputError, match="loss, score.*Received: monitor='skore'"):
        fit([1.0], BestCheckpoint(tmp_path / "best.keras", "skore"))


def test_every_skips_epochs_without_the_value(tmp_path):
    path = tmp_path / "best.keras"
    fit([None, 3.0, None, 2.0, None], BestCheckpoint(path, "score", every=2))
    assert epoch_in(path) == 4


def test_another_monitor_or_mode_does_not_overwrite(tmp_path):
    path = tmp_path / "best.keras"
    fit([1.0], BestCheckpoint(path, "score"))
    for other in (BestCheckpoint(path, "loss"), BestCheckpoint(path, "score", "max")):
        with pytest.raises(InputError, match="Received: the best model by 'score' .min."):
            fit([1.0], other)


def test_corrupt_file_is_replaced_with_a_warning(tmp_path):
    path = tmp_path / "best.keras"
    path.write_bytes(b"not an archive")
    with pytest.warns(UserWarning, match="best.keras"):
        fit([1.0], BestCheckpoint(path, "score"))
    assert epoch_in(path) == 1


def test_partial_file_of_a_killed_run_is_removed(tmp_path):
    (tmp_path / ".partial-12.best.keras").write_bytes(b"x")
    fit([1.0], BestCheckpoint(tmp_path / "best.keras", "score"))
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]


@pytest.mark.parametrize(
    "arguments",
    [{"path": "best.h5"}, {"path": "a.keras", "mode": "auto"}, {"path": "a.keras", "every": 0}],
)
def test_arguments_are_checked(arguments):
    with pytest.raises(InputError, match="Received"):
        BestCheckpoint(**arguments)
