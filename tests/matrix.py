"""How the matrix of models is run through: by default, with -m slow, and whole with -m full."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import MODELS, ONE_OF_A_RULE, dataset, fitting, labels_in_turn, smooth_pictures

TESTS = pathlib.Path(__file__).parent
METRICS = ("log_means", "codes_used")  # an epoch's running means are no state of training


def default_or_slow(names, default=ONE_OF_A_RULE, fifth=None):
    """Parameters: the names of a default run as they are, the others marked slow.

    Of a test that takes long, `fifth` (0 to 4) of the others is marked slow, and the rest full.
    Tests take different fifths, so that each model is in some, and each test has some models.
    """
    return [
        pytest.param(name, marks=[] if name in default else mark_of(name, fifth)) for name in names
    ]


def mark_of(name, fifth):
    in_full = fifth is not None and name in MODELS and list(MODELS).index(name) % 5 != fifth
    return pytest.mark.full if in_full else pytest.mark.slow


def group_of(name, default=ONE_OF_A_RULE, fifth=None):
    """The models that go through one process together with `name`, see `default_or_slow`."""
    if name in default:
        return tuple(default)
    mark = mark_of(name, fifth)
    return tuple(n for n in MODELS if n not in default and mark_of(n, fifth) == mark)


class Lazy(dict):
    """A value per key, made at the first request; what fails then fails at once later on."""

    def __init__(self, make):
        super().__init__()
        self.make, self.failures = make, {}

    def __missing__(self, key):
        if key in self.failures:
            raise self.failures[key]
        try:
            self[key] = self.make(key)
        except Exception as error:
            self.failures[key] = error
            raise
        return self[key]


def python(script, *arguments, isolated=False):
    """Runs a script in a process of its own; returns what it printed last, as JSON."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if not isolated:
        environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    command = [sys.executable, *(["-I"] if isolated else []), "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def state_of(model):
    """Weights, noise, EMA weights and optimizers: name -> array."""
    variables = {f"{i:03d} {v.path}": v for i, v in enumerate(model.variables)}
    for name in model.default_optimizers():
        if getattr(model, name, None) is not None:
            slots = getattr(model, name).variables
            variables |= {f"{name} {i:03d}": v for i, v in enumerate(slots)}
    return {
        name: np.array(v) for name, v in variables.items() if not any(m in name for m in METRICS)
    }


def without_noise(state):
    return {key: value for key, value in state.items() if "seed_generator" not in key}


def assert_same_state(state, other):
    # Keras numbers the names of unnamed layers on: the order is what counts.
    assert len(state) == len(other)
    for (name, value), found in zip(state.items(), other.values()):
        np.testing.assert_array_equal(found, value, err_msg=name)


def grids_of(model):
    """The grids of codes of a model: name -> (shape, number of codes)."""
    if model.makes == "codes":
        return {"codes": (model.code_shape, model.num_embeddings)}
    return {
        name.replace("prior", "codes"): grid[:2] for name, grid in model.prior_grids().items()
    }


def sources_of(model, count=5):
    """What a translator is given."""
    return fitting(smooth_pictures(count, seed=4), model.source_shape)


def generated(model, count, **arguments):
    return model.generate(count, **labels_in_turn(model, count), **arguments)


def generated_codes(model, count, **arguments):
    return model.generate_codes(count, **labels_in_turn(model, count), **arguments)


def fitted(name, epochs=1, count=16, **compiled):
    keras.utils.set_random_seed(1)
    model = MODELS[name]()
    model.compile(**compiled)
    model.fit(dataset(smooth_pictures(count), model, 8), epochs=epochs, verbose=0)
    return model
