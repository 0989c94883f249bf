"""Commands on a finished run: generate, evaluate, export."""

import os
import sys

import keras
import numpy as np

from keras_genimg import plotting
from keras_genimg.callbacks import EvaluateSamples
from keras_genimg.data import data_info, load
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.metrics import features_for
from keras_genimg.runs.binary import in_black_and_white
from keras_genimg.runs.folder import load_run, read_record, write_json
from keras_genimg.runs.likelihood import measure_likelihood
from keras_genimg.runs.pairs import evaluation_pairs
from keras_genimg.version import __version__

__all__ = ["evaluate", "export", "generate"]


def generate(
    folder, count, seed=None, labels=None, output=None, format=None, num_frames=None
):
    """Makes pictures with a run's model and writes them.

    Args:
        folder: path of the run folder.
        count: int. Number of pictures or clips.
        seed: int, optional.
        labels: list of int, repeated in turn up to `count`; conditional models, which
            make all their classes in turn by default.
        output: path, or None for `generated` in the run folder.
        format: `"png"`, `"npz"` or `"gif"`; by the ending of `output` if None. Clips are
            strips in a PNG, and play together in a GIF.
        num_frames: int, optional. Frames a clip, by default as many as the model is trained on.
    """
    model = load_run(folder)
    ending = os.path.splitext(output or "")[1].lstrip(".").lower()
    format = format or (ending if ending in ("npz", "gif") else "png")
    as_grid = format == "png" and ending == "png"
    if output is None:
        output = os.path.join(folder, "generated" + ("" if format == "png" else f".{format}"))
    if labels is None and model.generates_by_label:
        labels = np.arange(model.num_classes)
    if labels is not None:
        labels = np.resize(labels, max(count, 0))
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    given = {} if labels is None else {"labels": labels}
    frames = {} if num_frames is None else {"num_frames": num_frames}
    if frames and not hasattr(model, "num_frames"):
        raise InputError(
            f"A number of frames is for models of clips. Received: {num_frames} for a run of "
            f"{type(model).__name__}."
        )
    notes = {"model": type(model).__name__, "seed": seed, "generated": "yes",
             "Software": f"keras_genimg {__version__}"}
    if format == "png" and not as_grid:
        if os.path.isdir(output) and os.listdir(output):
            raise InputError(
                f"Pictures go into a new or empty folder, so that none are mixed up. "
                f"Received: {output}, which holds files."
            )
        with replace_when_complete(output, folder=True) as partial:
            _write_pictures(partial, model, count, seed, notes, **given, **frames)
    else:
        images = model.generate(count, seed=seed, **given, **frames)
        with replace_when_complete(output) as partial:
            if format == "npz":
                np.savez_compressed(partial, images=plotting.to_uint8(images), seed=seed, **given)
            elif format == "gif":
                plotting.save_gif(partial, images, scale=4 if images.ndim == 4 else 2)
            else:
                plotting.save_png(partial, plotting.image_grid(images), notes, scale=2)
    print(output)


def _write_pictures(folder, model, count, seed, notes, **given):
    """One PNG a picture, or a strip a clip, made and written in batches."""
    bar = keras.utils.Progbar(count, unit_name="image") if sys.stdout.isatty() else None
    done = 0
    for images in model.generate_batches(count, seed=seed, **given):
        for index, image in enumerate(plotting.to_uint8(images), start=done):
            if image.ndim == 4:
                image = plotting.image_grid(image[None])  # (T, h, w, c) -> a row of frames
            plotting.save_png(os.path.join(folder, f"{index:06d}.png"), image, notes)
        done += len(images)
        if bar:
            bar.update(done)


def evaluate(
    folder, data, data_dir=None, split="test", count=None, metrics=None, features=None, seed=0,
    num_samples=None,
):
    """Measures a run's model on a data set, prints a table and writes metrics.json.

    Pictures of a run that was trained on black and white ones are made so too, by one draw.

    Args:
        folder: path of the run folder.
        data: string. Name of a data set or folder.
        data_dir: path, optional. Where prepared data sets are.
        split: string.
        count: int, optional. Samples made for `metrics`, 10,000 by default; they are compared
            with all pictures of the split. For `"log_likelihood"`, and without `metrics`, the
            pictures of the split that are looked at, by default all.
        metrics: list of names, see `keras_genimg.metrics.get_metrics`, and `"log_likelihood"`; by
            default the model's own losses.
        features: string, optional. What the metrics are taken in.
        seed: int. Of the samples and of the binarisation.
        num_samples: int, optional. Importance samples a picture for `"log_likelihood"`.

    Raises:
        InputError: metrics that the model has not, or no finished epoch.
    """
    model = load_run(folder)
    height, width, channels = model.image_shape
    settings = {"image_size": (height, width), "channels": channels, "data_dir": data_dir,
                "num_frames": getattr(model, "num_frames", None)}
    trained = {**read_record(folder)["settings"], "data_dir": data_dir}

    def pictures(batch_size, **options):
        images = load(data, split, batch_size=batch_size, **options, **settings)
        return in_black_and_white(images, trained, seed)

    results, values = {"data": data, "split": split}, {}
    of_samples = [name for name in metrics or () if name != "log_likelihood"]
    if num_samples is not None and "log_likelihood" not in (metrics or ()):
        raise InputError(
            "--importance-samples goes with --metrics log_likelihood. "
            f"Received: --importance-samples {num_samples} without it."
        )
    if len(of_samples) < len(metrics or ()):
        images = pictures(500, with_labels=model.needs_labels, num_images=count)
        values, how = measure_likelihood(model, images, num_samples, seed)
        results["log_likelihood"] = {**how, "binarize": trained.get("binarize"), "seed": seed}
        print(", ".join(f"{name} {value}" for name, value in results["log_likelihood"].items()))
    if of_samples:
        features = features or features_for(data, model.image_shape)
        count = 10_000 if count is None else count
        callback = EvaluateSamples(
            pictures(500),
            of_samples,
            features=features,
            num_images=count,
            seed=seed,
            verbose=int(sys.stdout.isatty()),
        )
        callback.set_model(model)
        callback.on_train_begin()
        values.update(callback.evaluate())
        real = data_info(data, split, **settings).num_images
        results.update(count=count, real_count=real, features=features, seed=seed)
        print(f"{count} samples, seed {seed}, against the {real} pictures of {data}/{split}")
    if not metrics:
        if not model.compiled:
            model.compile()
        images = pictures(100, with_labels=model.needs_labels, num_images=count,
                          drop_remainder=bool(trained.get("data_b")))
        images = evaluation_pairs(images, trained, split, model.image_shape, 100, count, seed)
        values = model.evaluate(images, verbose=0, return_dict=True)
        results["count"] = count or data_info(data, split, **settings).num_images
    results["metrics"] = {name: float(value) for name, value in values.items()}
    path = os.path.join(folder, "metrics.json")
    write_json(path, results)
    width = max(24, *(len(name) + 2 for name in values))
    for name, value in results["metrics"].items():
        print(f"{name:<{width}}{value:.4f}")
    print(path)


def export(folder, format="saved_model", output=None, precision=None):
    """Writes a run's model as a SavedModel, LiteRT or ONNX file and prints the path."""
    names = {"saved_model": "saved_model", "litert": "model.tflite", "onnx": "model.onnx"}
    output = output or os.path.join(folder, names[format])
    print(load_run(folder).export(output, format=format, precision=precision))
