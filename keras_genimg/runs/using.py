"""Commands on a finished run: generate, evaluate, export."""

import os

import numpy as np

from keras_genimg import plotting
from keras_genimg.data import data_info, load
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.runs.folder import load_run, write_json
from keras_genimg.version import __version__

__all__ = ["evaluate", "export", "generate"]


def generate(folder, count, seed=None, labels=None, output=None, format=None):
    """Makes pictures with a run's model and writes them.

    Args:
        folder: path of the run folder.
        count: int. Number of pictures.
        seed: int, optional.
        labels: list of int, repeated in turn up to `count`; conditional models.
        output: path, or None for `generated` in the run folder.
        format: `"png"`, `"npz"` or `"gif"`; by the ending of `output` if None.
    """
    model = load_run(folder)
    ending = os.path.splitext(output or "")[1].lstrip(".").lower()
    format = format or (ending if ending in ("npz", "gif") else "png")
    as_grid = format == "png" and ending == "png"
    if output is None:
        output = os.path.join(folder, "generated" + ("" if format == "png" else f".{format}"))
    if labels is not None:
        labels = np.resize(labels, count)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    given = {} if labels is None else {"labels": labels}
    images = model.generate(count, seed=seed, **given)
    notes = {"model": type(model).__name__, "seed": seed, "generated": "yes",
             "Software": f"keras_genimg {__version__}"}
    if format == "png" and not as_grid:
        if os.path.isdir(output) and os.listdir(output):
            raise InputError(
                f"Pictures go into a new or empty folder, so that none are mixed up. "
                f"Received: {output}, which holds files."
            )
        with replace_when_complete(output, folder=True) as partial:
            for index, image in enumerate(plotting.to_uint8(images)):
                plotting.save_png(os.path.join(partial, f"{index:06d}.png"), image, notes)
    else:
        with replace_when_complete(output) as partial:
            if format == "npz":
                np.savez_compressed(partial, images=plotting.to_uint8(images), seed=seed)
            elif format == "gif":
                plotting.save_gif(partial, images, scale=4)
            else:
                plotting.save_png(partial, plotting.image_grid(images), notes, scale=2)
    print(output)


def evaluate(folder, data, data_dir=None, split="test", count=None):
    """Measures a run's model by its own losses on a data set; prints and writes metrics.json."""
    model = load_run(folder)
    height, width, channels = model.image_shape
    settings = {"image_size": (height, width), "channels": channels, "data_dir": data_dir}
    images = load(data, split, batch_size=100, with_labels=model.needs_labels, num_images=count,
                  **settings)
    if not model.compiled:
        model.compile()
    values = model.evaluate(images, verbose=0, return_dict=True)
    number = count or data_info(data, split, **settings).num_images
    results = {"data": data, "split": split, "count": number,
               "metrics": {name: float(value) for name, value in values.items()}}
    path = os.path.join(folder, "metrics.json")
    write_json(path, results)
    for name, value in results["metrics"].items():
        print(f"{name:<24}{value:.4f}")
    print(path)


def export(folder, format="saved_model", output=None):
    """Writes a run's model as a SavedModel, LiteRT or ONNX file and prints the path."""
    names = {"saved_model": "saved_model", "litert": "model.tflite", "onnx": "model.onnx"}
    print(load_run(folder).export(output or os.path.join(folder, names[format]), format=format))
