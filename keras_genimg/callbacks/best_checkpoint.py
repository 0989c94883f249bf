"""Keeps the best model of a run."""

import glob
import math
import os
import warnings
from pathlib import Path

from keras_genimg.callbacks.checkpoint_files import read_note, save_checkpoint
from keras_genimg.callbacks.copying import CopiedCallback
from keras_genimg.callbacks.resume import remove_partial_files
from keras_genimg.checks import check_choice, check_count, is_number
from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError

__all__ = ["BestCheckpoint"]


class BestCheckpoint(CopiedCallback):
    """Saves the model whenever a logged value improves on the best so far.

    Unregularised GANs get worse late in training, so the last model is rarely
    the best. The file also stores the value, so a resumed run never replaces a
    better model with a worse one.

    Args:
        path: path ending in `.keras`.
        monitor: str. Any name in the logs of an epoch, including those that another
            callback adds (list that callback first).
        mode: `"min"` or `"max"`. Which values are better.
        every: int. Number of epochs between checks, for values that are not in the
            logs of every epoch (`validation_freq`, an expensive metric).

    Raises:
        InputError: an invalid argument; when training begins, a file at `path`
            that was written by something else or for another monitor or mode;
            at the end of an epoch, a `monitor` that is not in the logs.

    Example:
        >>> best = BestCheckpoint("run/best.keras", monitor="frechet_distance", mode="min")
        >>> model.fit(dataset, epochs=50, callbacks=[evaluate, best])
        >>> best.best
        11.3
    """

    def __init__(
        self, path: str | os.PathLike, monitor: str = "loss", mode: str = "min", every: int = 1
    ):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".keras":
            raise InputError(f"path must end in .keras. Received: path={path}.")
        self.monitor = monitor
        self.mode = check_choice("mode", mode, ("min", "max"))
        self.every = check_count("every", every)
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
            warnings.warn(f"{error} The next model replaces it.", stacklevel=1)
            return
        same = (note.get("monitor"), note.get("mode")) == (self.monitor, self.mode)
        if not same or not is_number(note.get("value")):
            raise InputError(
                f"{self.path} must be new, or hold the best model by {self.monitor!r} "
                f"({self.mode}). Received: the best model by "
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
