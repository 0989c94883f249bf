"""The files of a finished run."""

import glob
import os
import shutil

import numpy as np
from PIL import Image

from keras_genimg import plotting
from keras_genimg.files import replace_when_complete
from keras_genimg.runs import card

__all__ = ["write_results"]

FRAMES, PAUSE = 30, 10  # of progress.gif: at most so many epochs, and repeats of the last one


def write_results(model, run, settings, images) -> None:
    """Writes the files of a finished run, and prints their paths.

    Args:
        model: the trained model.
        run: its `RunFolder`.
        settings: dict, of the run.
        images: function from a number to at most as many held-out images, for a classifier.
    """
    folder = run.name
    names = {"samples": "samples.png", "progress": "progress.gif", "losses": "losses.png",
             "logs": "logs.csv", "model": "model.keras", "SavedModel": "saved_model",
             "record": "run.json", "card": card.NAME}  # fmt: skip
    paths = {what: os.path.join(folder, name) for what, name in names.items()}
    model.save(paths["model"])
    done = run.record.get("epochs_done", settings["epochs"])
    run.update(model_epochs=done)  # a later training leaves the file behind
    model.export(paths["SavedModel"])
    if model.makes == "labels":
        grid = _class_grid(model, images(2000))
        content = "real images, one row per predicted class"
        notes = {"model": type(model).__name__, "content": content}
        with replace_when_complete(paths["samples"]) as partial:
            plotting.save_png(partial, grid, notes, scale=2)
    else:
        # The grid of the last epoch, not a better one picked by eye.
        grids = glob.glob(os.path.join(glob.escape(folder), "samples", "epoch-*.png"))
        for last in sorted(grids)[-1:]:  # none if somebody has moved them away
            with replace_when_complete(paths["samples"]) as partial:
                shutil.copyfile(last, partial)
        _write_progress(sorted(grids), paths["progress"])
    if os.path.exists(paths["logs"]):
        plotting.plot_losses(paths["logs"], paths["losses"])
    card.write_card(folder)
    print()
    if settings["evaluate_every"]:
        print(f"{'best':<12}{os.path.join(folder, 'best.keras')}")
    for what, path in paths.items():
        if os.path.exists(path):
            print(f"{what:<12}{path}")


def _write_progress(grids, path):
    """The grids as an animation, which stays on the last one for a second."""
    chosen = np.unique(np.linspace(0, len(grids) - 1, min(len(grids), FRAMES)).round().astype(int))
    frames = [frame for frame in (_pixels(grids[index]) for index in chosen) if frame is not None]
    frames = [frame for frame in frames if frame.shape == frames[-1].shape]
    if len(frames) > 1:
        with replace_when_complete(path) as partial:
            plotting.save_animation(partial, frames + frames[-1:] * PAUSE)


def _pixels(path):
    """A grid as uint8 `(height, width, channels)`, or None for a damaged file."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError):  # Pillow raises this for a damaged PNG
        return None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _class_grid(model, images, columns=10):
    """One row per class, of images that the classifier assigns to it."""
    guesses = model.classify(images)
    rows = []
    for label in range(model.num_classes):
        row = images[guesses == label][:columns]
        rows.append(np.pad(row, ((0, columns - len(row)), (0, 0), (0, 0), (0, 0)),
                           constant_values=-1.0))
    return plotting.image_grid(np.concatenate(rows), columns=columns)
