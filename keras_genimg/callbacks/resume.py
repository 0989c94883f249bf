"""Checkpoints: a run that is stopped at any moment resumes and ends in the same state."""

import os
import warnings
from pathlib import Path

import keras

from keras_genimg.callbacks.checkpoint_files import (
    CHECKPOINT,
    optimizers_of,
    read_metrics,
    read_note,
    restore_checkpoint,
    save_checkpoint,
)
from keras_genimg.callbacks.copying import CopiedCallback
from keras_genimg.checks import check_count, check_path
from keras_genimg.core.logs import nonfinite
from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError

__all__ = [
    "Resume", "latest_checkpoint", "latest_position", "remove_partial_files", "restore_metrics",
    "save_step",
]  # fmt: skip


class Resume(CopiedCallback):
    """Writes a checkpoint every epoch, and resumes from the newest one.

    A checkpoint is a `.keras` file (weights, optimizers and everything else that
    the model saves) that also stores the state of the model's seed generators,
    which Keras does not save. It appears under its name only when it is
    complete, so a run killed at any moment resumes after the last finished
    epoch. With data in the same order, the final weights equal those of an
    uninterrupted run. (`keras-genimg train` also stops at the end of a step after a signal, and
    goes on there: it opens the data at that step, which a callback cannot do.)

    State outside the model is not in a checkpoint: other callbacks restore their
    own state, and an input pipeline starts again from the beginning. An endless one
    has to skip the epochs that are done: `data.skip(epochs * steps_per_epoch)`.

    Under a multi-worker strategy all workers need access to the folder; the chief
    writes it.

    Args:
        folder: path of the checkpoints `epoch-0001.keras`, `epoch-0002.keras`, ...
            It must have no other files of that name.
        every: int. Epochs from one checkpoint to the next.
        keep: int. Checkpoints kept; with two or more, a corrupt file costs `every`
            epochs, not the run.

    Raises:
        InputError: invalid arguments; when training begins, checkpoints of
            another model, or a model or an optimizer that is not built; at the
            end of an epoch, weights that are NaN or infinite, which are never
            written.

    Example:
        >>> model.fit(dataset, epochs=20, callbacks=[Resume("run/checkpoints")])   # killed
        >>> model.fit(dataset, epochs=20, callbacks=[Resume("run/checkpoints")])   # resumes
    """

    def __init__(self, folder: str | os.PathLike, every: int = 1, keep: int = 2):
        super().__init__()
        self.folder = Path(check_path("folder", folder))
        self.every = check_count("every", every)
        self.keep = check_count("keep", keep)

    def on_train_begin(self, logs=None):
        if is_chief(self.model.distribute_strategy):
            remove_partial_files(self.folder, "epoch-*.keras")
        found = latest_checkpoint(self.folder)
        if found is not None:
            path, epoch = found
            restore_checkpoint(self.model, path)
            # `fit` reads it right after this call, as for keras.callbacks.BackupAndRestore.
            self.model._initial_epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        # If it stayed set, it would override `initial_epoch` of every later `fit`.
        self.model._initial_epoch = None

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None

    def on_epoch_end(self, epoch, logs=None):
        epoch += 1  # files and messages count from 1
        self._check_finite(epoch)
        if epoch % self.every:
            return
        save_checkpoint(self.model, self.folder / f"epoch-{epoch:04d}.keras", {"epoch": epoch})
        if is_chief(self.model.distribute_strategy):
            # Files of later epochs were found corrupt at the start.
            earlier = [found for found in _checkpoints(self.folder) if found[0] <= epoch]
            complete = [path for _, step, path in earlier if not step]
            in_epochs = [path for number, step, path in earlier if step and number < epoch]
            for path in (*complete[: -self.keep], *in_epochs):
                path.unlink(missing_ok=True)

    def _check_finite(self, epoch):
        optimizers = optimizers_of(self.model).values()
        variables = sum((optimizer.variables for optimizer in optimizers), self.model.weights)
        bad = nonfinite(variables)
        if bad:
            # A variable of a distribution strategy cannot be converted by int().
            steps = [keras.ops.convert_to_numpy(optimizer.iterations) for optimizer in optimizers]
            step = int(max(steps, default=0))
            good = [path for number, _, path in _checkpoints(self.folder) if number < epoch]
            raise InputError(
                "Weights must stay finite: lower the learning rate or clip the gradients, and "
                f"resume from the last good checkpoint ({good[-1] if good else 'none yet'}). "
                f"Received: NaN or infinity in {len(bad)} of {len(variables)} variables in "
                f"epoch {epoch} (step {step}), the first being {bad[0]}."
            )


def latest_checkpoint(folder: str | os.PathLike) -> tuple[Path, int] | None:
    """Finds the newest intact checkpoint of `Resume`.

    Every byte of the file is checked against its checksums. A corrupt file is
    skipped with a warning.

    Args:
        folder: path given to `Resume`, which need not exist.

    Returns:
        `(path, epoch)`, epoch being the number of epochs trained, or None.

    Raises:
        InputError: no path.

    Example:
        >>> latest_checkpoint("run/checkpoints")
        (PosixPath('run/checkpoints/epoch-0003.keras'), 3)
    """
    found = _newest_intact(check_path("folder", folder), whole_epochs=True)
    return found and found[:2]


def latest_position(folder: str | os.PathLike) -> tuple[Path, int, int] | None:
    """Finds the newest intact checkpoint, also among those that were written within an epoch.

    Args:
        folder: see `latest_checkpoint`.

    Returns:
        `(path, epochs, steps)`: the epochs trained, and the steps of the next one; or None.
    """
    return _newest_intact(folder)


def _newest_intact(folder, whole_epochs=False):
    for epoch, step, path in reversed(_checkpoints(folder)):
        if step and whole_epochs:
            continue
        try:
            read_note(path)
            return path, epoch, step
        except InputError as error:
            if not os.path.lexists(path):  # a training has removed it meanwhile
                return _newest_intact(folder, whole_epochs)
            warnings.warn(f"{error} It is skipped.", stacklevel=3)
    return None


def save_step(model: keras.Model, folder: str | os.PathLike, epoch: int, step: int) -> None:
    """Writes a checkpoint within an epoch; it replaces an earlier one.

    Args:
        model: `keras.Model`.
        folder: `pathlib.Path` of the checkpoints.
        epoch: int. Epochs trained.
        step: int. Steps of the next epoch that are done.
    """
    path = Path(folder) / f"epoch-{epoch:04d}-step-{step:06d}.keras"
    metrics = [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]
    save_checkpoint(model, path, {"epoch": epoch, "step": step}, metrics)
    for *place, other in _checkpoints(folder):
        if place[1] and place < [epoch, step]:
            other.unlink(missing_ok=True)


def restore_metrics(model: keras.Model, path: str | os.PathLike) -> None:
    """Restores the metrics in a checkpoint of `save_step`; Keras resets them in each epoch.

    Args:
        model: `keras.Model`.
        path: path of the file.

    Raises:
        InputError: the metrics are not those of the model.
    """
    values, variables = read_metrics(path), model.metrics_variables
    saved, live = ([tuple(each.shape) for each in arrays] for arrays in (values, variables))
    if saved != live:
        raise InputError(
            f"Only the same model can resume a run: {path} has metrics of the shapes {saved}. "
            f"Received: {type(model).__name__} with {live}."
        )
    for variable, value in zip(variables, values):
        variable.assign(value)


def remove_partial_files(folder: str | os.PathLike, pattern: str) -> None:
    """Deletes partial files of killed processes.

    Args:
        folder: path.
        pattern: glob pattern of the complete names.
    """
    for path in Path(folder).glob(f".partial-*.{pattern}"):
        path.unlink(missing_ok=True)


def _checkpoints(folder):
    """[(epochs, steps, path), ...] of the complete checkpoints in `folder`, oldest first."""
    folder = Path(folder)
    names = os.listdir(folder) if folder.is_dir() else []
    matches = filter(None, map(CHECKPOINT.fullmatch, names))
    return sorted((int(match[1]), int(match[2] or 0), folder / match[0]) for match in matches)
