"""Did the model paint from memory: the training pictures nearest to its samples."""

import numpy as np

from keras_genimg.errors import InputError
from keras_genimg.metrics.checks import check_features, to_float_array
from keras_genimg.metrics.neighbors import PointSets, nearest_neighbors

__all__ = ["nearest_training_images"]

PIECE_VALUES = 2**24  # training values looked through at a time


def nearest_training_images(samples, training, held_out=None, *, features=None):
    """The training picture nearest to each sample, and whether that is nearer than it should be.

    A distance alone says little: simple pictures are near each other. Held-out pictures, which
    no model has seen, say how near to the training set is natural. The samples of a model that
    copies are nearer than that.

    Args:
        samples: images `(n, height, width, channels)`.
        training: images, or an iterable of batches of them, `(images, labels)` included, such
            as a data set of one pass; of what is iterated only the nearest are kept.
        held_out: images of the same kind that the model was not trained on. As many as there
            are samples will do.
        features: function of a batch of images that gives `(batch, dimensions)`; by default
            distances are between pixels, which shifts and shades deceive.

    Returns:
        dict of what was found for the samples, in their order:

        - "distances" `(n,)`: Euclidean distance to the nearest training picture;
        - "indices" `(n,)`: its place in the training set;
        - "images" `(n, height, width, channels)`: the picture itself;
        - "median_distance": float;

        and with `held_out` of m pictures:

        - "held_out_distances" `(m,)`: theirs to the training set;
        - "held_out_median_distance": float;
        - "nearer_than_held_out": chance that a sample is nearer to the training set than a
          held-out picture (ties count half): 0.5 without copying, towards 1 with;
        - "share_of_copies": samples nearer than all but the nearest 1 % of the held-out
          pictures: near 0.01 without copying.

    Raises:
        InputError: no pictures, shapes that differ, NaN or infinity.

    Example:
        >>> report = nearest_training_images(samples, training, held_out)
        >>> pairs = np.stack([samples, report["images"]], axis=1)  # (n, 2, h, w, c)
        >>> grid = image_grid(pairs[np.argsort(report["distances"])])  # likest first

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
    """Distances and indices for all queries, and the nearest pictures to the samples."""
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
        # Strictly: of equally near pictures the first one stays.
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
    return check_features(
        np.concatenate([np.asarray(part) for part in found]), f"features of {name}", at_least=1
    )


def _pieces(training, shape):
    """The training images in pieces of a bounded size, for any size of batches."""
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
            f"{name} must be images of the shape {shape} of the samples. "
            f"Received: {images.shape[1:]}."
        )
    return images
