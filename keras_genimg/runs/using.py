"""Commands on a finished run or a preset: generate, evaluate, export."""

import os
import re
import sys

import keras
import numpy as np

from keras_genimg import plotting
from keras_genimg.callbacks import EvaluateSamples
from keras_genimg.checks import check_count, check_seed
from keras_genimg.core import Clips, Labels, Pairs, SamplesLogits
from keras_genimg.data import data_info, load
from keras_genimg.errors import InputError
from keras_genimg.export import is_saved_model
from keras_genimg.metrics import features_for
from keras_genimg.metrics.named_metrics import needs_features
from keras_genimg.runs.binarization import binarized_as_trained
from keras_genimg.runs.card import write_card
from keras_genimg.runs.folder import find_run, is_preset, load_run, read_record, write_json
from keras_genimg.runs.likelihood import measure_likelihood
from keras_genimg.runs.outputs import Output, check_memory
from keras_genimg.runs.pairs import (
    evaluation_pairs,
    images_of_second_set,
    named_pairs,
    number_of_pairs,
    paired_by_name,
)
from keras_genimg.runs.splits import held_out_split, readable_images, same_set
from keras_genimg.runs.translations import PER_PAIR, check_per_pair, measure_translations
from keras_genimg.version import __version__
from keras_genimg.video import ANIMATIONS, check_animation
from keras_genimg.web import is_page

__all__ = ["evaluate", "export", "generate"]


def generate(
    folder: str, count: int, seed: int | None = None, labels: list | None = None,
    output: str | None = None, format: str | None = None, num_frames: int | None = None,
    temperature: float | None = None, top_k: int | None = None, top_p: float | None = None,
    overwrite: bool = False,
) -> None:
    """Generates images with a run's model and writes them.

    Args:
        folder: path of the run folder, or the name of a preset.
        count: int. Number of images or clips.
        seed: int, optional.
        labels: list of numbers and names of classes, repeated in turn up to `count`, for
            conditional models; by default all their classes in turn.
        output: path, or None for `generated` in the folder that `find_run` gives.
        format: `"png"`, `"npz"`, `"gif"`, `"webp"` or `"mp4"`; by default from the extension of
            `output`. Clips are strips in a PNG, and play together in an animation.
        num_frames: int, optional. Frames per clip, by default as many as the model is trained on.
        temperature, top_k, top_p: numbers, optional, see `SamplesLogits.generate_batches`.
        overwrite: bool. Whether earlier images at the same place are replaced.
    """
    place = find_run(folder)
    format, target = _generated(place, output, format, overwrite)
    seed = check_seed(seed)
    check_count("num_images", count)
    model = load_run(folder)
    given = {}
    if labels is not None or model.generates_by_label:
        given = {"labels": model.labels_in_turn(count, labels)}
    options = {"num_frames": num_frames, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    options = {name: value for name, value in options.items() if value is not None}
    _check_options(model, options)
    if target.made is None:
        of_one = (num_frames or model.num_frames) if model.data.part(Clips) else 1
        check_memory(count * of_one, model.image_shape)
    notes = {"model": type(model).__name__, "seed": seed, "generated": "yes",
             "Software": f"keras_genimg {__version__}"}
    with target.written() as partial:
        if target.made is not None:
            _write_images(partial, model, count, seed, notes, **given, **options)
        else:
            images = model.generate(count, seed=seed, **given, **options)
            if format == "npz":
                names = {} if model.class_names is None else {"class_names": model.class_names}
                pixels = plotting.to_uint8(images)
                np.savez_compressed(partial, images=pixels, seed=seed, **given, **names)
            elif f".{format}" in ANIMATIONS:
                plotting.save_animation(partial, images, scale=4 if images.ndim == 4 else 2)
            else:
                plotting.save_png(partial, plotting.image_grid(images), notes, scale=2)
    print(target.path)


def _check_options(model, options):
    """Refuses options of `generate` that a model does not have."""
    for name, value in options.items():
        frames = name == "num_frames"
        if model.data.part(Clips) if frames else isinstance(model, SamplesLogits):
            continue
        option = "--frames" if frames else "--" + name.replace("_", "-")
        kind = "clips" if frames else "codes with a prior, and for pixel_cnn"
        raise InputError(
            f"{option} is for models of {kind}. Received: {option} {value} for a run of "
            f"{type(model).__name__}."
        )


def _generated(folder, output, format, overwrite):
    """The format to generate in, and the `Output`."""
    if output is None:
        name = "generated" if format in (None, "png") else f"generated.{format}"
        output = os.path.join(folder, name)
    ending = os.path.splitext(os.path.basename(output))[1].lower()
    if format is None and ending in (".npz", *ANIMATIONS):
        format = ending[1:]
    if format in (None, "png") and ending != ".png":
        # A folder, which may be called v1.2, but hardly notes.txt.
        if ending[1:2].isalpha() and not os.path.isdir(output):
            files = ".png, .npz, .gif, .webp or .mp4" if format is None else ".png (--format png)"
            raise InputError(
                f"--output must be a file that ends in {files}, or a folder, whose name has no "
                f"ending. Received: --output {output}."
            )
        return "png", Output(output, made=_is_of_images, overwrite=overwrite)
    format = format or "png"
    if ending != f".{format}":
        raise InputError(
            f"--format {format} writes a file with the ending .{format}. "
            f"Received: --output {output}."
        )
    if ending in ANIMATIONS:
        check_animation(output)
    return format, Output(output, (ending,), overwrite=overwrite)


def _is_of_images(folder):
    """Whether a folder holds what `generate` writes, and nothing else."""
    return all(re.fullmatch(r"\d{6,}\.png", name) for name in os.listdir(folder))


def _write_images(folder, model, count, seed, notes, labels=None, **given):
    """One PNG per image, or a strip per clip, generated and written in batches."""
    names = model.class_names or range(model.num_classes or 0)
    bar = keras.utils.Progbar(count, unit_name="image") if sys.stdout.isatty() else None
    done = 0
    for images in model.generate_batches(count, labels, seed, **given):
        for index, image in enumerate(plotting.to_uint8(images), start=done):
            if image.ndim == 4:
                image = plotting.image_grid(image[None])  # (T, h, w, c) -> a row of frames
            of_class = {} if labels is None else {"class": names[labels[index]]}
            path = os.path.join(folder, f"{index:06d}.png")
            plotting.save_png(path, image, {**notes, **of_class})
        done += len(images)
        if bar:
            bar.update(done)


def evaluate(
    folder: str, data: str | None = None, data_dir: str | None = None, split: str | None = None,
    count: int | None = None, metrics: list | None = None, features: str | None = None,
    seed: int = 0, num_samples: int | None = None,
) -> None:
    """Evaluates a run's model on a data set, prints a table and writes metrics.json.

    Images are binarised like the training images of the run, by one fixed draw.

    Args:
        folder: path of the run folder, or the name of a preset.
        data: string, optional. Name of a data set or folder; by default the one of the run.
        data_dir: path, optional. Where prepared data sets are.
        split: string, optional. By default what the run has held out, or else the test split;
            the validation split or the training images of a set that has none.
        count: int, optional. Samples generated for `metrics`, 10,000 by default; they are compared
            with all images of the split. For `"log_likelihood"`, and without `metrics`, the
            number of images of the split to use, by default all.
        metrics: list of names, see `keras_genimg.metrics.get_metrics`, and `"log_likelihood"`; for
            models that are trained on pairs also `"psnr"` and `"ssim"`, and all of them compare
            translations with their targets; by default the model's losses.
        features: string, optional. The features for the metrics.
        seed: int. Seed of the samples and of the binarisation.
        num_samples: int, optional. Importance samples per image for `"log_likelihood"`.

    Raises:
        InputError: metrics that the model does not have, or no finished epoch.
    """
    path = os.path.join(find_run(folder), "metrics.json")
    Output(path, overwrite=True, own=(path,))
    if features is not None and not set(metrics or ()) - {"log_likelihood"}:
        raise InputError(
            "--features is for --metrics of samples, such as frechet_distance. "
            f"Received: --features {features} without one."
        )
    if num_samples is not None and "log_likelihood" not in (metrics or ()):
        raise InputError(
            "--importance-samples needs --metrics log_likelihood. "
            f"Received: --importance-samples {num_samples} without it."
        )
    check_seed(seed)
    model = load_run(folder)
    height, width, channels = model.image_shape
    trained = read_record(folder)["settings"]
    named = data is not None
    if not named:
        data, data_dir = trained["data"], data_dir or trained.get("data_dir")
    trained["data_dir"] = data_dir
    settings = {"image_size": (height, width), "channels": channels, "data_dir": data_dir,
                "num_frames": model.num_frames if model.data.part(Clips) else None}
    if not named:
        _check_still_there(folder, data, settings)
    labelled = model.data.part(Labels) is not None
    split_b = split
    if split is None and not paired_by_name(model.data, trained):
        split_b = _default_split(trained.get("data_b"), trained, settings)
    split = split or _default_split(data, trained, settings)

    def images_of(batch_size, **options):
        images = load(data, split, batch_size=batch_size, **options, **settings)
        return binarized_as_trained(images, trained, seed)

    results, values = {"data": data, "split": split}, {}
    of_samples = [name for name in metrics or () if name != "log_likelihood"]
    check_per_pair(model, of_samples)
    # Two sets are paired by file name for a model that learns from pairs; for metrics, which
    # compare with targets, also for one that learns without.
    by_name = paired_by_name(model.data, trained) or of_samples and trained.get("data_b")
    sets = {**trained, "data": data, "image_size": (height, width)}

    def pairs():
        if by_name:
            return named_pairs(sets, split, batch_size=100, num_images=count)
        images = images_of(100, with_labels=labelled, num_images=count)
        return evaluation_pairs(images, trained, split_b, model.image_shape, 100, count, seed)

    def number():
        if by_name:
            return number_of_pairs(sets, split, count)
        found = readable_images(data, split, num_images=count, **settings)[0]
        if not trained.get("data_b"):
            return found
        return min(found, images_of_second_set(trained, model.image_shape, split_b, count))

    if len(of_samples) < len(metrics or ()):
        images = images_of(500, with_labels=labelled, num_images=count)
        values, how = measure_likelihood(model, images, num_samples, seed)
        results["log_likelihood"] = {**how, "binarize": trained.get("binarize"), "seed": seed}
        print(", ".join(f"{name} {value}" for name, value in results["log_likelihood"].items()))
    of_sets = [name for name in of_samples if name not in PER_PAIR]
    if features is None and any(map(needs_features, of_sets)):
        features = features_for(data, model.image_shape)
    if of_samples and isinstance(model.data, Pairs):
        values.update(measure_translations(model, pairs(), of_samples, features))
        results.update(count=number(), features=features, seed=seed)
        print(f"{results['count']} pairs of {data}/{split}, seed {seed}")
    elif of_samples:
        count = 10_000 if count is None else count
        callback = EvaluateSamples(
            images_of(500), of_samples, features=features, num_images=count, seed=seed,
            verbose=int(sys.stdout.isatty()),
        )
        callback.set_model(model)
        callback.on_train_begin()
        values.update(callback.evaluate())
        real = readable_images(data, split, **settings)[0]
        results.update(count=count, real_count=real, features=features, seed=seed)
        print(f"{count} samples, seed {seed}, against the {real} images of {data}/{split}")
    if not metrics:
        if not model.compiled:
            model.compile()
        values = model.evaluate(pairs(), verbose=0, return_dict=True)
        results["count"] = number()
    results["metrics"] = {name: float(value) for name, value in values.items()}
    write_json(path, results)
    if not is_preset(folder):
        write_card(folder)
    width = max(24, *(len(name) + 2 for name in values))
    for name, value in results["metrics"].items():
        print(f"{name:<{width}}{value:.4f}")
    print(path)


def _check_still_there(folder, name, settings):
    """Checks that the data of a training can be evaluated on: they may be a folder elsewhere."""
    try:
        data_info(name, **settings)
    except InputError as error:
        raise InputError(
            f"{folder} was trained on {name}, which was not found; name a data set with --data. "
            f"{error}"
        ) from None


def _default_split(name, trained, settings):
    """The split of a set to evaluate on, told where it is not the test split."""
    if name is None:
        return None
    seen = any(same_set(name, trained[key]) for key in ("data", "data_b") if trained.get(key))
    source = {key: settings[key] for key in ("image_size", "channels", "data_dir")}
    split = held_out_split(name, trained.get("holdout") if seen else None, **source)
    if split == "train":
        print(f"{name} has no test split: evaluated on its training images.")
    elif split != "test":
        print(f"evaluated on {name}, {split}")
    return split


# Format -> name in the run folder.
EXPORTED = {
    "saved_model": "saved_model", "litert": "model.tflite", "onnx": "model.onnx", "web": "page",
}  # fmt: skip
IS_EXPORT = {"saved_model": is_saved_model, "web": is_page}  # of a folder


def export(
    folder: str, format: str = "saved_model", output: str | None = None,
    precision: str | None = None, runtime: str | None = None, overwrite: bool = False,
) -> None:
    """Writes a trained model as a SavedModel, a LiteRT or ONNX file or a page; prints the path."""
    place = find_run(folder)
    for name, value, of in (("precision", precision, "litert"), ("runtime", runtime, "web")):
        if value is not None and format != of:
            raise InputError(
                f"--{name} is for --format {of}. Received: --{name} {value} for {format}."
            )
    output = output or os.path.join(place, EXPORTED[format])
    ending = os.path.splitext(EXPORTED[format])[1]
    if not ending:
        _check_no_file(output)
    target = Output(
        output, (ending,) if ending else (), made=IS_EXPORT.get(format), overwrite=overwrite,
        own=() if ending else (os.path.join(place, "saved_model"),),
    )
    model = load_run(folder)
    with target.written() as partial:
        model.export(partial, format=format, precision=precision, runtime=runtime)
    print(target.path)


def _check_no_file(output):
    """Refuses a folder whose name is that of a file of another format."""
    for format, name in EXPORTED.items():
        ending = os.path.splitext(name)[1]
        if ending and output.lower().endswith(ending):
            raise InputError(
                f"A SavedModel and a page are folders; --format {format} writes {ending} files. "
                f"Received: --output {output}."
            )
