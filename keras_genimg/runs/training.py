"""The command that trains: from settings to a run folder."""

import inspect
import math
import os
import shutil
import sys
import time

import keras
import numpy as np

import keras_genimg.models as models
from keras_genimg import plotting
from keras_genimg.callbacks import EvaluateSamples, ImageGrid, Resume, latest_checkpoint
from keras_genimg.data import binarized, data_info, load
from keras_genimg.distribution import get_strategy, is_chief
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.metrics import features_for
from keras_genimg.models.base import dtype_policy
from keras_genimg.runs.binary import check_binary, in_black_and_white
from keras_genimg.runs.folder import (
    check_run,
    cut_logs,
    describe_run,
    is_run,
    read_record,
    start_from,
    write_json,
)
from keras_genimg.runs.pairs import check_pair, damaged, in_pairs, pair_arguments

__all__ = ["constructor_arguments", "train"]

DEFAULTS = {
    "recipe": None,
    "start_from": None,
    "data": "glyphs",
    "data_dir": None,
    "image_size": None,
    "channels": None,
    "binarize": None,
    "damage": None,
    "data_b": None,
    "batch_size": 64,
    "epochs": 15,
    "steps_per_epoch": None,
    "seed": 0,
    "strategy": "auto",
    "policy": None,
    "evaluate_every": None,
    "features": None,
    "set": {},
}
# What some models have instead; a clip is many pictures.
DEFAULTS_OF = {
    "sequence_gan": {"data": "moving_glyphs", "batch_size": 32},
    "pix2pix": {"damage": "mask"},
    "cyclegan": {"batch_size": 16},  # four networks, and each generator works three times a step
}
SAMPLES = 10_000  # of an evaluation, as many as the test splits of the small sets hold
# What may differ when a run is resumed: none of it changes what an epoch does.
FREE_WHEN_RESUMED = ("epochs", "strategy", "data_dir")


def train(name, class_name, given, folder, resume=False, overwrite=False, recipe=None):
    """Trains a model into a run folder and prints where things are.

    Args:
        name: string, the model's name on the command line.
        class_name: string, its class in `keras_genimg.models`.
        given: dict of the settings named in `DEFAULTS`; None where not given.
        folder: path of the run folder.
        resume: bool. Goes on with the run that is there.
        overwrite: bool. Replaces the run that is there.
        recipe: dict, optional. Settings of a recipe, which go behind those that are given.

    Raises:
        InputError: a folder that exists and neither `resume` nor `overwrite`;
            settings that differ from those of the run to resume; settings that
            the data or the model refuses.
    """
    settings = _settings(name, given, recipe or {}, folder, resume, overwrite)
    strategy = get_strategy(settings["strategy"])
    chief = is_chief(strategy)

    # Everything that can be wrong is found out before anything is written.
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    info = data_info(settings["data"], **source)
    keras.utils.set_random_seed(settings["seed"])
    with strategy.scope(), dtype_policy(settings["policy"]):
        model = _make_model(class_name, settings, info)
    # --batch-size is that of one update; a step of some models holds several of their critic.
    batch_size = settings["batch_size"] * model.n_critic
    full_pass = max(1, info.num_images // batch_size)
    steps = settings["steps_per_epoch"] or full_pass
    found = latest_checkpoint(os.path.join(folder, "checkpoints")) if resume else None
    first_epoch = found[1] if found else 0
    if settings["start_from"] and not found:
        start_from(model, settings["start_from"])
    # One endless stream: its place depends on the number of steps alone, so that a resumed
    # run sees what the unbroken one would have seen.
    first_pass = first_epoch * steps // full_pass
    data = load(
        settings["data"],
        batch_size=batch_size,
        with_labels=model.needs_labels,
        shuffle_seed=settings["seed"],
        drop_remainder=True,
        epochs=None,
        first_epoch=first_pass,
        num_frames=getattr(model, "num_frames", None),
        **source,
    )
    if settings["binarize"]:
        data = binarized(data, settings["binarize"], settings["seed"], first_pass * full_pass)
    data = in_pairs(
        data, settings, info.image_shape, batch_size, first_epoch * steps, first_pass * full_pass
    )

    record = describe_run(name, model, settings, info, strategy)
    callbacks = _callbacks(model, folder, settings)
    evaluations = [_evaluation(folder, settings, info)] if settings["evaluate_every"] else []
    replaced = f"{os.path.normpath(folder)}.replaced"
    if chief:
        if overwrite and os.path.isdir(folder):
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(folder, replaced)  # deleted when the new run has something to show
        cut_logs(os.path.join(folder, "logs.csv"), first_epoch)
        progress = RunProgress(folder, record, read_record(folder) if resume else {})
        # The log line before the checkpoint: a row without its checkpoint is cut off when the
        # run is resumed, a checkpoint without its row would leave a hole.
        callbacks = [progress, keras.callbacks.CSVLogger(progress.logs_path, append=True), *callbacks]
    callbacks = [*evaluations, *callbacks]  # first, so that the others see what it finds
    try:
        model.fit(
            data,
            steps_per_epoch=steps,
            epochs=settings["epochs"],
            initial_epoch=first_epoch,
            callbacks=callbacks,
            verbose=("auto" if sys.stdout.isatty() else 2) if chief else 0,
        )
    except InputError:
        if chief and latest_checkpoint(os.path.join(folder, "checkpoints")) is None:
            # Nothing was learned: nothing is left, and nothing is lost.
            shutil.rmtree(folder, ignore_errors=True)
            if os.path.isdir(replaced):
                os.rename(replaced, folder)
        raise
    if chief:
        _write_results(model, folder, settings, progress.record)
        shutil.rmtree(replaced, ignore_errors=True)


class RunProgress(keras.callbacks.Callback):
    """Keeps `run.json` up to date: seconds, epochs done and the logs of the last one."""

    def __init__(self, folder, record, earlier):
        super().__init__()
        self.path = os.path.join(folder, "run.json")
        self.logs_path = os.path.join(folder, "logs.csv")
        self.earlier_seconds = earlier.get("seconds", 0.0)  # of the run that is resumed
        done = {name: earlier[name] for name in ("epochs_done", "final_logs") if name in earlier}
        self.record = {**record, "status": "training", "seconds": self.earlier_seconds, **done}

    def on_train_begin(self, logs=None):
        self.began = time.perf_counter()
        write_json(self.path, self.record)

    def on_epoch_end(self, epoch, logs=None):
        seconds = self.earlier_seconds + time.perf_counter() - self.began
        self.record["seconds"] = round(seconds, 1)
        self.record["epochs_done"] = epoch + 1
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        # An epoch without an evaluation has NaN, which JSON has not.
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self.record["final_logs"] = finite
        write_json(self.path, self.record)


def _settings(name, given, recipe, folder, resume, overwrite):
    """Complete settings, after a look at what is in the folder."""
    given = {key: value for key, value in given.items() if value is not None}
    exists = os.path.lexists(folder)
    if exists and not os.path.isdir(folder):
        raise InputError(f"A run goes into a folder. Received: {folder}, which is a file.")
    if overwrite and exists and os.listdir(folder) and not is_run(folder):
        raise InputError(
            f"--overwrite replaces a run folder, one with a run.json. Received: {folder}, "
            "which holds other things."
        )
    if not resume:
        if exists and os.listdir(folder) and not overwrite:
            raise InputError(
                f"{folder} exists; --resume goes on with it, --overwrite replaces it, "
                "--output RUN names another folder."
            )
        settings = {**DEFAULTS, **DEFAULTS_OF.get(name, {}), **recipe, **given}
        return {**settings, "set": {**recipe.get("set", {}), **given.get("set", {})}}
    check_run(folder)
    record = read_record(folder)
    if record["model"] != name:
        raise InputError(f"{folder} holds a run of {record['model']}. Received: {name}.")
    before = {**DEFAULTS, **record["settings"]}
    if "set" in given:  # beside what the run, or its recipe, has set
        given["set"] = {**before["set"], **given["set"]}
    changed = [
        f"{key}={given[key]!r} (was {before[key]!r})"
        for key in given
        if key not in FREE_WHEN_RESUMED and given[key] != before[key]
    ]
    if changed:
        raise InputError(
            f"A resumed run keeps its settings; only {', '.join(FREE_WHEN_RESUMED)} may change. "
            f"Received: {', '.join(changed)}."
        )
    return {**before, **given}


def _make_model(class_name, settings, info):
    """The model, from what the data says and what --set says."""
    model_class = getattr(models, class_name)
    check_pair(model_class, settings)
    check_binary(model_class, settings)
    of_model = constructor_arguments(model_class)
    of_compile = _parameters(model_class.compile) | {
        "run_eagerly", "steps_per_execution", "jit_compile"
    }
    unknown = [key for key in settings["set"] if key not in of_model | of_compile]
    if unknown:
        raise InputError(
            f"--set takes arguments of {class_name} ({', '.join(sorted(of_model))}) and of its "
            f"compile ({', '.join(sorted(of_compile))}). Received: {', '.join(unknown)}."
        )
    arguments = {"image_shape": info.image_shape, "seed": settings["seed"]}
    arguments.update(pair_arguments(settings, info.image_shape))
    if model_class.needs_labels:
        if info.num_classes is None:
            raise InputError(
                f"{class_name} is trained on labelled pictures. "
                f"Received: {settings['data']}, which has no labels."
            )
        arguments["num_classes"] = info.num_classes
    if "data_variance" in of_model and "data_variance" not in settings["set"]:
        arguments["data_variance"] = _data_variance(settings)
    arguments.update({key: value for key, value in settings["set"].items() if key in of_model})
    model = model_class(**arguments)
    model.compile(**{k: v for k, v in settings["set"].items() if k in of_compile - of_model})
    if hasattr(model, "start_at_mean") and model.networks == "mlp":
        model.start_at_mean(_some_pictures(settings, "train", 1000))
    return model


def _parameters(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} - {"self"}


def constructor_arguments(model_class):
    """Names of what a class is made with: a set."""
    return _parameters(model_class.__init__)


def _data_variance(settings):
    """Variance of the values of the first 1,000 training pictures or so."""
    first = _some_pictures(settings, "train", 1000)
    return round(float(np.var(first)), 4)


def _some_pictures(settings, split, count):
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    count = min(count, data_info(settings["data"], split, **source).num_images)
    data = load(settings["data"], split, batch_size=count, **source)
    return next(iter(in_black_and_white(data, settings))).numpy()


def _held_out(settings, count):
    """Pictures of the test split, or of the training split where there is no other."""
    try:
        return _some_pictures(settings, "test", count)
    except InputError:
        return _some_pictures(settings, "train", count)


def _callbacks(model, folder, settings):
    callbacks = []
    samples = os.path.join(folder, "samples")
    if _shows(model) == "generate":
        labels = _grid_labels(model.num_classes) if model.needs_labels else None
        number = 64 if labels is None else len(labels)
        if len(model.element_shape) == 4:
            number = 10  # clips, a row each
        callbacks.append(
            ImageGrid(samples, num_images=number, seed=settings["seed"], labels=labels)
        )
    elif hasattr(model, "downsample"):
        pictures = _held_out(settings, 18)
        low = model.downsample(pictures)
        callbacks.append(ImageGrid(samples, images=low, targets=pictures))
    elif settings["damage"]:
        pictures = _held_out(settings, 18)
        callbacks.append(
            ImageGrid(samples, images=damaged(pictures, settings), targets=pictures)
        )
    elif _shows(model) == "reconstruct":
        callbacks.append(ImageGrid(samples, images=_held_out(settings, 32)))
    callbacks.append(Resume(os.path.join(folder, "checkpoints")))
    return callbacks


def _grid_labels(num_classes):
    """Labels of a square grid of at most 10 x 10 whose columns have one class each."""
    shown = min(num_classes, 10)
    side = shown * (10 // shown)
    return np.arange(side * side) % shown


def _evaluation(folder, settings, info):
    return EvaluateSamples(
        _held_out(settings, SAMPLES),
        "frechet_distance",
        features=settings["features"] or features_for(settings["data"], info.image_shape),
        num_images=SAMPLES,
        every=settings["evaluate_every"],
        keep_best=os.path.join(folder, "best.keras"),
        seed=settings["seed"],
    )


def _shows(model):
    """How a model shows what it learned: "generate", "reconstruct" or "classify"."""
    if hasattr(model, "classify"):
        return "classify"
    try:
        model.draw_latents(1, 0)
        return "generate"
    except InputError:
        return "reconstruct"


def _write_results(model, folder, settings, record):
    """The files that a finished run ends with; run.json last, as the sign that all are there."""
    paths = {key: os.path.join(folder, key) for key in
             ("samples.png", "losses.png", "logs.csv", "model.keras", "saved_model", "run.json")}
    model.save(paths["model.keras"])
    model.export(paths["saved_model"])
    if _shows(model) == "classify":
        grid = _class_grid(model, _held_out(settings, 2000))
        notes = {"model": record["class"], "content": "real pictures, a row a class as guessed"}
        with replace_when_complete(paths["samples.png"]) as partial:
            plotting.save_png(partial, grid, notes, scale=2)
    else:
        # The grid of the last epoch, not a better one picked by eye.
        last = sorted(os.listdir(os.path.join(folder, "samples")))[-1]
        with replace_when_complete(paths["samples.png"]) as partial:
            shutil.copyfile(os.path.join(folder, "samples", last), partial)
    plotting.plot_losses(paths["logs.csv"], paths["losses.png"])
    write_json(paths["run.json"], {**record, "status": "complete"})
    print()
    if settings["evaluate_every"]:
        print(f"{'best':<12}{os.path.join(folder, 'best.keras')}")
    for what, key in (("samples", "samples.png"), ("losses", "losses.png"), ("logs", "logs.csv"),
                      ("model", "model.keras"), ("SavedModel", "saved_model"), ("record", "run.json")):
        print(f"{what:<12}{paths[key]}")


def _class_grid(model, images, columns=10):
    """Rows of pictures that the classifier puts in one class."""
    guesses = model.classify(images)
    rows = []
    for label in range(model.num_classes):
        row = images[guesses == label][:columns]
        rows.append(np.pad(row, ((0, columns - len(row)), (0, 0), (0, 0), (0, 0)),
                           constant_values=-1.0))
    return plotting.image_grid(np.concatenate(rows), columns=columns)
