"""What a run folder holds, and how it is recognised."""

import contextlib
import csv
import json
import math
import os
import platform

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.callbacks import latest_checkpoint
from keras_genimg.callbacks.checkpoint_files import read_note
from keras_genimg.callbacks.resume import latest_position
from keras_genimg.checks import check_choice, check_count, check_number, first_reason, is_integer
from keras_genimg.core import ImageModel
from keras_genimg.core.priors import PRIORS
from keras_genimg.data import check_binarize, check_corruption
from keras_genimg.errors import InputError, tell
from keras_genimg.export import is_saved_model
from keras_genimg.files import check_writable, replace_when_complete
from keras_genimg.options import RANGES, check_option
from keras_genimg.runs.records import is_run, write_json
from keras_genimg.shipped import load_preset, presets
from keras_genimg.version import __version__
from keras_genimg.workers import STRATEGIES

__all__ = [
    "check_entries", "check_run", "cut_logs", "describe_run", "find_run", "is_preset", "load_run",
    "read_logs", "read_record", "resume_point", "start_from", "write_json",
]

FILES = (
    "run.json", "model.keras", "best.keras", "logs.csv", "losses.png", "samples.png",
    "progress.gif", "README.md",
)  # fmt: skip
FOLDERS = ("checkpoints", "samples", "tensorboard")
OVERWRITE = "train --overwrite trains the run again."
NULL = type(None)
# What is read of run.json: name -> types and the object that holds it. All but the model, the
# settings and their data may be missing.
OF_RECORD = {
    "model": ((str,), None), "settings": ((dict,), None), "seconds": ((int, float), None),
    "epochs_done": ((int,), None), "model_epochs": ((int,), None), "final_logs": ((dict,), None),
    "holdout": ((float, NULL), "settings"), "set": ((dict,), "settings"),
    **dict.fromkeys(("data", "strategy"), ((str,), "settings")),
    **dict.fromkeys((
        "recipe", "start_from", "data_dir", "binarize", "corruption", "data_b", "policy",
        "features",
    ), ((str, NULL), "settings")),
    **dict.fromkeys(("batch_size", "epochs", "seed"), ((int,), "settings")),
    **dict.fromkeys((
        "image_size", "channels", "steps_per_epoch", "evaluate_every",
    ), ((int, NULL), "settings")),
}  # fmt: skip
# Checks of the values that no option has, or that the command line leaves to the data.
CHECKS = {
    "seconds": lambda value: check_number("seconds", value),
    "epochs_done": lambda value: _check_epochs("epochs_done", value),
    "model_epochs": lambda value: _check_epochs("model_epochs", value),
    "binarize": check_binarize,
    "corruption": lambda value: check_corruption(value, (1, 1, 3)),  # of any kind
    "strategy": lambda value: check_choice("strategy", value, STRATEGIES),
}


def _check_epochs(name, value):
    check_count(name, value, minimum=0, maximum=RANGES["epochs"][1])


def find_run(name) -> str:
    """Finds what RUN stands for, and says which of the two where there may be doubt.

    Args:
        name: path of a run folder, or the name of a preset. A folder takes precedence.

    Returns:
        The folder into which commands write by default: the run's, or that of the preset's name in
        `presets`, since the package's own files stay as they are.

    Raises:
        InputError: neither.
    """
    check_run(name)
    if is_preset(name):
        tell(f"{name} is the preset that comes with the package.")
        return os.path.join("presets", name)
    if name in presets():
        tell(f"{name} is the run folder here, not the preset of that name.")
    return name


def is_preset(name) -> bool:
    """Whether RUN stands for a preset of the package: a folder of that name takes precedence."""
    return name in presets() and not os.path.lexists(name)


def load_run(folder) -> ImageModel:
    """The trained model of a run folder, its `model.keras` or its last checkpoint; or a preset.

    Raises:
        InputError: not a run, one without a model, or a model that cannot be read.
    """
    check_run(folder)
    if is_preset(folder):
        return load_preset(folder)
    path = os.path.join(folder, "model.keras")
    if not os.path.lexists(path):
        path = _last_checkpoint(folder)
        if path is None:
            raise InputError(
                f"A run folder holds model.keras or a checkpoint after its first epoch. "
                f"Received: {folder}, which has neither."
            )
    try:
        read_note(path)  # compares every byte with its checksums
        model = keras.saving.load_model(path)
        if not isinstance(model, ImageModel):
            raise ValueError(f"it holds a {type(model).__name__}")
    except Exception as error:  # whatever it is, the file is not what was written
        if not os.path.lexists(path):  # a training has removed it meanwhile, and written others
            return load_run(folder)
        other = _last_checkpoint(folder)
        hint = "Without it, the last checkpoint is used." if other not in (None, path) else ""
        if isinstance(error, InputError):
            raise InputError(f"{error} {hint or OVERWRITE}") from error
        raise InputError(
            "A run's model must be of this version or an earlier one. "
            f"Received: {path}, which could not be loaded: {first_reason(error)}. "
            f"{hint or OVERWRITE}"
        ) from error
    return model


def _last_checkpoint(folder):
    found = latest_checkpoint(os.path.join(folder, "checkpoints"))
    return None if found is None else str(found[0])


def resume_point(folder, record: dict, wanted: int) -> tuple:
    """Where the run in a folder goes on: its last intact checkpoint or its `model.keras`.

    Args:
        folder: path of a run folder.
        record: dict, the content of its `run.json`.
        wanted: int. Epochs to train in all. A checkpoint within a later one is left out.

    Returns:
        `(path, epochs, steps)`: the file, the epochs that it was trained for, and the steps of
        the next one.

    Raises:
        InputError: neither is intact.
    """
    checkpoints = os.path.join(folder, "checkpoints")
    found = latest_position(checkpoints)
    if found is not None and found[1] >= wanted and found[2]:
        found = latest_checkpoint(checkpoints)
        found = found and (*found, 0)
    # A run of an earlier version does not say how long its model was trained.
    path = os.path.join(folder, "model.keras")
    epochs = record.get("model_epochs", record.get("epochs_done"))
    if is_integer(epochs) and (found is None or epochs > found[1] and "model_epochs" in record):
        with contextlib.suppress(InputError):
            read_note(path)
            found = path, epochs, 0
    if found is None:
        raise InputError(
            "--resume never trains from scratch: it needs an intact checkpoint or "
            f"model.keras. Received: {folder}, which has none; --overwrite replaces it."
        )
    return found


def start_from(model, folder) -> None:
    """Copies the weights of a trained model, which may have been trained differently.

    Args:
        model: model, newly created.
        folder: path of a run folder, or the name of a preset, with the same networks, priors
            apart. One class is the other or its subclass, such as VAE and IWAE.

    Raises:
        InputError: not a run, or a run of another class or with other shapes.
    """
    find_run(folder)
    other = load_run(folder)
    own, others = _without_priors(model), _without_priors(other)
    mine, given = ([tuple(w.shape) for w in weights] for weights in (own, others))
    related = isinstance(other, type(model)) or isinstance(model, type(other))
    if not related or mine != given:
        numbers = [sum(math.prod(shape) for shape in shapes) for shapes in (mine, given)]
        raise InputError(
            "--start-from takes a run or a preset of the same model with the same networks: "
            f"{type(model).__name__} with {numbers[0]:,} weights. "
            f"Received: {folder}, {type(other).__name__} with {numbers[1]:,}."
        )
    for weight, value in zip(own, others):
        weight.assign(value.numpy())


def _without_priors(model):
    """The weights of a model, without those of priors, which are fitted after its training."""
    priors = [each for each in (getattr(model, name, None) for name in PRIORS) if each is not None]
    held = {id(weight) for prior in priors for weight in prior.weights}
    return [weight for weight in model.weights if id(weight) not in held]


def check_run(folder) -> None:
    if is_run(folder) or is_preset(folder):
        return
    wanted = (
        "RUN must be a folder that keras-genimg train created, with a run.json, or a preset "
        f"({', '.join(presets())})."
    )
    if os.path.isfile(os.path.join(folder, "saved_model.pb")):
        raise InputError(f"{wanted} Received: {folder}, which is a SavedModel; its parent "
                         "folder is the run folder.")
    if not os.path.exists(folder):
        raise InputError(f"{wanted} Received: {folder}, which does not exist.")
    hint = " and hides the preset of that name" if folder in presets() else ""
    raise InputError(f"{wanted} Received: {folder}, which has none{hint}.")


def describe_run(name, model, settings, info, strategy) -> dict:
    return {
        "model": name,
        "class": type(model).__name__,
        "settings": settings,
        "arguments": model.get_config(),
        "compile": model.get_compile_config(),
        "parameters": model.count_params(),
        "num_images": info.num_images,
        "replicas": strategy.num_replicas_in_sync,
        "versions": {
            "keras_genimg": __version__, "keras": keras.__version__, "tensorflow": tf.__version__,
            "numpy": np.__version__, "python": platform.python_version(),
        },
    }


def read_record(folder) -> dict:
    """The content of a run's `run.json`, with the names of this version; the card of a preset.

    Raises:
        InputError: it cannot be read, or is not what `train` wrote.
    """
    if is_preset(folder):
        return presets()[folder]
    path = os.path.join(folder, "run.json")
    try:
        with open(path) as file:
            record = json.load(file)
        _check_record(record)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} could not be read: {str(error).rstrip('.')}. generate and export do not "
            f"need it. {OVERWRITE}"
        ) from error
    settings = record["settings"]
    if "damage" in settings:  # the names of version 0.1
        settings["corruption"] = settings.pop("damage")
    if record["model"] == "vae" and "importance_samples" in settings.get("set", {}):
        if settings["set"]["importance_samples"] > 1:
            record["model"] = "iwae"
        else:
            del settings["set"]["importance_samples"]
    return record


def _check_record(record):
    """Checks the types and the ranges of what is read of a record."""
    for name, (kinds, where) in OF_RECORD.items():
        part = record if where is None else record.get(where)
        if not isinstance(part, dict):
            raise ValueError(f"{where or 'it'} must be an object")
        if name not in part and name not in ("model", "settings", "data"):
            continue
        value = part.get(name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{name} is {str(value)[:60]!r}")
        check_option(name, value)
        if value is not None and name in CHECKS:
            CHECKS[name](value)
    given = record["settings"].get("set", {})
    check_count("importance_samples", given.get("importance_samples", 1))


def check_entries(folder) -> None:
    """Checks that what a training replaces in a run folder is of the kind that it wrote.

    Raises:
        InputError: a folder in place of a file, or the reverse, or a `saved_model` that
            holds something else.
    """
    places = {name: {} for name in FILES}
    places["saved_model"] = {"folder": True, "replaceable": is_saved_model}
    places.update(dict.fromkeys(FOLDERS, {"folder": True, "replaceable": os.path.isdir}))
    for each in (os.path.join(folder, name) for name in FOLDERS):
        if os.path.isdir(each):
            places.update({os.path.join(os.path.basename(each), name): {}
                           for name in os.listdir(each) if name.startswith("epoch-")})
    for name, kind in places.items():
        try:
            check_writable(os.path.join(folder, name), **kind)
        except InputError as error:
            raise InputError(f"{error} Move it away to continue without it.") from error


def read_logs(path) -> list:
    """The rows of a `logs.csv`, the header first; empty if there is none.

    Raises:
        InputError: it is not what a training wrote. The last row may be incomplete, or missing.
    """
    if not os.path.lexists(path):
        return []
    try:
        with open(path, newline="") as file:
            rows = list(csv.reader(file))
        if rows and rows[0][:1] != ["epoch"]:
            raise ValueError("its first column is not epoch")
        for number, row in enumerate(rows[1:-1], start=2):
            if len(row) != len(rows[0]) or not _are_numbers(row):
                raise ValueError(f"line {number} is damaged")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} could not be read: {error}. Move it away to continue without it."
        ) from error
    return rows if not rows[1:] or _are_numbers(rows[-1]) else rows[:-1]


def _are_numbers(row):
    try:
        return int(row[0]) >= 0 and all(cell == "NA" or float(cell) is not None for cell in row)
    except (ValueError, IndexError):
        return False


def cut_logs(path, epochs) -> None:
    """Keeps the header and the rows of the first `epochs` epochs."""
    if not os.path.exists(path):
        return
    rows = read_logs(path)
    kept = rows[:1] + [row for row in rows[1:] if len(row) == len(rows[0]) and int(row[0]) < epochs]
    if len(kept) < 2:
        os.remove(path)
        return
    with replace_when_complete(path) as partial, open(partial, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(kept)
