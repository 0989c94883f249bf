"""Checkpoints: a run that is stopped at any moment resumes and ends in the same state."""

import io
import json
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_genimg.callbacks.copying import CopiedCallback
from keras_genimg.checks import check_count, check_path
from keras_genimg.core.logs import nonfinite
from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete

__all__ = [
    "Resume", "latest_checkpoint", "latest_position", "read_note", "remove_partial_files",
    "restore_checkpoint", "restore_metrics", "save_checkpoint", "save_step",
]  # fmt: skip

# After an epoch, or in the next one, after some steps.
CHECKPOINT = re.compile(r"epoch-(\d{4,})(?:-step-(\d{6,}))?\.keras")
WEIGHTS = "model.weights.h5"  # the member of a .keras archive that holds all variables
METRICS = "metrics.npz"  # ours: the state of the metrics, which Keras does not save


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
        optimizers = _optimizers(self.model).values()
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
    folder = check_path("folder", folder)
    found = _newest_intact(found for found in _checkpoints(folder) if not found[1])
    return found and found[:2]


def latest_position(folder: str | os.PathLike) -> tuple[Path, int, int] | None:
    """Finds the newest intact checkpoint, also among those that were written within an epoch.

    Args:
        folder: see `latest_checkpoint`.

    Returns:
        `(path, epochs, steps)`: the epochs trained, and the steps of the next one; or None.
    """
    return _newest_intact(_checkpoints(folder))


def _newest_intact(checkpoints):
    for epoch, step, path in reversed(list(checkpoints)):
        try:
            read_note(path)
            return path, epoch, step
        except InputError as error:
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
    """
    with zipfile.ZipFile(path) as archive, archive.open(METRICS) as file:
        values = np.load(io.BytesIO(file.read()))
    for number, variable in enumerate(model.metrics_variables):
        variable.assign(values[f"arr_{number}"])


def save_checkpoint(
    model: keras.Model, path: Path, note: dict, metrics: Sequence[np.ndarray] = ()
) -> None:
    """Saves a model with a note in the same file, completely or not at all.

    Every worker calls it, because reading synchronised variables may need all of
    them; only the chief's file is kept.

    Args:
        model: `keras.Model`.
        path: `pathlib.Path` ending in `.keras`.
        note: dict for JSON, to which the states of seed generators are added.
        metrics: arrays, optional. The state of the metrics.
    """
    if not is_chief(model.distribute_strategy):
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / path.name)
        return
    seeds = [keras.ops.convert_to_numpy(state).tolist() for state in _seed_states(model)]
    with replace_when_complete(path) as partial:
        model.save(partial)
        # Keras's loader ignores the comment of the archive.
        with zipfile.ZipFile(partial, "a") as archive:
            if metrics:
                with archive.open(METRICS, "w") as file:
                    np.savez(file, *metrics)
            archive.comment = json.dumps({**note, "seed_generators": seeds}).encode()


def read_note(path: str | os.PathLike) -> dict:
    """Checks that a `.keras` file is intact, and reads its note.

    Args:
        path: path of a file.

    Returns:
        The dict given to `save_checkpoint`, with `seed_generators`; empty for
        other `.keras` files.

    Raises:
        InputError: the file is corrupt.
    """
    try:
        if not os.path.isfile(path):  # a FIFO would be waited for
            raise OSError("not a file")
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip() or (WEIGHTS not in archive.namelist() and WEIGHTS)
            note = json.loads(archive.comment or b"{}")
        if not isinstance(note, dict) or not isinstance(note.get("seed_generators", []), list):
            raise ValueError("its note is damaged")
    except Exception as error:  # whatever it is, the file is not what was written
        broken = error
    if broken:
        raise InputError(f"A checkpoint must be intact. Received: {path} ({broken}).")
    return note


def restore_checkpoint(model: keras.Model, path: str | os.PathLike) -> None:
    """Restores the state in a checkpoint into an existing model.

    Weights, optimizers, EMA copies and seed generators are set in place, so
    traced functions and other references to the variables stay valid.

    Args:
        model: `keras.Model`, built and compiled like the saved one.
        path: path of a file written by `save_checkpoint`.

    Raises:
        InputError: the file is of another model, or the model or one of its
            optimizers is not built.
    """
    note = read_note(path)
    if not model.built:
        raise InputError(
            "A model must have variables before a checkpoint is restored: call it or its "
            f"build() before fit(). Received: {type(model).__name__} without variables."
        )
    for name, optimizer in _optimizers(model).items():
        if not optimizer.built and optimizer is model.optimizer:
            with model.distribute_strategy.scope():
                optimizer.build(model.trainable_variables)
        elif not optimizer.built:
            raise InputError(
                "An optimizer must have variables before a checkpoint is restored: call its "
                "build(trainable_variables) in compile(). "
                f"Received: {type(model).__name__}.{name} without variables."
            )
    _check_same_model(model, path)
    states = _seed_states(model)
    seeds = note.get("seed_generators", [])
    if seeds and len(seeds) != len(states):
        raise InputError(
            f"Only the same model can resume a run: {path} has {len(seeds)} seed generators. "
            f"Received: {type(model).__name__} with {len(states)}."
        )
    model.load_weights(path)
    for state, seed in zip(states, seeds):
        state.assign(seed)


def _check_same_model(model, path):
    """Compares the saved variables with those of the model.

    Keras ignores variables that are only in the file, and only warns about an
    optimizer that does not match.
    """
    import h5py

    with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS) as file, h5py.File(file) as tree:
        saved = _shapes(tree)
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(Path(folder) / "live.weights.h5")
        with h5py.File(Path(folder) / "live.weights.h5") as tree:
            live = _shapes(tree)
    for name in sorted(saved.keys() | live.keys()):
        if saved.get(name) != live.get(name):
            raise InputError(
                f"Only the same model can resume a run: in {path} the variable {name} "
                f"{_shape_text(saved.get(name))}. "
                f"Received: {type(model).__name__}, in which it {_shape_text(live.get(name))}."
            )


def _shapes(tree):
    """h5py file -> {name: shape} of its arrays. Names come from attributes and classes."""
    shapes = {}
    tree.visititems(
        lambda name, item: shapes.update({name: item.shape}) if hasattr(item, "shape") else None
    )
    return shapes


def _shape_text(shape):
    return "does not exist" if shape is None else f"has the shape {tuple(shape)}"


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


def _optimizers(model):
    """{attribute: optimizer} of a model with one or more optimizers."""
    found = {}
    for name, value in vars(model).items():
        if isinstance(value, keras.optimizers.Optimizer) and value not in found.values():
            found[name] = value
    return found


def _seed_states(model):
    """State variables of the seed generators in a model, in a fixed order."""
    others = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    states = {id(variable): variable for variable in model.variables}
    return [variable for key, variable in states.items() if key not in others]
