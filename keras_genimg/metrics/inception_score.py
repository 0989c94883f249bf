"""Inception Score: confident predictions for each image, all classes over the set."""

import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.metrics.checks import check_at_most, check_features

__all__ = ["inception_score"]


def inception_score(logits: ArrayLike, *, num_splits: int = 10) -> tuple[float, float]:
    """exp(mean KL(p(y|x) || p(y))) of a classifier's predictions, over splits.

    It is 1 if all images get the same prediction. It reaches the number of classes if every
    prediction is certain and all classes are equally frequent. Logarithms are natural. Splits
    keep the order of the samples, so samples sorted by class must be shuffled first.

    Args:
        logits: array `(samples, classes)`, before the softmax.
        num_splits: int. Number of splits; each has its own p(y) and score.

    Returns:
        (mean, std): floats over the splits; by convention, the standard deviation is divided
        by `num_splits`.

    Raises:
        InputError: fewer than two samples, NaN or infinity, or more splits than samples.

    Example:
        >>> inception_score(100.0 * np.eye(10), num_splits=1)  # ten classes, one image of each
        (10.0, 0.0)

    Reference: Salimans et al. (2016), https://arxiv.org/abs/1606.03498
    """
    logits = check_features(logits, "logits").astype("float64")
    count = len(logits)
    splits = check_at_most("num_splits", num_splits, 1, count, "the number of samples")
    edges = [i * count // splits for i in range(splits + 1)]
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    scores = [_score(log_p[start:stop]) for start, stop in zip(edges, edges[1:])]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p):
    p = np.exp(log_p)
    marginal = p.mean(axis=0)  # (n, classes) -> (classes,)
    # A class that no image has (its p underflows to 0) adds 0, not 0 log 0.
    log_marginal = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0.0)
    divergence = np.sum(p * (log_p - log_marginal), axis=1)  # (n, classes) -> (n,)
    return np.exp(divergence.mean())
