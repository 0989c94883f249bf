"""What a run folder holds, and how it is recognised."""

import csv
import json
import math
import os
import platform

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.callbacks import latest_checkpoint
from keras_genimg.callbacks.resume import read_note
from keras_genimg.checks import is_integer
from keras_genimg.core import ImageModel
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.runs.store import is_run, write_json
from keras_genimg.version import __version__

__all__ = [
    "check_run", "cut_logs", "describe_run", "is_run", "load_run", "read_record", "resume_point",
    "start_from", "write_json",
]


def load_run(folder) -> ImageModel:
    """The trained model of a run folder: its `model.keras`, or its last checkpoint."""
    check_run(folder)
    path = os.path.join(folder, "model.keras")
    if not os.path.exists(path):
        found = latest_checkpoint(os.path.join(folder, "checkpoints"))
        if found is None:
            raise InputError(
                f"A run folder holds model.keras or a checkpoint after its first epoch. "
                f"Received: {folder}, which has neither."
            )
        path = str(found[0])
    try:
        return keras.saving.load_model(path)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{path} could not be read as a model: {error}") from error


def resume_point(folder, record: dict) -> tuple:
    """Where the run in a folder goes on: its last intact checkpoint, or else its `model.keras`.

    Args:
        folder: path of a run folder.
        record: dict, the content of its `run.json`.

    Returns:
        `(path, epochs)`: the file, and the epochs that it was trained for.

    Raises:
        InputError: neither is intact.
    """
    found = latest_checkpoint(os.path.join(folder, "checkpoints"))
    if found is not None:
        return found
    path, epochs = os.path.join(folder, "model.keras"), record.get("epochs_done")
    try:
        read_note(path)
    except InputError:
        epochs = None
    if not is_integer(epochs):
        raise InputError(
            "--resume never trains from scratch, and goes on from an intact checkpoint or "
            f"model.keras. Received: {folder}, which has none; --overwrite replaces it."
        )
    return path, epochs


def start_from(model, folder) -> None:
    """Copies the weights of a run's model, which may have been trained differently.

    Args:
        model: model, newly created.
        folder: path of a run folder with the same networks. One class is the other or its
            subclass, such as VAE and IWAE.

    Raises:
        InputError: not a run, or a run of another class or with other shapes.
    """
    other = load_run(folder)
    mine, given = ([tuple(w.shape) for w in each.weights] for each in (model, other))
    related = isinstance(other, type(model)) or isinstance(model, type(other))
    if not related or mine != given:
        numbers = [sum(math.prod(shape) for shape in shapes) for shapes in (mine, given)]
        raise InputError(
            "--start-from takes a run of the same model with the same networks: "
            f"{type(model).__name__} with {numbers[0]:,} weights. "
            f"Received: {folder}, {type(other).__name__} with {numbers[1]:,}."
        )
    model.set_weights(other.get_weights())


def check_run(folder) -> None:
    if is_run(folder):
        return
    wanted = "RUN must be a folder that keras-genimg train created, with a run.json."
    if os.path.isfile(os.path.join(folder, "saved_model.pb")):
        raise InputError(f"{wanted} Received: {folder}, which is a SavedModel; its parent "
                         "folder is the run folder.")
    if not os.path.exists(folder):
        raise InputError(f"{wanted} Received: {folder}, which does not exist.")
    raise InputError(f"{wanted} Received: {folder}, which has none.")


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
    path = os.path.join(folder, "run.json")
    try:
        with open(path) as file:
            record = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} could not be read: {error}.") from error
    settings = record.get("settings", {})
    if "damage" in settings:  # the names of version 0.1
        settings["corruption"] = settings.pop("damage")
    if record.get("model") == "vae" and "importance_samples" in settings.get("set", {}):
        if settings["set"]["importance_samples"] > 1:
            record["model"] = "iwae"
        else:
            del settings["set"]["importance_samples"]
    return record


def cut_logs(path, epochs) -> None:
    """Keeps the header and the rows of the first `epochs` epochs."""
    if not os.path.exists(path):
        return
    try:
        with open(path, newline="") as file:
            rows = list(csv.reader(file))
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path} could not be read: {error}. Move it away to go on without it."
        ) from error
    kept = rows[:1] + [
        row for row in rows[1:]
        if len(row) == len(rows[0]) and row[0].isdigit() and int(row[0]) < epochs
    ]
    if len(kept) < 2:
        os.remove(path)
        return
    with replace_when_complete(path) as partial, open(partial, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(kept)
