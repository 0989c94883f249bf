"""The Inception Score against hand values and loops."""

import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.metrics import inception_score


def by_loops(logits):
    """exp of the mean over samples of sum_y p(y|x) log(p(y|x) / p(y))."""
    p = np.array([np.exp(row) / np.exp(row).sum() for row in logits.astype("float64")])
    marginal = p.mean(axis=0)
    kl = [sum(p_y * np.log(p_y / m_y) for p_y, m_y in zip(row, marginal)) for row in p]
    return np.exp(np.mean(kl))


def test_by_hand():
    # Certain of ten classes in turn; uniform over all; certain of one class only.
    sure = np.tile(200.0 * np.eye(10), (3, 1))
    assert inception_score(sure, num_splits=1) == pytest.approx((10.0, 0.0))
    assert inception_score(np.zeros((20, 10)), num_splits=1) == pytest.approx((1.0, 0.0))
    assert inception_score(np.tile(sure[0], (20, 1)), num_splits=1) == pytest.approx((1.0, 0.0))
    # p = (3/4, 1/4) and (1/4, 3/4) about (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2).
    logits = np.log([[3.0, 1.0], [1.0, 3.0]])
    want = np.exp(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert inception_score(logits, num_splits=1)[0] == pytest.approx(want)


def test_splits_in_order():
    logits = (3 * np.random.default_rng(0).normal(size=(103, 7))).astype("float32")
    edges = [0, 25, 51, 77, 103]  # i * 103 // 4
    scores = [by_loops(logits[a:b]) for a, b in zip(edges, edges[1:])]
    mean, std = inception_score(logits, num_splits=4)
    assert isinstance(mean, float) and isinstance(std, float)
    assert mean == pytest.approx(np.mean(scores), rel=1e-9)
    assert std == pytest.approx(np.sqrt(np.mean((scores - np.mean(scores)) ** 2)), rel=1e-9)
    ten = [by_loops(logits[i * 103 // 10 : (i + 1) * 103 // 10]) for i in range(10)]
    assert inception_score(logits)[0] == pytest.approx(np.mean(ten), rel=1e-9)


def test_samples_sorted_by_class_need_shuffling():
    # Every split sees one class: the docstring's warning.
    assert inception_score(np.repeat(200.0 * np.eye(10), 5, axis=0))[0] == pytest.approx(1.0)


def test_a_constant_added_to_the_logits_changes_nothing():
    logits = np.random.default_rng(1).normal(size=(40, 5))
    shifted = logits + 1e5 * np.arange(40)[:, None]
    assert inception_score(shifted)[0] == pytest.approx(inception_score(logits)[0], rel=1e-8)


def test_a_split_for_each_sample():
    logits = np.random.default_rng(2).normal(size=(4, 5))
    assert inception_score(logits, num_splits=4) == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize(
    "logits, splits, message",
    [
        (np.zeros((5, 3)), 10, "at most 5, the number of samples. Received: num_splits=10"),
        (np.zeros((5, 3)), 0, "a positive integer. Received: num_splits=0"),
        (np.zeros((1, 3)), 1, "logits must hold at least 2 samples. Received: 1"),
        (np.full((5, 3), np.nan), 1, "logits must be finite"),
        (np.zeros(5), 1, r"logits must have the shape .* Received: shape=\(5,\)"),
    ],
)
def test_invalid_arguments_are_refused(logits, splits, message):
    with pytest.raises(InputError, match=message):
        inception_score(logits, num_splits=splits)
