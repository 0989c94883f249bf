"""Recognition: how well does a linear classifier separate classes by a generator's features?

    TFDS_DATA_DIR=... python benchmarks/linear_probe.py runs/gan_fashion --data fashion_mnist
    TFDS_DATA_DIR=... python benchmarks/linear_probe.py runs/vae_fashion runs/vq_vae_fashion

Softmax regression on standardised features, compared with raw pixels and, with --untrained, with
the same networks before training. L2, the weight of |W|^2 / 2 relative to the sum over images, is
chosen on the last fifth of the labelled images, and the fit is repeated on all of them; test images
are used once. The problem is convex and solved to its minimum: a probe is deterministic up to the
choice of the labelled images.
"""

import argparse
import os
import time
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from shared import codebook_sizes

from keras_genimg.data import load
from keras_genimg.errors import InputError
from keras_genimg.layers import VectorQuantizer, VectorQuantizerEMA
from keras_genimg.runs import load_run

# Of the sum over images, from strong to weak: each fit starts where the last one ended.
L2 = (10_000, 1_000, 100, 10, 1)
TOLERANCE = 1e-6  # nats


# -------------------------------------------------------------------------- features


def before_last_weights(network):
    """The input of the last layer with weights on the path to the first output of a network."""
    tensor = network.outputs[0]
    while True:
        producers = [each for each in network.operations if each.output is tensor]
        if not producers or isinstance(producers[0].input, list):
            raise InputError(
                "The path from the last layer with weights to the output must have layers of one "
                f"input and one output. Received: {network.name}."
            )
        operation = producers[0]
        tensor = operation.input
        if getattr(operation, "weights", []):
            return tensor


def levels(network):
    """The last grid of each size and width before the logits, with more than one channel."""
    last = {}
    for layer in network.layers:
        shape = None if isinstance(layer, keras.layers.InputLayer) else layer.output.shape
        if shape is not None and len(shape) == 4 and shape[-1] > 1:
            last[shape[1:]] = layer.output
    return list(last.values())


def pooled(tensor):
    """The maxima of a grid over 4x4 regions, flat (Radford et al., 2016, section 5.1)."""
    size = [min(4, side) for side in tensor.shape[1:3]]
    grid = keras.layers.AdaptiveMaxPooling2D(size)(tensor)  # (B, h, w, c) -> (B, 4, 4, c)
    return keras.layers.Flatten()(grid)  # (B, 4, 4, c) -> (B, 16c)


def code_shares(model, images):
    """Code frequencies per image, over all positions: `(n, K)`, of all grids."""
    codes = model.encode(images)
    grids = codes if isinstance(codes, (tuple, list)) else [codes]
    shares = []
    for grid, size in zip(grids, codebook_sizes(model, len(grids))):
        flat = grid.reshape(len(grid), -1)  # (n, h, w) -> (n, h*w)
        rows = size * np.arange(len(flat))[:, None]  # codes of image i count from i*K
        counts = np.bincount((rows + flat).ravel(), minlength=size * len(flat))
        shares.append(counts.reshape(len(flat), size) / flat.shape[1])
    return np.concatenate(shares, axis=1)


def feature_functions(model):
    """Name -> function from images `(n, h, w, c)` to features `(n, dimensions)`."""
    networks = [getattr(model, role, None) for role in ("discriminator", "encoder")]
    discriminator, encoder = networks
    if networks == [None, None] or any(net is not None and len(net.inputs) > 1 for net in networks):
        raise InputError(
            "Features are those of a discriminator or an encoder that takes only images. "
            f"Received: {type(model).__name__}."
        )
    taps = {}
    if discriminator is not None:
        taps["discriminator, before the logit"] = discriminator, before_last_weights(discriminator)
        grids = [pooled(grid) for grid in levels(discriminator)]
        if grids:
            joined = keras.layers.Concatenate()(grids) if len(grids) > 1 else grids[0]
            taps["discriminator, all levels at 4x4"] = discriminator, joined
    of_gaussian = encoder is not None and len(encoder.outputs[0].shape) == 2
    if of_gaussian:
        taps["encoder, z_mean"] = encoder, encoder.outputs[0]
        taps["encoder, before z_mean"] = encoder, before_last_weights(encoder)
    elif encoder is not None:
        taps["encoder, vectors"] = encoder, encoder.outputs[0]
    functions = {}
    for name, (network, tensor) in taps.items():
        tapped = keras.Model(network.inputs, keras.layers.Flatten(dtype="float32")(tensor))
        functions[name] = partial(tapped.predict, batch_size=500, verbose=0)
    if encoder is not None and not of_gaussian:
        functions["code frequencies"] = partial(code_shares, model)
    return functions


def untrained(model, images):
    """The model with new initial weights; its codebook, if it has one, by k-means."""
    fresh = type(model).from_config(model.get_config())
    if isinstance(getattr(fresh, "quantizer", None), (VectorQuantizer, VectorQuantizerEMA)):
        fresh.start_codebook(images[:1000])
    return fresh


# ----------------------------------------------------------------------- the probe


def softmax_regression(
    features, labels, num_classes, l2, products, weights=None, tolerance=TOLERANCE
):
    """Weights `(dimensions, classes)` that minimise the sum of cross-entropies + l2/2 |W|^2.

    Each step goes to the minimum of a quadratic upper bound of the loss (Boehning, 1992), with
    Nesterov's momentum, which restarts at 0 where it would increase the loss.

    Args:
        features: float32 array `(n, dimensions)`; the last one is 1 everywhere, for the bias,
            which is not regularised.
        labels: int array `(n,)`.
        num_classes: int.
        l2: float.
        products: float array `(dimensions, dimensions)`, X^T X of the features.
        weights: array to start from, zeros by default.
        tolerance: float. Stops when a step would gain fewer nats.
    """
    held = np.full((features.shape[1], 1), l2 / len(labels))  # everything is a mean over images
    held[-1] = 0
    # X^T X / 2n bounds the curvature of the mean cross-entropy in the weights of a class. A little
    # more keeps it positive definite after float32 rounding.
    bound = products / (2.0 * len(labels)) + np.diag(held[:, 0])
    inverse = np.linalg.inv(bound + 1e-7 * np.trace(bound) * np.eye(len(bound)))
    wanted = np.eye(num_classes, dtype="float32")[labels]  # (n, classes)
    weights = np.zeros((features.shape[1], num_classes)) if weights is None else weights
    ahead, speed = weights, 1.0
    while True:
        logits = features @ ahead.astype("float32")
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = logits / logits.sum(axis=1, keepdims=True) - wanted
        slope = (features.T @ error).astype("float64") / len(labels) + held * ahead
        step = -inverse @ slope
        if -(slope * step).sum() / 2 < tolerance:
            return ahead + step
        before, weights = weights, ahead + step
        speed = 1.0 if (slope * (weights - before)).sum() > 0 else speed
        faster = (1 + (1 + 4 * speed**2) ** 0.5) / 2
        ahead, speed = weights + (speed - 1) / faster * (weights - before), faster


def accuracy(weights, features, labels):
    return float(((features @ weights.astype("float32")).argmax(axis=1) == labels).mean())


def standardized(features, others):
    """Both standardised by the first (0 where it is constant), and a column of 1."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 1e-5 * deviation.max(), 1 / np.maximum(deviation, 1e-30), 0)
    scale = scale.astype("float32")
    scaled = []
    for part in (features, others):
        scaled.append(np.ones((len(part), part.shape[1] + 1), "float32"))
        inside = scaled[-1][:, :-1]
        np.subtract(part, mean, out=inside)
        np.multiply(inside, scale, out=inside)
    return scaled


def probe(features, labels, test_features, test_labels):
    """`(test accuracy, the L2 chosen)` of softmax regression on features."""
    features, test_features = standardized(features, test_features)
    num_classes, cut = int(labels.max()) + 1, len(labels) - len(labels) // 5
    products, rest = (part.T @ part for part in (features[:cut], features[cut:]))
    weights, best = None, (-1.0, None, None)
    for l2 in L2:
        weights = softmax_regression(
            features[:cut], labels[:cut], num_classes, l2, products, weights, 10 * TOLERANCE
        )
        found = accuracy(weights, features[cut:], labels[cut:])
        if found > best[0]:  # of equal ones, the stronger L2
            best = found, l2, weights
    _, l2, weights = best
    weights = softmax_regression(features, labels, num_classes, l2, products + rest, weights)
    return accuracy(weights, test_features, test_labels), l2


# ------------------------------------------------------------------------- the table


def labelled_images(name, split, count=None):
    parts = load(name, split, batch_size=500, with_labels=True, num_images=count)
    return [np.concatenate(part) for part in zip(*parts)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", help="run folders of train: gan, vae, vq_vae")
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--train-count", nargs="+", type=int, default=[60_000, 1_000],
                        help="labelled images, the first ones of the training set")
    parser.add_argument("--untrained", action="store_true",
                        help="use the runs' networks with initial weights")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    counts = options.train_count
    images, labels = labelled_images(options.data, "train", max(counts))
    test_images, test_labels = labelled_images(options.data, "test")
    print(f"| features | dimensions |{''.join(f' {n:,} labels | L2 |' for n in counts)} seconds |")
    print(f"|---|---|{'---|---|' * len(counts)}---|")

    def add(name, function):
        began = time.perf_counter()
        train, test = (np.asarray(function(part), "float32") for part in (images, test_images))
        found = [probe(train[:n], labels[:n], test, test_labels) for n in counts]
        cells = "".join(f" {100 * share:.1f} % | {l2:g} |" for share, l2 in found)
        seconds = time.perf_counter() - began
        print(f"| {name} | {train.shape[1]} |{cells} {seconds:.0f} |", flush=True)

    if not (options.runs and options.untrained):
        add("raw pixels", lambda pixels: pixels.reshape(len(pixels), -1))
    for run in options.runs:
        model = load_run(run)
        if options.untrained:
            model = untrained(model, images)
        kind = f"{type(model).__name__}{', untrained' if options.untrained else ''}"
        for name, function in feature_functions(model).items():
            add(f"{kind}: {name}", function)


if __name__ == "__main__":
    main()
