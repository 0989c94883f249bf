"""Codebook usage against hand values."""

import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.metrics import CodesUsed, codebook_perplexity


def test_perplexity_by_hand():
    assert codebook_perplexity(np.arange(8).reshape(2, 2, 2), 8) == pytest.approx(8.0)
    assert codebook_perplexity(np.full((3, 4, 4), 5), 8) == pytest.approx(1.0)
    # Shares 1/2, 1/4, 1/4: an entropy of 1.5 bits.
    assert codebook_perplexity([0, 0, 3, 7], 8) == pytest.approx(2**1.5)


@pytest.mark.parametrize("bad, found", [([0, 8], "0 to 8"), ([-1, 2], "-1 to 2"), ([], "no codes")])
def test_invalid_codes_are_refused(bad, found):
    with pytest.raises(InputError, match="codes from 0 to 7") as caught:
        codebook_perplexity(np.array(bad, int), 8)
    assert found in str(caught.value)


def test_codes_used_accumulates_and_resets():
    metric = CodesUsed(5)
    assert float(metric.result()) == 0
    metric.update_state(np.array([3.0, 0, 0, 1, 0], "float32"))
    assert float(metric.result()) == 2
    metric.update_state(np.array([1.0, 0, 2, 0, 0], "float32"))
    assert float(metric.result()) == 3
    metric.reset_state()
    metric.update_state(np.array([0.0, 0, 0, 0, 9], "float32"))
    assert float(metric.result()) == 1
    assert CodesUsed.from_config(metric.get_config()).num_embeddings == 5
