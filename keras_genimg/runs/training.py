"""The command that trains: from settings to a run folder."""

import contextlib
import importlib.util
import os
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import signals
from keras_genimg.callbacks import EvaluateSamples, ImageGrid
from keras_genimg.callbacks.checkpoint_files import read_note, restore_checkpoint
from keras_genimg.cluster import CONNECT_TIMEOUT, leads
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
from keras_genimg.data.pairs import open_pairs
from keras_genimg.errors import InputError, tell
from keras_genimg.metrics import features_for
from keras_genimg.runs.binarization import binarized_as_trained, check_binarization
from keras_genimg.runs.folder import (
    check_entries,
    check_run,
    cut_logs,
    describe_run,
    read_logs,
    read_record,
    resume_point,
    start_from,
)
from keras_genimg.runs.opening import opening
from keras_genimg.runs.outputs import check_not_of_a_run
from keras_genimg.runs.pairs import (
    check_pairs,
    corrupted,
    held_out_pairs,
    images_of_second_set,
    in_pairs,
    info_of_second_set,
    named_pairs,
    pair_arguments,
    paired_by_name,
)
from keras_genimg.runs.progress import LogRows, RunProgress
from keras_genimg.runs.registry import model_class, name_classes, parameters_of
from keras_genimg.runs.results import write_results
from keras_genimg.runs.settings import check_used, complete_settings
from keras_genimg.runs.splits import held_out_split, readable_images, training_split
from keras_genimg.runs.steps import Checkpoints, check_position
from keras_genimg.runs.store import RunFolder
from keras_genimg.workers import (
    check_agreement,
    fingerprint,
    get_strategy,
    is_chief,
    lost_worker,
)

__all__ = ["train"]

# Entries of run.json that a resumed run takes over.
OF_PROGRESS = ("seconds", "epochs_done", "model_epochs", "final_logs")
# Arguments that --start-from does not take over: those of the data, and what begins anew.
OF_EACH_RUN = {"image_shape", "num_classes", "seed", "kl_warmup_steps"}
SAMPLES = 10_000  # per evaluation, the size of the test splits of the small sets


def train(
    name: str, given: dict, folder: str, resume: bool = False, overwrite: bool = False,
    recipe: dict | None = None, connect_timeout: float | None = None, tensorboard: bool = False,
) -> None:
    """Trains a model into a run folder and prints the paths of its files.

    Args:
        name: string, the model's name on the command line.
        given: dict of the settings named in `settings.DEFAULTS`; None if not given.
        folder: path of the run folder.
        resume: bool. Whether to resume the run in `folder`.
        overwrite: bool. Whether to replace the run in `folder`.
        recipe: dict, optional. Settings of a recipe; given settings take precedence.
        connect_timeout: float, optional. Seconds to wait for other workers.
        tensorboard: bool. Whether to write logs and grids for TensorBoard into the folder.

    Raises:
        InputError: a folder that exists and neither `resume` nor `overwrite`;
            `tensorboard` where it is not installed; settings that differ from those of the run
            to resume; settings that are invalid for the data or the model; a worker that is lost.
    """
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs TensorBoard: pip install tensorboard.")
    of_model = model_class(name)
    run = RunFolder(folder)
    if not resume:
        check_not_of_a_run(folder)
    # From the first look at the run to the end: what is read of it stays as it is.
    with run.claimed() if leads() else contextlib.nullcontext():
        settings = complete_settings(
            name, of_model.data, given, recipe or {}, folder, resume, overwrite
        )
        if settings["start_from"] and not resume:
            settings["set"] = _arguments_of_model(name, of_model, settings)
        check_used(settings, connect_timeout)
        earlier, position = {}, (None, 0, 0)
        if resume:
            earlier = read_record(folder)
            check_entries(folder)
            read_logs(os.path.join(folder, "logs.csv"))
            position = resume_point(folder, earlier, settings["epochs"])
            if _has_nothing_to_do(run, settings["epochs"], *position[:2]):
                return
        strategy = get_strategy(settings["strategy"], connect_timeout or CONNECT_TIMEOUT)
        with signals.watched() if _has_workers(strategy) else contextlib.nullcontext():
            _train(name, of_model, settings, run, strategy, tensorboard, resume, earlier, *position)


def _has_nothing_to_do(run, epochs, start, done):
    """Whether a run to resume is complete with its model; says so, or what it lacks."""
    if run.state() != "complete" or epochs > done:
        return False
    model = os.path.join(run.name, "model.keras")
    try:
        read_note(model)
    except InputError:
        tell(f"{model} is damaged or missing; it is written again from {start}.")
        return False
    print(f"{run.name} is complete, with {done} epochs; more --epochs train it further.")
    return True


def _train(
    name, of_model, settings, run, strategy, tensorboard, resume, earlier, start, first_epoch,
    first_step,
):  # fmt: skip
    folder, chief = run.name, is_chief(strategy)

    # All checks run before anything is written.
    check_pairs(of_model, settings)
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    split = training_split(settings["data"], settings["holdout"], **source)
    by_name = paired_by_name(of_model.data, settings)
    if by_name:
        size = settings["image_size"], settings["channels"]
        info, info_b, open_reader = open_pairs(settings["data"], settings["data_b"], split, *size)
    else:
        info = data_info(settings["data"], split, **source)
        info_b = info_of_second_set(settings, info.image_shape)
    keras.utils.set_random_seed(settings["seed"])
    with strategy.scope(), dtype_policy(settings["policy"]):
        model = _make_model(of_model, settings, info, info_b)
    # A batch is that of one update; a step of some models takes n_critic of them.
    if by_name:
        reader = open_reader()
        num_images, skipped = reader.num_images, dict(reader.skipped)
    else:
        num_images, skipped = readable_images(settings["data"], split, **source)
    batch_size = min(settings["batch_size"], num_images)
    if settings["data_b"] and not by_name:
        batch_size = min(batch_size, images_of_second_set(settings, info.image_shape))
    full_pass = num_images // batch_size
    several = model.steps_per_execution  # in whole executions, as `fit` wants them
    whole_pass = full_pass // model.n_critic // several * several
    steps = settings["steps_per_epoch"] or max(several, whole_pass)
    model.check_steps(steps)
    check_position(start, first_step, steps)
    if settings["start_from"] and not resume:
        start_from(model, settings["start_from"])
    if start is not None:
        restore_checkpoint(model, start)
    # One endless stream, whose position depends on the number of steps alone: a resumed run
    # sees the same batches as an uninterrupted one.
    first_batch = (first_epoch * steps + first_step) * model.n_critic
    first_pass, batches_done = divmod(first_batch, full_pass)
    order = {"batch_size": batch_size, "shuffle_seed": settings["seed"], "drop_remainder": True,
             "epochs": None, "first_epoch": first_pass, "first_batch": batches_done}  # fmt: skip
    if by_name:
        data = named_pairs(settings, split, **order)
    else:
        data = load(
            settings["data"], split, with_labels=model.data.part(Labels) is not None,
            num_frames=model.num_frames if model.data.part(Clips) else None, **order, **source,
        )
        if settings["binarize"]:
            data = binarized(data, settings["binarize"], settings["seed"], first_batch)
        data = in_pairs(data, settings, info.image_shape, batch_size, first_batch)

    record = describe_run(name, model, settings, info, strategy)
    record.update({key: earlier[key] for key in OF_PROGRESS if key in earlier})
    if _has_workers(strategy):
        position = first_epoch, first_step
        check_agreement(strategy, **_compared(record, info, info_b, num_images, position, model))
    if chief:
        print(opening(folder, model, settings, split, info, skipped, batch_size, steps), flush=True)
    board = os.path.join(folder, "tensorboard") if tensorboard else None
    callbacks = _grids(model, folder, settings, board)
    evaluations = [_evaluation(folder, settings, info)] if settings["evaluate_every"] else []
    with run.training(record, resume) if chief else contextlib.nullcontext():
        if chief:
            logs = os.path.join(folder, "logs.csv")
            cut_logs(logs, first_epoch)
            # The log row comes before the checkpoint: a row without a checkpoint is removed when
            # the run is resumed, but a checkpoint without a row would leave a gap.
            callbacks = [RunProgress(run), LogRows(logs), *callbacks]
            if board:
                callbacks.append(keras.callbacks.TensorBoard(board, write_graph=False))
        try:
            with signals.unheld() if _has_workers(strategy) else signals.held() as held:
                checkpoints = os.path.join(folder, "checkpoints")
                last = Checkpoints(checkpoints, steps, held, start, first_step)
                model.fit(
                    data, steps_per_epoch=steps, epochs=settings["epochs"],
                    initial_epoch=first_epoch,
                    # Evaluations come first, so that the others see their results.
                    callbacks=[*evaluations, *callbacks, last],
                    verbose=("auto" if sys.stdout.isatty() else 2) if chief else 0,
                )
        except tf.errors.OpError as error:
            gone = lost_worker(error, strategy)
            if gone is None:
                raise
            raise gone from error
        if chief:
            with signals.handled():  # within the run, which says where it was stopped
                write_results(model, run, settings, lambda count: _held_out(settings, count))


def _compared(record, info, info_b, num_images, position, model):
    """What must be the same on all workers: name -> text."""
    local = ("strategy", "data_dir")  # may differ between workers
    settings = {k: value for k, value in record["settings"].items() if k not in local}
    return {
        "versions": str(record["versions"]),
        "data": str((*info, num_images, info.content, info_b and info_b.content)),
        "settings": str(settings),
        "start": "epoch {}, step {}".format(*position),
        "weights": fingerprint(model.weights),
    }


def _has_workers(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _arguments_of_model(name, of_model, settings):
    """The arguments of --set, with those of the run or preset to start from, which it says.

    None of a recipe, whose settings are complete, nor of another class, which is refused later.
    """
    start, given = settings["start_from"], settings["set"]
    check_run(start)
    record = read_record(start)
    if settings["recipe"] or record["model"] != name:
        return given
    names = argument_names(of_model) - OF_EACH_RUN - set(given)
    found = {k: v for k, v in record["settings"].get("set", {}).items() if k in names}
    if found:
        words = ", ".join(f"{key}={value}" for key, value in found.items())
        tell(f"{words}, as in {start}; --set gives other values.")
    return {**found, **given}


def _make_model(of_model, settings, info, info_b=None):
    """The model, from the properties of the data and from --set."""
    name = of_model.__name__
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
    arguments.update(pair_arguments(of_model.data, settings, info, info_b))
    if of_model.data.part(Labels):
        if info.num_classes is None:
            raise InputError(
                f"{name} is trained on labelled images. "
                f"Received: {settings['data']}, which has no labels."
            )
        arguments["num_classes"] = info.num_classes
    arguments.update({key: value for key, value in settings["set"].items() if key in constructor})
    model = of_model(**arguments)
    name_classes(model, info)
    model.compile(**{k: v for k, v in settings["set"].items() if k in of_compile - constructor})
    if of_model.adapt is not ImageModel.adapt:
        model.adapt(_some_images(settings, training_split, 1000))
    return model


def _some_images(settings, split_of, count):
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    split = split_of(settings["data"], settings["holdout"], **source)
    count = min(count, data_info(settings["data"], split, **source).num_images)
    data = load(settings["data"], split, batch_size=count, **source)
    return next(iter(binarized_as_trained(data, settings))).numpy()


def _held_out(settings, count):
    return _some_images(settings, held_out_split, count)


def _grids(model, folder, settings, board):
    callbacks = []
    given = {"folder": os.path.join(folder, "samples")}
    given["log_dir"] = board and os.path.join(board, "samples")
    if model.makes == "images":
        labels = _grid_labels(model.num_classes) if model.data.part(Labels) else None
        number = 64 if labels is None else len(labels)
        if model.data.part(Clips):
            number = 10  # clips, one per row
        callbacks.append(
            ImageGrid(**given, num_images=number, seed=settings["seed"], labels=labels)
        )
    elif paired_by_name(model.data, settings):
        sources, targets = held_out_pairs(settings, 18)
        callbacks.append(ImageGrid(**given, images=sources, targets=targets))
    elif isinstance(model, TranslationModel):
        targets = _held_out(settings, 32 if settings["data_b"] else 18)
        sources = model.sources_of(targets)
        if sources is None:
            sources = corrupted(targets, settings)
        targets = None if sources is targets else targets
        callbacks.append(ImageGrid(**given, images=sources, targets=targets))
    elif model.makes == "reconstructions":
        callbacks.append(ImageGrid(**given, images=_held_out(settings, 32)))
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
