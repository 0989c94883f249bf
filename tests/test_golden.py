"""Files that earlier versions wrote load, and compute what they computed.

tests/golden/write.py made them; a file that is there is never made anew.
"""

import json
import pathlib
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from packaging.version import Version

GOLDEN = pathlib.Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

import write  # noqa: E402

FILES = sorted(GOLDEN.glob("*/*.keras"))


def version(path):
    return path.parent.name


def named(path):
    return f"{version(path)}-{path.stem}"


def loaded(path):
    """The model of a file, or a skip: an older Keras may not know the arguments of a newer one."""
    try:
        return keras.saving.load_model(path)
    except TypeError:
        with zipfile.ZipFile(path) as file:
            written = json.loads(file.read("metadata.json"))["keras_version"]
        if Version(written) > Version(keras.__version__):
            pytest.skip(f"its layers were written by Keras {written}")
        raise


def test_every_class_of_the_matrix_has_a_file():
    assert len([path for path in FILES if version(path) == "0.1"]) == 35
    classes = {getattr(write.CASES[path.stem], "model_class", None) for path in FILES}
    assert {case.model_class for case in write.MODELS.values()} <= classes


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_golden_file_loads_and_computes_what_it_did(path):
    recorded = dict(np.load(path.with_suffix(".npz")))
    model = loaded(path)
    sums = write.state_of(model)["sums"]
    for total in recorded["state/sums"]:  # all that was saved is there: seeds, slots, averages
        assert np.isclose(sums, total, rtol=1e-6, atol=1e-9).any(), f"a variable of sum {total}"
    found = {f"output/{name}": value for name, value in write.outputs_of(model).items()}
    losses = model.evaluate(write.inputs_of(model), verbose=0, return_dict=True)
    found |= {f"loss/{name}": value for name, value in losses.items()}
    expected = {name: value for name, value in recorded.items() if not name.startswith("state")}
    assert set(found) == set(expected) and len(expected) >= 3
    for name, value in expected.items():
        if np.issubdtype(value.dtype, np.integer):
            assert (found[name] == value).mean() > 0.98, name  # a code may be one of two as near
        else:
            np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=2e-3, err_msg=name)


@pytest.mark.parametrize(
    "path",
    [
        path if path.stem in ("gan", "vae_mixture", "vq_vae_prior")
        else pytest.param(path, marks=pytest.mark.slow)
        for path in FILES
    ],
    ids=named,
)
def test_a_golden_file_can_be_trained_further(path):
    model = loaded(path)
    before = model.get_weights()
    model.run_eagerly = True  # faster than tracing, for a step
    model.fit(write.inputs_of(model), verbose=0)
    assert any((a != b).any() for a, b in zip(model.get_weights(), before))


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("*/saved_model")), ids=version)
def test_a_golden_saved_model_makes_the_same_images(folder):
    signatures = tf.saved_model.load(folder).signatures
    made = signatures["serving_default"](num_images=tf.constant(4), seed=tf.constant(5, tf.int64))
    expected = np.load(folder.with_suffix(".npz"))["images"]
    assert expected.std() > 10
    assert np.abs(made["images"].numpy().astype(int) - expected).max() <= 1
