"""Memorisation: the training images nearest to generated samples."""

from collections.abc import Callable

import numpy as np

from keras_genimg.errors import InputError
from keras_genimg.metrics.checks import check_features, to_float_array
from keras_genimg.metrics.neighbors import PointSets, nearest_neighbors

__all__ = ["nearest_training_images"]

PIECE_VALUES = 2**24  # training values compared at a time


def nearest_training_images(
    samples, training, held_out=None, *, features: Callable | None = None
) -> dict:
    """The nearest training image of each sample, and whether it is suspiciously near.

    A distance alone says little, because simple images are near each other. Held-out images,
    which the model has not seen, show which distance to the training set to expect. The
    samples of a model that memorised its training set are nearer than that.

    Args:
        samples: images `(n, height, width, channels)`.
        training: images, or an iterable of batches of images or `(images, labels)`, such as a
            finite dataset. Only the nearest images of an iterable are kept.
        held_out: images of the same kind that the model was not trained on; as many as
            samples are enough.
        features: function from a batch of images to `(batch, dimensions)`. By default
            distances are between pixels, which shifts and changes of brightness distort.

    Returns:
        dict, in the order of the samples:

        - "distances" `(n,)`: Euclidean distance to the nearest training image;
        - "indices" `(n,)`: its index in the training set;
        - "images" `(n, height, width, channels)`: the image itself;
        - "median_distance": float;

        and with m held-out images:

        - "held_out_distances" `(m,)`: their distances to the training set;
        - "held_out_median_distance": float;
        - "nearer_than_held_out": probability that a sample is nearer to the training set than
          a held-out image (ties count half): 0.5 without memorisation, near 1 with it;
        - "share_of_copies": share of samples nearer than all but the nearest 1 % of the
          held-out images: about 0.01 without memorisation.

    Raises:
        InputError: no images, different shapes, NaN or infinity.

    Example:
        >>> report = nearest_training_images(samples, training, held_out)
        >>> pairs = np.stack([samples, report["images"]], axis=1)  # (n, 2, h, w, c)
        >>> grid = image_grid(pairs[np.argsort(report["distances"])])  # nearest first

    Reference: Meehan, Chaudhuri and Dasgupta (2020), https://arxiv.org/abs/2004.05675, for
        the comparison with held-out samples.
    """
    samples = _check_images(samples, "samples")
    queries = samples
    if held_out is not None:
        held_out = _check_images(held_out, "held_out", samples.shape[1:])
        queries = np.concatenate([samples, held_out])  # one pass over the training set
    distances, indices, images = _search(queries, len(samples), training, features)

    count = len(samples)
    report = {
        "distances": distances[:count],
        "indices": indices[:count],
        "images": images,
        "median_distance": float(np.median(distances[:count])),
    }
    if held_out is not None:
        natural = np.sort(distances[count:])
        nearer = np.searchsorted(natural, report["distances"], side="left")
        as_near = np.searchsorted(natural, report["distances"], side="right")
        farther = len(natural) - (nearer + as_near) / 2.0
        report["held_out_distances"] = distances[count:]
        report["held_out_median_distance"] = float(np.median(natural))
        report["nearer_than_held_out"] = float(np.mean(farther) / len(natural))
        limit = natural[len(natural) // 100]
        report["share_of_copies"] = float(np.mean(report["distances"] < limit))
    return report


def _search(queries, num_samples, training, features):
    """Distances and indices for all queries, and the training images nearest to the samples."""
    points = _points(queries, features, "samples")
    distances = np.full(len(queries), np.inf)
    indices = np.zeros(len(queries), "int64")
    images = np.zeros((num_samples, *queries.shape[1:]), "float32")
    seen = 0
    for piece in _pieces(training, queries.shape[1:]):
        others = _points(piece, features, "training")
        if others.shape[1] != points.shape[1]:
            raise InputError(
                "features must give the same dimensions for all images. "
                f"Received: {points.shape[1]} and {others.shape[1]}."
            )
        frame = PointSets(points, others)
        squared, nearest = nearest_neighbors(*frame.sets, k=1)  # (queries, 1)
        piece_distances = np.sqrt(squared[:, 0]) * frame.scale
        # Strict: of equally near images the first one stays.
        closer = np.flatnonzero(piece_distances < distances)
        distances[closer] = piece_distances[closer]
        indices[closer] = seen + nearest[closer, 0]
        of_samples = closer[closer < num_samples]
        images[of_samples] = piece[nearest[of_samples, 0]]
        seen += len(piece)
    if not seen:
        raise InputError("training must hold at least one image. Received: none.")
    return distances, indices, images


def _points(images, features, name):
    if features is None:
        return images.reshape(len(images), -1)  # (n, h, w, c) -> (n, h * w * c)
    found = [features(images[start : start + 256]) for start in range(0, len(images), 256)]
    return check_features(np.concatenate(found), f"features of {name}", at_least=1)


def _pieces(training, shape):
    """The training images in pieces of bounded size, for any batch size."""
    length = max(1, PIECE_VALUES // int(np.prod(shape)))
    if hasattr(training, "shape"):
        images = _check_images(training, "training", shape)
        for start in range(0, len(images), length):
            yield images[start : start + length]
        return
    waiting = []
    for batch in training:
        batch = batch[0] if isinstance(batch, (tuple, list)) else batch
        waiting.append(_check_images(batch, "training", shape))
        if sum(map(len, waiting)) >= length:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _check_images(images, name, shape=None):
    images = to_float_array(images, name).astype("float32", copy=False)
    if images.ndim != 4 or images.size == 0:
        raise InputError(
            f"{name} must be at least one image (number, height, width, channels). "
            f"Received: shape={images.shape}."
        )
    if shape is not None and images.shape[1:] != shape:
        raise InputError(
            f"{name} must be images of the same shape as the samples, {shape}. "
            f"Received: {images.shape[1:]}."
        )
    return images
