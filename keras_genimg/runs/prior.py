"""The command that gives a run's autoencoder a prior over its codes, so that it generates."""

import os
import sys

import keras
import numpy as np

import keras_genimg.models as models
from keras_genimg import plotting
from keras_genimg.data import load
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.models.base import dtype_policy
from keras_genimg.runs.binary import in_black_and_white
from keras_genimg.runs.folder import load_run, read_record, write_json
from keras_genimg.runs.likelihood import in_memory
from keras_genimg.runs.training import constructor_arguments

__all__ = ["prior"]

CLASSES = {"pixel_cnn": models.PixelCNN, "code_transformer": models.CodeTransformer}
# Follows from the run.
GIVEN = {"image_shape", "levels", "code_shape", "num_embeddings", "condition_shape",
         "condition_embeddings"}
SHOWN = 64


def prior(folder, kind="pixel_cnn", epochs=15, batch_size=64, by_class=False, settings=None,
          policy=None, seed=0):
    """Fits a prior to the codes of a run's training pictures, and saves the model with it.

    Writes `prior.json` (settings, history and the nats a code on the test pictures),
    `prior_samples.png`, and `model.keras` and `saved_model/` anew.

    Args:
        folder: path of the run folder, of `vq_vae`, `vq_gan` or `vq_vae2`.
        kind: `"pixel_cnn"` or `"code_transformer"`; of `vq_vae2`, that of the top level.
        epochs: int. Passes over the codes.
        batch_size: int. Grids of codes a step.
        by_class: bool. Whether the prior is told the class.
        settings: dict, optional. Other arguments of the prior and of its `compile`.
        policy: string, optional. In what the prior's layers compute, as `train` has it.
        seed: int. Of its weights, the order of codes and the shown samples.
    """
    model = load_run(folder)
    if kind not in CLASSES:
        raise InputError(f"kind must be one of {', '.join(CLASSES)}. Received: {kind!r}.")
    two_levels = isinstance(model, models.VQVAE2)
    if not isinstance(model, (models.VQVAE, models.VQVAE2)):
        raise InputError(
            "A prior over codes is for runs of vq_vae, vq_gan and vq_vae2. "
            f"Received: a run of {type(model).__name__}."
        )
    data = read_record(folder)["settings"]
    train_set, test_set = (_pictures(data, split, by_class) for split in ("train", "test"))
    num_classes = int(train_set[1].max()) + 1 if by_class else None
    if by_class and num_classes < 2:
        raise InputError(f"--by-class is for labelled pictures. Received: {data['data']}, of one class.")

    keras.utils.set_random_seed(seed)
    settings = dict(settings or {})
    compiled = {key: settings.pop(key) for key in ("learning_rate",) if key in settings}
    shape = model.code_shapes[0] if two_levels else model.code_shape
    known = constructor_arguments(CLASSES[kind]) - GIVEN
    unknown = set(settings) - known
    if unknown:
        raise InputError(
            f"--set takes arguments of {CLASSES[kind].__name__} ({', '.join(sorted(known))}) and "
            f"learning_rate. Received: {', '.join(sorted(unknown))}."
        )
    arguments = {"seed": seed, "num_classes": num_classes, **settings}
    with dtype_policy(policy):
        made = CLASSES[kind](
            code_shape=tuple(shape), num_embeddings=_num_embeddings(model), **arguments
        )
    made.compile(**compiled)
    given = {"top_prior": made} if two_levels else {"prior": made}
    verbose = "auto" if sys.stdout.isatty() else 2
    histories = model.fit_prior(*train_set, **given, batch_size=batch_size, epochs=epochs,
                                verbose=verbose)
    result = {
        "kind": kind, "epochs": epochs, "batch_size": batch_size, "by_class": by_class,
        "settings": {**settings, **compiled}, "policy": policy, "seed": seed,
        "history": [h.history for h in (histories if two_levels else [histories])],
        "test": _measured(model, test_set, two_levels),
    }
    model.save(os.path.join(folder, "model.keras"))
    model.export(os.path.join(folder, "saved_model"))
    labels = {"labels": np.arange(SHOWN) % num_classes} if by_class else {}
    images = model.generate(SHOWN, seed=seed, verbose=0, **labels)
    path = os.path.join(folder, "prior_samples.png")
    notes = {"model": type(model).__name__, "prior": kind, "seed": seed, "generated": "yes"}
    with replace_when_complete(path) as partial:
        plotting.save_png(partial, plotting.image_grid(images), notes, scale=2)
    write_json(os.path.join(folder, "prior.json"), result)
    for level, nats in result["test"].items():
        print(f"{level:<24}{nats:.4f}")
    print(path)


def _num_embeddings(model):
    quantizer = model.top_quantizer if isinstance(model, models.VQVAE2) else model.quantizer
    return quantizer.num_embeddings


def _pictures(settings, split, by_class):
    """`[images]` or `[images, labels]` of a split, or of the training split where it is missing."""
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    try:
        batches = load(settings["data"], split, batch_size=500, with_labels=by_class, **source)
    except InputError:
        batches = load(settings["data"], "train", batch_size=500, with_labels=by_class, **source)
    return in_memory(in_black_and_white(batches, settings))


def _measured(model, test_set, two_levels):
    """-log p of a code of the test pictures, a mean: name -> nats."""
    codes = model.encode(test_set[0])
    labels = test_set[1:]
    if not two_levels:
        return {"nats_per_code": _nats(model.prior, codes, *labels)}
    top, bottom = codes
    return {
        "nats_per_code_top": _nats(model.top_prior, top, *labels),
        "nats_per_code_bottom": _nats(model.bottom_prior, bottom, *labels, condition=top),
    }


def _nats(prior, codes, *labels, **condition):
    return float(-prior.log_likelihood(codes, *labels, **condition).mean() / codes[0].size)
