"""The command that fits a prior over the codes of a run's model, to generate images."""

import os
import sys

import keras

from keras_genimg import plotting
from keras_genimg.checks import check_choice
from keras_genimg.core import CodeModel, argument_names, dtype_policy
from keras_genimg.data import data_info, load
from keras_genimg.errors import InputError
from keras_genimg.models import CodeTransformer, PixelCNN
from keras_genimg.runs.binarization import binarized_as_trained
from keras_genimg.runs.card import write_card
from keras_genimg.runs.folder import (
    check_entries,
    check_run,
    is_preset,
    load_run,
    read_record,
    write_json,
)
from keras_genimg.runs.likelihood import in_memory
from keras_genimg.runs.lock import Lock
from keras_genimg.runs.outputs import Output
from keras_genimg.runs.registry import name_classes
from keras_genimg.runs.settings import DEFAULTS
from keras_genimg.runs.splits import held_out_split, training_split

__all__ = ["prior"]

CLASSES = {"pixel_cnn": PixelCNN, "code_transformer": CodeTransformer}
# Arguments that the run determines.
GIVEN = {"image_shape", "levels", "code_shape", "num_embeddings", "condition_shape",
         "condition_embeddings"}
SHOWN, SAMPLES = 64, "prior_samples.png"


def prior(
    folder: str, kind: str = "pixel_cnn", epochs: int = 15, batch_size: int = 64,
    by_class: bool = False, settings: dict | None = None, policy: str | None = None, seed: int = 0,
) -> None:
    """Fits a prior to the codes of a run's training images, and saves the model with it.

    Writes `prior.json` (settings, history and the nats per code on the test images) and
    `prior_samples.png`, and rewrites `model.keras` and `saved_model/`.

    Args:
        folder: path of the run folder, of `vq_vae`, `vq_gan` or `vq_vae2`.
        kind: `"pixel_cnn"` or `"code_transformer"`; for `vq_vae2`, that of the top level.
        epochs: int. Number of epochs.
        batch_size: int. Grids of codes per step.
        by_class: bool. Whether the prior is conditioned on the class.
        settings: dict, optional. Other arguments of the prior and of its `compile`.
        policy: string, optional. Dtype policy of the prior's layers, see `train`.
        seed: int. Seed of its weights, the order of codes and the samples shown.

    Raises:
        InputError: a run of another model, invalid settings, images without labels.
    """
    check_choice("kind", kind, CLASSES)
    if is_preset(folder):
        raise InputError(
            "prior writes into a run, which train --start-from NAME makes from a preset. "
            f"Received: {folder}, a preset."
        )
    check_run(folder)
    check_entries(folder)
    path = os.path.join(folder, SAMPLES)
    samples = Output(path, overwrite=True, own=(path,))
    place = os.path.realpath(folder)
    lock = Lock(place)
    try:
        _prior(folder, kind, epochs, batch_size, by_class, settings, policy, seed, samples)
    finally:
        lock.release(place)
    print(samples.path)


def _prior(folder, kind, epochs, batch_size, by_class, settings, policy, seed, samples):
    model = load_run(folder)
    if not isinstance(model, CodeModel):
        raise InputError(
            "A prior over codes is for runs of vq_vae, vq_gan and vq_vae2. "
            f"Received: a run of {type(model).__name__}."
        )
    data = {**DEFAULTS, **read_record(folder)["settings"]}
    train_set, test_set = (
        _images(data, split_of, by_class) for split_of in (training_split, held_out_split)
    )
    source = {key: data[key] for key in ("data_dir", "image_size", "channels")}
    info = data_info(data["data"], **source)
    num_classes = info.num_classes if by_class else None
    if by_class and num_classes < 2:
        name = data["data"]
        raise InputError(f"--by-class is for labelled images. Received: {name}, with one class.")

    keras.utils.set_random_seed(seed)
    settings = dict(settings or {})
    compiled = {key: settings.pop(key) for key in ("learning_rate",) if key in settings}
    known = argument_names(CLASSES[kind]) - GIVEN
    unknown = set(settings) - known
    if unknown:
        raise InputError(
            f"--set takes arguments of {CLASSES[kind].__name__} ({', '.join(sorted(known))}) and "
            f"learning_rate. Received: {', '.join(sorted(unknown))}."
        )
    # The first prior; `fit_prior` creates that of a second level.
    name, (shape, number, *_) = next(iter(model.prior_grids().items()))
    arguments = {"seed": seed, "num_classes": num_classes, **settings}
    with dtype_policy(policy):
        first = CLASSES[kind](code_shape=tuple(shape), num_embeddings=number, **arguments)
    first.compile(**compiled)
    verbose = "auto" if sys.stdout.isatty() else 2
    history = model.fit_prior(
        *train_set, **{name: first}, batch_size=batch_size, epochs=epochs, verbose=verbose
    )
    if by_class:
        name_classes(model, info)
    result = {
        "kind": kind, "epochs": epochs, "batch_size": batch_size, "by_class": by_class,
        "settings": {**settings, **compiled}, "policy": policy, "seed": seed,
        "history": history.history,
        "test": _measured(model, *test_set),
    }
    model.save(os.path.join(folder, "model.keras"))
    model.export(os.path.join(folder, "saved_model"))
    images = model.generate(SHOWN, seed=seed, verbose=0)
    notes = {"model": type(model).__name__, "prior": kind, "seed": seed, "generated": "yes"}
    with samples.written() as partial:
        plotting.save_png(partial, plotting.image_grid(images), notes, scale=2)
    write_json(os.path.join(folder, "prior.json"), result)
    write_card(folder)
    for level, nats in result["test"].items():
        print(f"{level:<24}{nats:.4f}")


def _images(settings, split_of, by_class):
    """`[images]` or `[images, labels]` of the training or the held-out images."""
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    split = split_of(settings["data"], settings.get("holdout"), **source)
    batches = load(settings["data"], split, batch_size=500, with_labels=by_class, **source)
    return in_memory(binarized_as_trained(batches, settings))


def _measured(model, images, *labels):
    """The mean -log p per code of the test images: name -> nats."""
    condition, nats = {}, {}
    grids = zip(model.prior_grids(), keras.tree.flatten(model.encode(images)))
    for name, codes in grids:  # a second grid is conditioned on the first
        log_likelihood = getattr(model, name).log_likelihood(codes, *labels, **condition)
        level = name.replace("prior", "").rstrip("_")
        nats["nats_per_code" + (f"_{level}" if level else "")] = float(
            -log_likelihood.mean() / codes[0].size
        )
        condition = {"condition": codes}
    return nats
