"""Inception Score: sure of each picture, of all classes in turn."""

import numpy as np

from keras_genimg.metrics.checks import check_count, check_features

__all__ = ["inception_score"]


def inception_score(logits, *, num_splits=10):
    """exp(mean KL(p(y|x) || p(y))) of a classifier's predictions, over splits.

    1 where every picture is predicted alike, up to the number of classes where each picture
    is surely of one class and all classes are met as often. Natural logarithms. The splits
    are taken in the order given: pictures sorted by class must be shuffled first.

    Args:
        logits: array `(samples, classes)`, before the softmax.
        num_splits: int. Parts of the samples, each with a p(y) and a score of its own.

    Returns:
        (mean, std): floats over the splits; the standard deviation is divided by
        `num_splits`, as is the custom.

    Raises:
        InputError: fewer than two samples, NaN or infinity, or more splits than samples.

    Example:
        >>> inception_score(100.0 * np.eye(10), num_splits=1)  # ten classes, one sure picture each
        (10.0, 0.0)

    Reference: Salimans et al. (2016), https://arxiv.org/abs/1606.03498
    """
    logits = check_features(logits, "logits").astype("float64")
    count = len(logits)
    splits = check_count(num_splits, "num_splits", 1, count, ", the number of samples")
    edges = [i * count // splits for i in range(splits + 1)]
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    scores = [_score(log_p[start:stop]) for start, stop in zip(edges, edges[1:])]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p):
    p = np.exp(log_p)
    marginal = p.mean(axis=0)  # (n, classes) -> (classes,)
    # A class that no picture has (its p underflows to 0) adds 0, not 0 log 0.
    log_marginal = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0.0)
    divergence = np.sum(p * (log_p - log_marginal), axis=1)  # (n, classes) -> (n,)
    return np.exp(divergence.mean())
