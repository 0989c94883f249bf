"""See the pictures change from epoch to epoch."""

import math
from pathlib import Path

import keras
import numpy as np

from keras_genimg.callbacks.resume import remove_partial_files
from keras_genimg.callbacks.summaries import SummaryWriter
from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.plotting import image_grid, save_png
from keras_genimg.version import __version__

__all__ = ["ImageGrid"]


class ImageGrid(keras.callbacks.Callback):
    """Writes a grid of pictures after an epoch: `folder/epoch-0003.png`.

    Without `images` it shows `model.generate(num_images, seed=seed)`: the same
    seed each time, hence the same latents, so that one place in the grid is one
    picture that changes. With `images` it shows rows of originals, each above a
    row of what `model.translate` (or `reconstruct`) makes of them, and that above a
    row of `targets`, what it should have made.

    The PNG says in its text fields which model, seed and epoch it is from, and
    that it is generated. Under a multi-worker strategy every worker computes
    and the chief writes.

    Args:
        folder: path, made when needed.
        num_images: int. Pictures in the grid (at most this many of `images`).
        seed: int. Seed of the latents.
        every: int. Epochs from one grid to the next.
        images: float array `(batch, height, width, channels)` in [-1, 1], for
            models that reconstruct or translate.
        targets: float array `(batch, height, width, channels)`, optional, one for each
            of `images`.
        labels: int array `(num_images,)`, for models that generate by label.
        log_dir: path. Also writes the grid to TensorBoard, as `samples`.

    Raises:
        InputError: an argument that does not fit; when training begins, a model
            that cannot make the pictures.

    Example:
        >>> model.fit(dataset, epochs=20, callbacks=[ImageGrid("run/samples", num_images=64)])
    """

    def __init__(
        self,
        folder,
        num_images=64,
        seed=0,
        every=1,
        images=None,
        labels=None,
        log_dir=None,
        targets=None,
    ):
        super().__init__()
        if num_images < 1 or every < 1:
            raise InputError(
                "num_images and every must be at least 1. "
                f"Received: num_images={num_images}, every={every}."
            )
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
                    "targets must hold one picture for each of images. Received: "
                    f"{len(targets)} targets for {0 if images is None else len(images)} images."
                )
        if labels is not None:
            labels = np.asarray(labels)
            if len(labels) != num_images:
                raise InputError(
                    "labels must hold one label an image. "
                    f"Received: {len(labels)} labels for num_images={num_images}."
                )
        self.folder = Path(folder)
        self.num_images = num_images
        self.seed = seed
        self.every = every
        self.images = images
        self.targets = targets
        self.labels = labels
        self.summaries = SummaryWriter(log_dir)

    def on_train_begin(self, logs=None):
        needed = ("generate",) if self.images is None else ("reconstruct", "translate")
        if not any(hasattr(self.model, name) for name in needed):
            raise InputError(
                f"ImageGrid {'without' if self.images is None else 'with'} images needs a model "
                f"that has the method {' or '.join(needed)}. "
                f"Received: {type(self.model).__name__}."
            )
        if is_chief(self.model.distribute_strategy):
            remove_partial_files(self.folder, "epoch-*.png")

    def on_epoch_end(self, epoch, logs=None):
        epoch += 1  # files count from 1
        if epoch % self.every:
            return
        grid = self._generated() if self.images is None else self._before_and_after()
        if not is_chief(self.model.distribute_strategy):
            return
        notes = {
            "model": type(self.model).__name__,
            "seed": self.seed,
            "epoch": epoch,
            "generated": self._generated_part(),
            "Software": f"keras_genimg {__version__}",
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
        return image_grid(self.model.generate(self.num_images, seed=self.seed, **labels))

    def _before_and_after(self):
        """Rows of originals, each above the row of what the model makes of them."""
        make = getattr(self.model, "translate", None) or self.model.reconstruct
        after = np.asarray(make(self.images))
        before = self.images
        factor = after.shape[1] // before.shape[1]  # super-resolution: larger pixels, same size
        before = before.repeat(factor, axis=1).repeat(factor, axis=2)
        columns = min(len(before), math.isqrt(2 * len(before) - 1) + 1)
        rows = -(-len(before) // columns)
        open_places = ((0, rows * columns - len(before)), (0, 0), (0, 0), (0, 0))
        shown = [part for part in (before, after, self.targets) if part is not None]
        channels = max(part.shape[-1] for part in shown)  # grey beside colour
        shown = [part.repeat(channels // part.shape[-1], axis=-1) for part in shown]
        parts = [
            np.pad(part, open_places, constant_values=1.0).reshape(rows, columns, *part.shape[1:])
            for part in shown
        ]
        parts = np.stack(parts, axis=1)  # 2 or 3 x (rows, columns, ...) -> (rows, 2 or 3, columns, ...)
        return image_grid(parts.reshape(-1, *shown[1].shape[1:]), columns=columns)
