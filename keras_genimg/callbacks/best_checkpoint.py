"""Keep the best model of a run, whichever epoch it was."""

import glob
import math
import warnings
from pathlib import Path

import keras

from keras_genimg.callbacks.resume import read_note, remove_partial_files, save_checkpoint
from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError

__all__ = ["BestCheckpoint"]


class BestCheckpoint(keras.callbacks.Callback):
    """Saves the model whenever a logged value is better than ever before.

    Unregularised GANs get worse late in training: the last model is rarely the
    one to keep. The value stands in the saved file itself, so that a run that
    is stopped and resumed never replaces a better model by a worse one.

    Args:
        path: path ending in `.keras`.
        monitor: str. Any name in the logs of an epoch, also one that another
            callback puts there (list that callback first).
        mode: `"min"` or `"max"`. Which values are better.
        every: int. Looks at every so many epochs only, for values that are not
            in the logs of each (`validation_freq`, a costly distance).

    Raises:
        InputError: a path or a mode that does not fit; when training begins, a
            file at `path` that is not of this callback, monitor and mode; at
            the end of an epoch, a `monitor` that is not in the logs.

    Example:
        >>> best = BestCheckpoint("run/best.keras", monitor="frechet_distance", mode="min")
        >>> model.fit(dataset, epochs=50, callbacks=[evaluate, best])
        >>> best.best
        11.3
    """

    def __init__(self, path, monitor="loss", mode="min", every=1):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".keras":
            raise InputError(f"path must end in .keras. Received: path={path}.")
        if mode not in ("min", "max"):
            raise InputError(f"mode must be min or max. Received: mode={mode!r}.")
        if every < 1:
            raise InputError(f"every must be at least 1. Received: every={every}.")
        self.monitor = monitor
        self.mode = mode
        self.every = every
        self.best = None

    def on_train_begin(self, logs=None):
        self.best = None
        if is_chief(self.model.distribute_strategy):
            remove_partial_files(self.path.parent, glob.escape(self.path.name))
        if not self.path.exists():
            return
        try:
            note = read_note(self.path)
        except InputError as error:
            warnings.warn(f"{error} The next model takes its place.", stacklevel=2)
            return
        if (note.get("monitor"), note.get("mode")) != (self.monitor, self.mode):
            raise InputError(
                f"{self.path} must be new, or hold the best model by {self.monitor!r} "
                f"({self.mode}), before it is written. Received: a model kept by "
                f"{note.get('monitor')!r} ({note.get('mode')})."
            )
        self.best = note["value"]

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        logs = logs or {}
        if self.monitor not in logs:
            raise InputError(
                f"monitor must be one of the logged names: {', '.join(sorted(logs)) or 'none'}. "
                f"Received: monitor={self.monitor!r}."
            )
        value = float(logs[self.monitor])
        if not math.isfinite(value):
            return
        sign = 1 if self.mode == "min" else -1
        if self.best is None or sign * value < sign * self.best:
            note = {"monitor": self.monitor, "mode": self.mode, "value": value, "epoch": epoch + 1}
            save_checkpoint(self.model, self.path, note)
            self.best = value
