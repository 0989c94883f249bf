"""Image grids that show how the images change over epochs."""

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.callbacks.checks import check_generates, check_one_label_per_image
from keras_genimg.callbacks.copying import CopiedCallback
from keras_genimg.callbacks.resume import remove_partial_files
from keras_genimg.callbacks.summaries import SummaryWriter
from keras_genimg.checks import check_count
from keras_genimg.core import ImageModel
from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.plotting import image_grid, save_png
from keras_genimg.version import __version__

__all__ = ["ImageGrid"]


class ImageGrid(CopiedCallback):
    """Writes an image grid at the end of an epoch: `folder/epoch-0003.png`.

    Without `images` the grid shows `model.generate(num_images, seed=seed)`. The
    seed and hence the latents are always the same, so each place of the grid
    shows how one image changes. With `images` it shows rows of originals, each
    above a row of the outputs of `model.translate` (or `reconstruct`) and, if
    given, a row of `targets`.

    The text fields of the PNG give the model, the seed and the epoch, and say
    that the images are generated. Under a multi-worker strategy every worker
    computes and the chief writes.

    Args:
        folder: path, created if needed.
        num_images: int. Images in the grid (at most this many of `images`).
        seed: int. Seed of the latents.
        every: int. Epochs from one grid to the next.
        images: float array `(batch, height, width, channels)` in [-1, 1], for
            models that reconstruct or translate.
        targets: float array `(batch, height, width, channels)`, optional, one per
            image of `images`.
        labels: see `ImageModel.generate`, for models that generate by label.
        log_dir: path. Also writes the grid to TensorBoard, as `samples`.

    Raises:
        InputError: invalid arguments; when training begins, a model that does not
            generate, reconstruct or translate, or invalid labels.

    Example:
        >>> model.fit(dataset, epochs=20, callbacks=[ImageGrid("run/samples", num_images=64)])
    """

    def __init__(
        self, folder: str | os.PathLike, num_images: int = 64, seed: int = 0, every: int = 1,
        images: ArrayLike | None = None, labels: ArrayLike | None = None,
        log_dir: str | os.PathLike | None = None, targets: ArrayLike | None = None,
    ):
        super().__init__()
        self.num_images = check_count("num_images", num_images)
        self.every = check_count("every", every)
        if images is not None:
            images = np.asarray(images)[:num_images]
            if images.ndim != 4:
                raise InputError(
                    "images must have the shape (batch, height, width, channels). "
                    f"Received: shape={images.shape}."
                )
        if targets is not None:
            targets = np.asarray(targets)[:num_images]
            if images is None or len(targets) != len(images):
                raise InputError(
                    "targets must hold one target per image of images. Received: "
                    f"{len(targets)} targets for {0 if images is None else len(images)} images."
                )
        check_one_label_per_image(labels, num_images)
        self.folder = Path(folder)
        self.seed = seed
        self.images = images
        self.targets = targets
        self.labels = labels
        self.summaries = SummaryWriter(log_dir)

    def on_train_begin(self, logs=None):
        names = ("generate",) if self.images is None else ("translate", "reconstruct")
        methods = [name for name in names if hasattr(self.model, name)]
        if not methods:
            raise InputError(
                f"ImageGrid {'without' if self.images is None else 'with'} images needs a model "
                f"with the method {' or '.join(names)}. Received: {type(self.model).__name__}."
            )
        if self.images is None and isinstance(self.model, ImageModel):
            check_generates(self.model, "ImageGrid", self.num_images, self.labels, self.seed)
        self._method = methods[0]
        if is_chief(self.model.distribute_strategy):
            remove_partial_files(self.folder, "epoch-*.png")

    def on_epoch_end(self, epoch, logs=None):
        epoch += 1  # files count from 1
        if epoch % self.every:
            return
        grid = self._generated() if self.images is None else self._inputs_and_outputs()
        if not is_chief(self.model.distribute_strategy):
            return
        notes = {
            "model": type(self.model).__name__, "seed": self.seed, "epoch": epoch,
            "generated": self._generated_part(), "Software": f"keras_genimg {__version__}",
        }
        with replace_when_complete(self.folder / f"epoch-{epoch:04d}.png") as partial:
            save_png(partial, grid, notes, scale=max(1, 512 // max(grid.shape)))
        self.summaries.image("samples", grid, epoch)

    def on_train_end(self, logs=None):
        self.summaries.close()

    def _generated_part(self):
        if self.images is None:
            return "yes"
        return "every second row" if self.targets is None else "the second of every three rows"

    def _generated(self):
        labels = {} if self.labels is None else {"labels": self.labels}
        generate = getattr(self.model, self._method)
        return image_grid(generate(self.num_images, seed=self.seed, **labels))

    def _inputs_and_outputs(self):
        """Rows of the model's inputs, each above the row of its outputs and targets."""
        outputs = np.asarray(getattr(self.model, self._method)(self.images))
        factor = outputs.shape[1] // self.images.shape[1]  # super-resolution: enlarge the inputs
        inputs = self.images.repeat(factor, axis=1).repeat(factor, axis=2)
        columns = min(len(inputs), math.isqrt(2 * len(inputs) - 1) + 1)
        rows = -(-len(inputs) // columns)
        shown = [part for part in (inputs, outputs, self.targets) if part is not None]
        channels = max(part.shape[-1] for part in shown)  # greyscale beside colour
        shown = np.stack([part.repeat(channels // part.shape[-1], axis=-1) for part in shown])
        padding = ((0, 0), (0, rows * columns - len(inputs)), (0, 0), (0, 0), (0, 0))
        shown = np.pad(shown, padding, constant_values=1.0)  # (k, rows * columns, h, w, c)
        size = shown.shape[2:]
        shown = shown.reshape(-1, rows, columns, *size).swapaxes(0, 1)  # (rows, k, columns, ...)
        return image_grid(shown.reshape(-1, *size), columns=columns)
