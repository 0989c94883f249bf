"""What every model saves: all of its state, so that training resumes as if never stopped."""

import os

import keras
import numpy as np
import pytest
from cases import MODELS, smooth_pictures
from matrix import (
    Lazy,
    assert_same_state,
    default_or_slow,
    generated,
    generated_codes,
    group_of,
    python,
    sources_of,
    state_of,
)

from keras_genimg.core import Labels
from keras_genimg.layers import Dropout, ImagePool

LOADER = """
import json, sys
import keras, keras_genimg
import numpy as np
for path in sys.argv[1:]:
    model = keras.saving.load_model(path, safe_mode=True)
    arrays = {f"v{i:03d}": np.array(v) for i, v in enumerate(model.variables)
              if not any(m in v.path for m in ("log_means", "codes_used"))}
    for name in model.default_optimizers():
        if getattr(model, name, None) is not None:
            slots = getattr(model, name).variables
            arrays |= {f"z{name}{i:03d}": np.array(v) for i, v in enumerate(slots)}
    np.savez(path + ".npz", **arrays)
print(json.dumps(sorted(name for name in sys.modules if name in ("cases", "matrix"))))
"""


@pytest.fixture(scope="module")
def loaded_elsewhere(trained, tmp_path_factory):
    """Names -> for each the state that was saved, and as a fresh process finds it."""

    def save_and_load(names):
        folder = tmp_path_factory.mktemp("saved")
        states = {name: state_of(trained[name]) for name in names}
        for name in names:
            trained[name].save(folder / f"{name}.keras")
        assert python(LOADER, *(folder / f"{name}.keras" for name in names)) == []
        return {name: (states[name], dict(np.load(folder / f"{name}.keras.npz"))) for name in names}

    return Lazy(save_and_load)


@pytest.mark.parametrize("name", default_or_slow(MODELS, [], fifth=4))
def test_a_fresh_process_loads_all_of_the_state(name, loaded_elsewhere):
    state, found = loaded_elsewhere[group_of(name, [], fifth=4)][name]
    assert_same_state(state, found)
    # The comparison is of a state that training has left its marks on.
    keras.utils.set_random_seed(1)
    fresh = MODELS[name]()
    fresh.compile()
    kinds = {
        "weights": lambda key: "kernel" in key,
        "optimizer": lambda key: "optimizer" in key,
        "noise": lambda key: "seed_generator_state" in key,
    }
    for kind, belongs in kinds.items():
        pairs = zip(state.items(), state_of(fresh).values())
        moved = [key for (key, value), start in pairs if belongs(key) and (value != start).any()]
        assert moved or (kind == "noise" and not draws(fresh)), kind


def draws(model):
    """Whether a step of training has something random in it."""
    random = any(isinstance(layer, (Dropout, ImagePool)) for layer in model._flatten_layers())
    return random or model.makes not in ("reconstructions", "translations")


@pytest.mark.parametrize("name", default_or_slow(MODELS, fifth=3))
def test_round_trip_here(name, trained, tmp_path):
    model, images = trained[name], smooth_pictures(4, seed=2)
    path = tmp_path / "folder" / "model.keras"  # the folder is made
    model.save(path)
    assert os.listdir(path.parent) == ["model.keras"]
    again = keras.saving.load_model(path)
    assert type(again) is type(model) and again.compiled
    assert_same_state(state_of(model), state_of(again))
    assert again.get_config() == model.get_config()

    def outputs_of(model):
        if model.makes == "images":
            yield generated(model, 3, seed=1)
        if model.makes == "codes":
            yield generated_codes(model, 3, seed=1)
        if model.makes == "translations":
            yield model.translate(sources_of(model))
        if model.makes == "labels":
            yield model.features(images)
        if hasattr(model, "encode"):
            labels = {"labels": [3, 0, 2, 1]} if model.data.part(Labels) else {}
            yield model.reconstruct(images, **labels)

    for found, expected in zip(outputs_of(again), outputs_of(model), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert np.std(expected) > 0


@pytest.mark.parametrize("name", default_or_slow(MODELS, fifth=1))
def test_options_of_compile_come_back(name, tmp_path):
    path = tmp_path / "model.keras"
    fresh = MODELS[name]()
    fresh.save(path)
    assert not keras.saving.load_model(path).compiled  # one that was not compiled stays so
    fresh.compile(learning_rate=0.125, steps_per_execution=2)
    fresh.save(path)
    again = keras.saving.load_model(path)
    assert again.steps_per_execution == 2
    for name in again.default_optimizers():
        assert float(getattr(again, name).learning_rate) == 0.125


RESUME = """
import json, sys
import keras
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
from cases import MODELS, dataset, small_gan, smooth_pictures
from matrix import state_of

def gan_with_dropout():
    return small_gan(discriminator=keras.Sequential([
        keras.layers.Flatten(), keras.layers.Dense(8, "relu"),
        keras.layers.Dropout(0.5), keras.layers.Dense(1)]))

def run(make, *parts):
    keras.utils.set_random_seed(1)
    model = make()
    model.compile()
    data = dataset(smooth_pictures(16), model, 8)
    states = []
    for number, epochs in enumerate(parts):
        if number:
            model.save(folder + "/model.keras")
            keras.utils.set_random_seed(99)
            model = keras.saving.load_model(folder + "/model.keras")
        history = model.fit(data, epochs=epochs, verbose=0).history
        states.append(state_of(model))
    return states, {name: values[-2:] for name, values in history.items()}

folder, *names = sys.argv[1:]
result = {}
for name in names:
    make = {**MODELS, "gan_with_dropout": gan_with_dropout}[name]
    (whole,), logs = run(make, 4)
    (first, second), other_logs = run(make, 2, 2)
    result[name] = {
        "differs": [key for (key, a), b in zip(whole.items(), second.values())
                    if a.tobytes() != b.tobytes()],
        "same_number": len(whole) == len(second),
        "same_logs": list(logs.values()) == list(other_logs.values()),
        "moved": sum((a != b).any().item() for a, b in zip(first.values(), second.values())),
    }
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    return Lazy(lambda names: python(RESUME, tmp_path_factory.mktemp("resumed"), *names))


@pytest.mark.parametrize("name", default_or_slow([*MODELS, "gan_with_dropout"], [], fifth=2))
def test_training_goes_on_as_if_never_stopped(name, resumed):
    """2 epochs, save, load, 2 epochs give the bits of 4 epochs, with deterministic kernels."""
    group = group_of(name, [], fifth=2) if name in MODELS else (name,)
    found = resumed[group][name]
    assert found["same_number"]
    assert found["differs"] == []
    assert found["same_logs"]
    assert found["moved"] > 5


@pytest.mark.parametrize(
    "name",
    default_or_slow(
        [name for name in MODELS if MODELS[name].data.part(Labels)],
        ("conditional_gan", "code_transformer", "cnn_classifier"),
    ),
)
def test_class_names_are_part_of_the_file(name, tmp_path):
    model = MODELS[name]()
    model.class_names = ["beach", "city", "dog", "elk"]
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert again.class_names == keras.models.clone_model(model).class_names == model.class_names
    assert again.get_config() == model.get_config()
