"""Checkpoint files: a `.keras` archive with a note, which holds what Keras does not save."""

import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete

__all__ = [
    "CHECKPOINT", "optimizers_of", "read_metrics", "read_note", "restore_checkpoint",
    "save_checkpoint",
]  # fmt: skip

# After an epoch, or in the next one, after some steps.
CHECKPOINT = re.compile(r"epoch-(\d{4,})(?:-step-(\d{6,}))?\.keras")
WEIGHTS = "model.weights.h5"  # the member of a .keras archive that holds all variables
METRICS = "metrics.npz"  # ours: the state of the metrics, which Keras does not save


def save_checkpoint(
    model: keras.Model, path: Path, note: dict, metrics: Sequence[np.ndarray] | None = None
) -> None:
    """Saves a model with a note in the same file, completely or not at all.

    Every worker calls it, because reading synchronised variables may need all of
    them; only the chief's file is kept.

    Args:
        model: `keras.Model`.
        path: `pathlib.Path` ending in `.keras`.
        note: dict for JSON, to which the states of seed generators and a checksum are added.
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
            if metrics is not None:
                with archive.open(METRICS, "w") as file:
                    np.savez(file, *metrics)
            note = {**note, "seed_generators": seeds}
            archive.comment = json.dumps({**note, "checksum": _checksum(note)}).encode()


def _checksum(note):
    """That of a note, for which a ZIP archive has none."""
    return zlib.crc32(json.dumps(note, sort_keys=True).encode())


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
            note = json.loads(archive.comment or b"{}")
            _check_note(note, os.path.basename(path))
            broken = archive.testzip() or (WEIGHTS not in archive.namelist() and WEIGHTS)
            if note.get("step"):
                _metrics_in(archive)
    except Exception as error:  # whatever it is, the file is not what was written
        broken = error
    if broken:
        raise InputError(f"A checkpoint must be intact. Received: {path} ({broken}).")
    return note


def read_metrics(path: str | os.PathLike) -> list:
    """The state of the metrics in an intact checkpoint within an epoch.

    Args:
        path: path of a file.

    Returns:
        list of arrays, see `save_checkpoint`.
    """
    with zipfile.ZipFile(path) as archive:
        return _metrics_in(archive)


def _metrics_in(archive):
    with archive.open(METRICS) as file:
        return list(np.load(io.BytesIO(file.read())).values())


def _check_note(note, name):
    """Raises `ValueError` for a note that is not what was written, and removes its checksum."""
    if not isinstance(note, dict) or not isinstance(note.get("seed_generators", []), list):
        raise ValueError("its note is damaged")
    checksum = note.pop("checksum", None)  # None in a file of an earlier version
    if checksum not in (None, _checksum(note)):
        raise ValueError("its note is damaged")
    match = CHECKPOINT.fullmatch(name)
    epoch, step = (int(match[1]), int(match[2] or 0)) if match else (None, None)
    if match and (epoch, step) != (note.get("epoch", epoch), note.get("step", 0)):
        raise ValueError("its note is that of another epoch or step")


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
    for name, optimizer in optimizers_of(model).items():
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
    for state, seed in zip(states, seeds):
        if not _is_state(seed, state):
            raise InputError(
                "The seed generators of a checkpoint must have states like those of the model. "
                f"Received: {path} with {str(seed)[:60]}."
            )
    model.load_weights(path)
    for state, seed in zip(states, seeds):
        state.assign(seed)


def _is_state(value, state):
    """Whether a value of JSON has the shape and the type of a variable of integers."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        return False
    integers = array.dtype.kind in "iu" and array.shape == tuple(state.shape)
    return integers and bool(np.all(array.astype(state.dtype) == array))


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


def optimizers_of(model: keras.Model) -> dict:
    """The optimizers of a model that may have several.

    Args:
        model: `keras.Model`.

    Returns:
        dict from an attribute of the model to its optimizer.
    """
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
