"""Every model trains with one of its networks frozen, and is saved so."""

import keras
import numpy as np
import pytest
from cases import MODELS, dataset, smooth_pictures
from matrix import assert_same_state, default_or_slow, state_of

from keras_genimg import InputError


def networks_of(model):
    """The names of what the optimizers update."""
    found = [name for name, each in vars(model).items() if isinstance(each, keras.Layer)]
    return [name for name in found if getattr(model, name).trainable_weights]


@pytest.mark.parametrize("name", default_or_slow(MODELS, [], fifth=4))
def test_a_frozen_network_stays_as_it_is(name, tmp_path):
    names = networks_of(MODELS[name]())
    assert names
    for network in names:
        model = MODELS[name]()
        data = dataset(smooth_pictures(16), model, 8)
        model.compile(run_eagerly=True)
        getattr(model, network).trainable = False
        if len(names) == 1:
            with pytest.raises(InputError, match="needs weights that are trained"):
                model.fit(data, verbose=0)
            continue
        start, frozen = model.get_weights(), getattr(model, network).get_weights()
        model.fit(data, verbose=0)
        assert any((a != b).any() for a, b in zip(start, model.get_weights()))
        model.save(tmp_path / "x.keras")
        again = keras.saving.load_model(tmp_path / "x.keras")
        assert not getattr(again, network).trainable
        assert_same_state(state_of(model), state_of(again))
        again.fit(data, verbose=0)
        for weight, before in zip(getattr(again, network).get_weights(), frozen, strict=True):
            np.testing.assert_array_equal(weight, before)
