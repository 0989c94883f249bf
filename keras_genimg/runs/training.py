"""The command that trains: from settings to a run folder."""

import math
import os
import shutil
import sys
import time

import keras
import numpy as np

from keras_genimg import plotting
from keras_genimg.callbacks import EvaluateSamples, ImageGrid, Resume, latest_checkpoint
from keras_genimg.core import (
    Clips,
    ImageModel,
    Labels,
    TranslationModel,
    argument_names,
    dtype_policy,
)
from keras_genimg.core.optimizers import EXECUTION
from keras_genimg.data import binarized, data_info, load
from keras_genimg.distribution import get_strategy, is_chief
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.metrics import features_for
from keras_genimg.runs.binarization import binarized_as_trained, check_binarization
from keras_genimg.runs.folder import cut_logs, describe_run, read_record, start_from, write_json
from keras_genimg.runs.pairs import check_pairs, corrupted, in_pairs, pair_arguments
from keras_genimg.runs.registry import model_class, parameters_of
from keras_genimg.runs.settings import complete_settings

__all__ = ["train"]

SAMPLES = 10_000  # per evaluation, the size of the test splits of the small sets


def train(
    name: str, given: dict, folder: str, resume: bool = False, overwrite: bool = False,
    recipe: dict | None = None,
) -> None:
    """Trains a model into a run folder and prints the paths of its files.

    Args:
        name: string, the model's name on the command line.
        given: dict of the settings named in `settings.DEFAULTS`; None if not given.
        folder: path of the run folder.
        resume: bool. Whether to resume the run in `folder`.
        overwrite: bool. Whether to replace the run in `folder`.
        recipe: dict, optional. Settings of a recipe; given settings take precedence.

    Raises:
        InputError: a folder that exists and neither `resume` nor `overwrite`;
            settings that differ from those of the run to resume; settings that
            are invalid for the data or the model.
    """
    of_model = model_class(name)
    settings = complete_settings(
        name, of_model.data, given, recipe or {}, folder, resume, overwrite
    )
    strategy = get_strategy(settings["strategy"])
    chief = is_chief(strategy)

    # All checks run before anything is written.
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    info = data_info(settings["data"], **source)
    keras.utils.set_random_seed(settings["seed"])
    with strategy.scope(), dtype_policy(settings["policy"]):
        model = _make_model(of_model, settings, info)
    # --batch-size is that of one update; a step of some models has several critic updates.
    batch_size = settings["batch_size"] * model.n_critic
    full_pass = max(1, info.num_images // batch_size)
    steps = settings["steps_per_epoch"] or full_pass
    found = latest_checkpoint(os.path.join(folder, "checkpoints")) if resume else None
    first_epoch = found[1] if found else 0
    if settings["start_from"] and not found:
        start_from(model, settings["start_from"])
    # One endless stream, whose position depends on the number of steps alone: a resumed run
    # sees the same batches as an uninterrupted one.
    first_pass = first_epoch * steps // full_pass
    data = load(
        settings["data"], batch_size=batch_size, with_labels=model.data.part(Labels) is not None,
        shuffle_seed=settings["seed"], drop_remainder=True, epochs=None, first_epoch=first_pass,
        num_frames=model.num_frames if model.data.part(Clips) else None, **source,
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
            os.rename(folder, replaced)  # deleted once the new run is complete
        cut_logs(os.path.join(folder, "logs.csv"), first_epoch)
        progress = RunProgress(folder, record, read_record(folder) if resume else {})
        # The log row comes before the checkpoint: a row without a checkpoint is removed when the
        # run is resumed, but a checkpoint without a row would leave a gap.
        logger = keras.callbacks.CSVLogger(progress.logs_path, append=True)
        callbacks = [progress, logger, *callbacks]
    callbacks = [*evaluations, *callbacks]  # first, so that the others see its results
    try:
        model.fit(
            data, steps_per_epoch=steps, epochs=settings["epochs"], initial_epoch=first_epoch,
            callbacks=callbacks, verbose=("auto" if sys.stdout.isatty() else 2) if chief else 0,
        )
    except InputError:
        if chief and latest_checkpoint(os.path.join(folder, "checkpoints")) is None:
            # No epoch is complete: remove the new folder and restore the replaced one.
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
        self.earlier_seconds = earlier.get("seconds", 0.0)  # of the resumed run
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
        # An epoch without an evaluation logs NaN, which JSON does not support.
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self.record["final_logs"] = finite
        write_json(self.path, self.record)


def _make_model(of_model, settings, info):
    """The model, from the properties of the data and from --set."""
    name = of_model.__name__
    check_pairs(of_model, settings)
    check_binarization(of_model, settings)
    constructor = argument_names(of_model)
    of_compile = parameters_of(of_model.compile) | set(EXECUTION)
    unknown = [key for key in settings["set"] if key not in constructor | of_compile]
    if unknown:
        raise InputError(
            f"--set takes arguments of {name} ({', '.join(sorted(constructor))}) and of its "
            f"compile ({', '.join(sorted(of_compile))}). Received: {', '.join(unknown)}."
        )
    arguments = {"image_shape": info.image_shape, "seed": settings["seed"]}
    arguments.update(pair_arguments(settings, info.image_shape))
    if of_model.data.part(Labels):
        if info.num_classes is None:
            raise InputError(
                f"{name} is trained on labelled images. "
                f"Received: {settings['data']}, which has no labels."
            )
        arguments["num_classes"] = info.num_classes
    arguments.update({key: value for key, value in settings["set"].items() if key in constructor})
    model = of_model(**arguments)
    model.compile(**{k: v for k, v in settings["set"].items() if k in of_compile - constructor})
    if of_model.adapt is not ImageModel.adapt:
        model.adapt(_some_images(settings, "train", 1000))
    return model


def _some_images(settings, split, count):
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    count = min(count, data_info(settings["data"], split, **source).num_images)
    data = load(settings["data"], split, batch_size=count, **source)
    return next(iter(binarized_as_trained(data, settings))).numpy()


def _held_out(settings, count):
    """Images of the test split, or of the training split if there is no other."""
    try:
        return _some_images(settings, "test", count)
    except InputError:
        return _some_images(settings, "train", count)


def _callbacks(model, folder, settings):
    callbacks = []
    samples = os.path.join(folder, "samples")
    if model.makes == "images":
        labels = _grid_labels(model.num_classes) if model.data.part(Labels) else None
        number = 64 if labels is None else len(labels)
        if model.data.part(Clips):
            number = 10  # clips, one per row
        callbacks.append(
            ImageGrid(samples, num_images=number, seed=settings["seed"], labels=labels)
        )
    elif isinstance(model, TranslationModel):
        targets = _held_out(settings, 32 if settings["data_b"] else 18)
        sources = model.sources_of(targets)
        if sources is None:
            sources = corrupted(targets, settings)
        targets = None if sources is targets else targets
        callbacks.append(ImageGrid(samples, images=sources, targets=targets))
    elif model.makes == "reconstructions":
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


def _write_results(model, folder, settings, record):
    """Writes the files of a finished run; run.json last, as the sign that all are there."""
    names = {"samples": "samples.png", "losses": "losses.png", "logs": "logs.csv",
             "model": "model.keras", "SavedModel": "saved_model", "record": "run.json"}
    paths = {what: os.path.join(folder, name) for what, name in names.items()}
    model.save(paths["model"])
    model.export(paths["SavedModel"])
    if model.makes == "labels":
        grid = _class_grid(model, _held_out(settings, 2000))
        notes = {"model": record["class"], "content": "real images, one row per predicted class"}
        with replace_when_complete(paths["samples"]) as partial:
            plotting.save_png(partial, grid, notes, scale=2)
    else:
        # The grid of the last epoch, not a better one picked by eye.
        last = sorted(os.listdir(os.path.join(folder, "samples")))[-1]
        with replace_when_complete(paths["samples"]) as partial:
            shutil.copyfile(os.path.join(folder, "samples", last), partial)
    plotting.plot_losses(paths["logs"], paths["losses"])
    write_json(paths["record"], {**record, "status": "complete"})
    print()
    if settings["evaluate_every"]:
        print(f"{'best':<12}{os.path.join(folder, 'best.keras')}")
    for what, path in paths.items():
        print(f"{what:<12}{path}")


def _class_grid(model, images, columns=10):
    """One row per class, of images that the classifier assigns to it."""
    guesses = model.classify(images)
    rows = []
    for label in range(model.num_classes):
        row = images[guesses == label][:columns]
        rows.append(np.pad(row, ((0, columns - len(row)), (0, 0), (0, 0), (0, 0)),
                           constant_values=-1.0))
    return plotting.image_grid(np.concatenate(rows), columns=columns)
