"""Code that the benchmarks share."""

import csv
import os
import time

import numpy as np

import keras_genimg as kg
from keras_genimg.layers import FiniteScalarQuantizer, VectorQuantizer, VectorQuantizerEMA
from keras_genimg.metrics import FrechetDistance, as_stored, update_metrics


class Rows:
    """The rows of a table, written as they are added; those of an earlier start are kept.

    Args:
        folder: `pathlib.Path`, created if necessary. The rows are in its rows.csv.
    """

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.rows = folder / "rows.csv", []
        if self.path.exists():
            with open(self.path, newline="") as file:
                rows = list(csv.DictReader(file))
            self.rows = [{name: _number(text) for name, text in row.items()} for row in rows]

    def has(self, **keys):
        return any(all(row.get(name) == value for name, value in keys.items()) for row in self.rows)

    def remove(self, **keys):
        """Leaves out the rows with these values, in the file from the next one on."""
        self.rows = [
            row for row in self.rows if any(row.get(name) != value for name, value in keys.items())
        ]

    def append(self, row):
        self.rows.append(row)
        partial = self.path.with_suffix(".partial")
        with open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, dict.fromkeys(name for row in self.rows for name in row))
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(partial, self.path)


def _number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def add_policy(parser):
    """The option `--policy`, for `keras.config.set_dtype_policy`."""
    parser.add_argument(
        "--policy", choices=("float32", "mixed_bfloat16"), default="float32",
        help="dtype policy of the layers; the second is faster on processors with bfloat16 units",
    )


def distance_to_test(name):
    """`FrechetDistance` in the features of a set's classifier, of its test images."""
    metric = FrechetDistance(name)
    for images in kg.load(name, "test", batch_size=500):
        metric.update_state(real_images=images.numpy())
    return metric


def distance(metric, images):
    """The distance of 8-bit `images`; infinity if they are not finite."""
    if not np.isfinite(images).all():
        return float("inf")
    metric.reset_fake_state()
    update_metrics([metric], fake_images=images)
    return metric.result()[metric.name]


def samples(model, count, **arguments):
    """`count` images of seed 0, as PNG files hold them."""
    return as_stored(model.generate(count, seed=0, verbose=0, **arguments))


def codebook_sizes(model, num_grids):
    """The number of codes for each of the grids that `model.encode` returns."""
    kinds = (VectorQuantizer, VectorQuantizerEMA, FiniteScalarQuantizer)
    sizes = [layer.num_embeddings for layer in model.layers if isinstance(layer, kinds)]
    return sizes * num_grids if len(sizes) == 1 else sizes


def train(model, batches, steps):
    """Trains a compiled model on the iterator of an endless data set: the seconds it took."""
    model.make_train_function()
    began = time.perf_counter()
    for _ in range(steps):
        model.train_function(batches)
    return time.perf_counter() - began
