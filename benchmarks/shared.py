"""What the benchmarks have in common."""

import csv
import time

import numpy as np

import keras_genimg as kg
from keras_genimg.layers import FiniteScalarQuantizer, VectorQuantizer
from keras_genimg.metrics import FrechetDistance, as_stored, update_metrics


class Rows:
    """The rows of a table, written as they come; those of an earlier start are kept.

    Args:
        folder: `pathlib.Path`, made if it is not there. The rows are in its rows.csv.
    """

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.rows = folder / "rows.csv", []
        if self.path.exists():
            with open(self.path, newline="") as file:
                self.rows = [
                    {name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)
                ]

    def has(self, **keys):
        return any(all(row[name] == value for name, value in keys.items()) for row in self.rows)

    def append(self, row):
        self.rows.append(row)
        with open(self.path, "w", newline="") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerows(self.rows)


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
        help="in what layers compute; the second is faster on processors with bfloat16 units",
    )


def distance_to_test(name):
    """`FrechetDistance` in the features of a set's classifier, with its test pictures in it."""
    metric = FrechetDistance(name)
    for images in kg.load(name, "test", batch_size=500):
        metric.update_state(real_images=images.numpy())
    return metric


def distance(metric, images):
    """The distance of 8-bit `images`; infinity where they are no numbers."""
    if not np.isfinite(images).all():
        return float("inf")
    metric.reset_fake_state()
    update_metrics([metric], fake_images=images)
    return metric.result()[metric.name]


def samples(model, count, **arguments):
    """`count` pictures of seed 0, as PNG files hold them."""
    return as_stored(model.generate(count, seed=0, verbose=0, **arguments))


def codebook_sizes(model, num_grids):
    """How many codes there are in each of the grids that `model.encode` gives."""
    kinds = (VectorQuantizer, FiniteScalarQuantizer)
    sizes = [layer.num_embeddings for layer in model.layers if isinstance(layer, kinds)]
    return sizes * num_grids if len(sizes) == 1 else sizes


def train(model, batches, steps):
    """Steps of the compiled model on an endless data set's iterator: the seconds they took."""
    model.make_train_function()
    began = time.perf_counter()
    for _ in range(steps):
        model.train_function(batches)
    return time.perf_counter() - began
