"""Commands on the latents of a finished run: interpolate, invert."""

import os

import numpy as np

from keras_genimg import latents, plotting
from keras_genimg.checks import check_count, check_seed
from keras_genimg.core import Labels
from keras_genimg.data import load
from keras_genimg.data.decoding import decode_alone
from keras_genimg.errors import InputError
from keras_genimg.latents.checks import latent_dim_of
from keras_genimg.runs.folder import find_run, load_run
from keras_genimg.runs.outputs import Output, check_memory
from keras_genimg.runs.splits import held_out_split
from keras_genimg.version import __version__

__all__ = ["interpolate", "invert"]


def _lower_half(height, width):
    return np.repeat(np.arange(height)[:, None] < height // 2, width, axis=1)


def _middle_box(height, width):
    mask = np.ones((height, width), bool)
    mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = False
    return mask


# Name -> function from (height, width) to the mask of kept pixels; None keeps all.
MASKS = {"none": lambda height, width: None, "half": _lower_half, "box": _middle_box}


def interpolate(
    folder: str, count: int, steps: int, method: str = "linear", seed: int | None = None,
    labels: list | None = None, output: str | None = None, overwrite: bool = False,
) -> None:
    """Interpolates between pairs of latents of a run's model and writes the images, one row each.

    Args:
        folder: path of the run folder, or the name of a preset.
        count: int. Interpolations.
        steps: int. Images per interpolation, both ends included.
        method: `"linear"` or `"spherical"`.
        seed: int, optional.
        labels: list of numbers and names of classes, one per interpolation in turn, for
            conditional models; by default all their classes in turn.
        output: path of a .png grid, a .gif that plays the interpolations side by side, or an .npz
            of latents and images; by default `interpolation.png` in the run folder.
        overwrite: bool. Whether an earlier file is replaced.
    """
    place = find_run(folder)
    output = output or os.path.join(place, "interpolation.png")
    target = Output(output, (".png", ".gif", ".npz"), overwrite=overwrite)
    seed = check_seed(seed)
    check_count("count", count)
    check_count("num_steps", steps, minimum=2)
    model = load_run(folder)
    latent_dim_of(model)  # raises where a model has none
    check_memory(count * steps, model.image_shape)
    given = _labels(model, labels, count)
    ends = model.draw_latents(2 * count, seed).numpy()
    walks = latents.interpolate(model, ends[:count], ends[count:], steps, method)  # (n, k, d)
    images = latents.decode(model, walks, **given)
    notes = {"model": type(model).__name__, "seed": seed, "method": method, "generated": "yes"}
    arrays = {"latents": walks, "images": images, "seed": seed, **given}
    _write(target, images, notes, arrays)
    print(output)


def invert(
    folder: str, images: str | None = None, data: str | None = None, data_dir: str | None = None,
    split: str | None = None, count: int = 8, mask: str = "none", labels: list | None = None,
    seed: int | None = None, output: str | None = None, overwrite: bool = False,
) -> None:
    """Finds latents of given images, or of their unmasked pixels, and writes a grid.

    One row per image: the input of the search and its result, and with a mask also the completed
    image and the original.

    Args:
        folder: path of the run folder, or the name of a preset.
        images: path of an image or of a folder of images; or
        data: string, the name of a data set.
        data_dir, split: see `evaluate`.
        count: int. Images of the folder or the set.
        mask: `"none"`, `"half"` (the lower half is masked) or `"box"` (the middle).
        labels: list of numbers and names of classes, one per image in turn, for conditional
            models; by default the labels of the data set.
        seed: int, optional. Seed of the starting points.
        output: path of a .png grid, or an .npz of the results; by default `inversion.png` in
            the run folder.
        overwrite: bool. Whether an earlier file is replaced.
    """
    place = find_run(folder)
    output = output or os.path.join(place, "inversion.png")
    target = Output(output, (".png", ".npz"), overwrite=overwrite)
    seed = check_seed(seed)
    check_count("count", count)
    unused = [name for name, given in (("--split", split), ("--data-dir", data_dir)) if given]
    if images is not None and unused:
        raise InputError(f"{unused[0]} is for --data. Received: {unused[0]} with --images.")
    model = load_run(folder)
    with_labels = model.data.part(Labels) and labels is None and data is not None
    originals, own_labels = _images(model, images, data, data_dir, split, count, with_labels)
    given = {"labels": own_labels} if with_labels else _labels(model, labels, len(originals))
    kept = MASKS[mask](*model.image_shape[:2])
    found = latents.invert(model, originals, mask=kept, seed=seed, **given)
    rows = [originals, found.images]
    if kept is not None:
        seen = np.where(kept[..., None], originals, 0.0)  # masked pixels are grey
        rows = [seen, found.images, np.where(kept[..., None], originals, found.images), originals]
    notes = {"model": type(model).__name__, "seed": seed, "mask": mask, "generated": "in part"}
    _write(target, np.stack(rows, axis=1), notes, {**found._asdict(), "seed": seed, **given})
    print(f"{'mean squared error':<24}{found.errors.mean():.4f}")
    print(output)


def _labels(model, labels, count):
    """What `latents.decode` takes besides latents: nothing, or classes in turn."""
    if labels is None and not model.data.part(Labels):
        return {}
    return {"labels": model.labels_in_turn(count, labels)}


def _images(model, images, data, data_dir, split, count, with_labels):
    """Images of the model's shape, and labels or None."""
    height, width, channels = model.image_shape
    settings = {"image_size": (height, width), "channels": channels, "batch_size": count}
    if images is not None and os.path.isdir(images):
        # An absolute path names the folder, even if a data set has the same name.
        data, split = os.path.abspath(images), "train"
    elif images is not None:
        pixels = decode_alone(images, model.image_shape)
        if isinstance(pixels, str):
            raise InputError(
                f"--images takes an image or a folder of them. Received: {images}, a file {pixels}."
            )
        return pixels[None].astype("float32") / 127.5 - 1.0, None
    if split is None:
        shape = {"image_size": (height, width), "channels": channels}
        split = held_out_split(data, data_dir=data_dir, **shape)
    batches = load(data, split, data_dir=data_dir, with_labels=with_labels, **settings)
    batch = next(iter(batches))
    return tuple(part.numpy() for part in batch) if with_labels else (batch.numpy(), None)


def _write(output, images, notes, arrays):
    """Images `(n, k, height, width, channels)` as a grid or an animation, or the arrays."""
    ending = os.path.splitext(output.path)[1].lower()
    with output.written() as partial:
        if ending == ".npz":
            np.savez_compressed(partial, **arrays)
        elif ending == ".gif":
            plotting.save_animation(partial, images, scale=4)
        else:
            grid = plotting.image_grid(images)
            notes = {**notes, "Software": f"keras_genimg {__version__}"}
            plotting.save_png(partial, grid, notes, scale=2)
