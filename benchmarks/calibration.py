"""How each metric responds to known corruptions of images: the floor, and corruption levels.

    TFDS_DATA_DIR=... python benchmarks/calibration.py                   # Fashion-MNIST
    TFDS_DATA_DIR=... python benchmarks/calibration.py --classifier second/fashion_mnist.keras
    TFDS_DATA_DIR=... python benchmarks/calibration.py cifar10 --frechet \
        --features cifar10 cifar10_small cifar10_rotation

Real training images, clean (the floor) or corrupted, stand in for samples; the reference is the
test split. Prints a Markdown table for each kind of features, and the rank correlation of the
others with the first. Networks that were trained without labels have no Inception Score.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_genimg.data import load
from keras_genimg.metrics import (
    FeatureExtractor,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    PrecisionRecallDensityCoverage,
    SlicedWassersteinDistance,
    as_stored,
    get_features,
    update_metrics,
)

COLUMNS = ["frechet_distance", "kernel_distance", "inception_score", "precision", "recall",
           "density", "coverage", "sliced_wasserstein_distance"]
DIGITS = {"kernel_distance": 4, "frechet_distance": 2, "inception_score": 2,
          "sliced_wasserstein_distance": 1}


def noisy(images, deviation, rng):
    """Adds normal noise, in units of the range [-1, 1]."""
    return np.clip(images + deviation * rng.standard_normal(images.shape, "float32"), -1, 1)


def blurred(images, deviation):
    """Convolves with a Gaussian of this standard deviation in pixels, edges repeated."""
    reach = int(np.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights = (weights / weights.sum()).astype("float32")
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (reach, reach)
        padded = np.pad(images, padding, mode="edge")
        side = images.shape[axis]
        images = sum(
            weight * padded.take(range(start, start + side), axis=axis)
            for start, weight in enumerate(weights)
        )
    return images


def without_classes(images, labels, number, count):
    """The first `count` images whose class is not one of the first `number`."""
    return images[labels >= number][:count]


def duplicated(images, distinct):
    """The same number of images, of which only `distinct` differ."""
    return np.resize(images[:distinct], images.shape)


def ladder(images, labels, count, seed=0):
    """Yields (name, images) from the floor on; `images` holds more than `count`."""
    rng = np.random.default_rng(seed)
    whole = images[:count]
    yield "none (the floor)", whole
    for deviation in (0.1, 0.2, 0.4):
        yield f"noise {deviation}", noisy(whole, deviation, rng)
    for deviation in (0.5, 1.0, 2.0):
        yield f"blur {deviation} pixels", blurred(whole, deviation)
    for number in (1, 3, 5):
        rest = without_classes(images, labels, number, count)
        yield f"{number} of {labels.max() + 1} classes missing", rest
    for share in (2, 10, 100):
        yield f"each image {share} times", duplicated(whole, count // share)


def everything(name, split, data_dir=None, num_images=None):
    """All images and labels of a split, in its order; shuffled if that is class by class."""
    parts = load(name, split, batch_size=1000, with_labels=True, data_dir=data_dir,
                 num_images=num_images)
    images, labels = map(np.concatenate, zip(*((i.numpy(), y.numpy()) for i, y in parts)))
    if np.all(np.diff(labels) >= 0):
        order = np.random.default_rng(0).permutation(len(labels))
        images, labels = images[order], labels[order]
    return images, labels


def measure(levels, real, features, frechet=False):
    """All metrics of all corruption levels, or the Fréchet distance: {level: {metric: value}}."""
    metrics = [FrechetDistance(features)]
    if not frechet:
        metrics += [KernelDistance(features), PrecisionRecallDensityCoverage(features)]
        metrics += [SlicedWassersteinDistance()]
        metrics += [InceptionScore(features)] if features.has_logits else []
    update_metrics(metrics, real_images=real)
    table = {}
    for name, images in levels:
        for metric in metrics:
            metric.reset_fake_state()
        update_metrics(metrics, fake_images=as_stored(images))
        values = {key.split("[")[0]: v for metric in metrics for key, v in metric.result().items()}
        table[name] = {column: values[column] for column in COLUMNS if column in values}
        print(name, table[name], flush=True)
    return table


def another_classifier(path):
    """Features of a file that benchmarks/train_classifiers.py wrote with another seed."""
    model = keras.models.load_model(path, compile=False)
    both = keras.Model(model.input, [model.get_layer("features").output, model.output])
    return FeatureExtractor("another seed", lambda images: both(images, training=False),
                            has_logits=True)


def show(table, title):
    columns = list(next(iter(table.values())))
    print(f"\n| {title} | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, values in table.items():
        cells = [f"{values[column]:.{DIGITS.get(column, 3)}f}" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


def rank_correlation(first, second):
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="fashion_mnist")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--features", nargs="+", help="by default those of the set")
    parser.add_argument("--frechet", action="store_true", help="the Fréchet distance alone")
    parser.add_argument("--classifier", help="a file from train_classifiers.py, of another seed")
    options = parser.parse_args()
    real = everything(options.name, "test")[0][: options.count]
    images, labels = everything(options.name, "train")
    count = min(options.count, len(images))
    print(f"{count} training images of {options.name}, corrupted, against {len(real)} test images")
    levels = list(ladder(images, labels, count))
    every = [get_features(name) for name in options.features or [options.name]]
    if options.classifier:
        every.append(another_classifier(options.classifier))
    tables = {
        features.name: measure(levels, real, features, options.frechet) for features in every
    }
    for name, table in tables.items():
        show(table, f"corruption, {name} features")
    first = tables[every[0].name]
    for name, table in list(tables.items())[1:]:
        print(f"\nrank correlation over all levels, {every[0].name} and {name}:")
        for column in next(iter(table.values())):
            columns = ([row[column] for row in each.values()] for each in (first, table))
            print(f"{column:<30}{rank_correlation(*columns):.3f}")


if __name__ == "__main__":
    main()
