"""CONTRIBUTING.md, "Add a model in four steps": its code is a model that keeps every promise."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import keras_genimg

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = pathlib.Path(keras_genimg.__file__).parent
NAME, CLASS = "denoising_autoencoder", "DenoisingAutoencoder"

CONTRACT = f"""
import sys
import keras, numpy as np
import cases
from keras_genimg import {CLASS}
from keras_genimg.testing import check_train_step

cases.MODELS["{NAME}"] = lambda **options: {CLASS}(cases.SHAPE, 4, seed=3, **options)

images = cases.smooth_pictures(40)
assert max(check_train_step(cases.MODELS["{NAME}"], images).values()) < 1e-6

# Saving: state and arguments come back, and training continues.
model = cases.MODELS["{NAME}"](noise=0.25)
model.compile()
data = cases.dataset(images, model, 8)
model.fit(data, verbose=0)
model.save(sys.argv[1])
again = keras.saving.load_model(sys.argv[1])
assert again.get_config() == model.get_config() and again.get_config()["noise"] == 0.25
np.testing.assert_array_equal(again.reconstruct(images), model.reconstruct(images))
histories = [each.fit(data, verbose=0).history["loss"] for each in (model, again)]
np.testing.assert_allclose(*histories, rtol=1e-5)

# Invalid data get one sentence.
try:
    model.fit(np.zeros((4, *cases.SHAPE), "uint8"))
except keras_genimg.InputError as error:
    assert "floating-point images" in str(error)
else:
    raise SystemExit("uint8 was accepted")
"""


@pytest.mark.full
def test_the_code_of_the_guide_is_a_whole_model(tmp_path):
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    shutil.copytree(
        PACKAGE, tmp_path / "keras_genimg", ignore=shutil.ignore_patterns("__pycache__")
    )
    models = tmp_path / "keras_genimg" / "models"
    # Steps 1 and 2: one file, and two lines.
    (models / f"{NAME}.py").write_text(code)
    with open(models / "__init__.py", "a") as file:
        file.write(f"\nfrom keras_genimg.models.{NAME} import {CLASS}  # noqa: E402\n")
    exports = tmp_path / "keras_genimg" / "__init__.py"
    exports.write_text(exports.read_text().replace("_MODELS = (", f'_MODELS = (\n    "{CLASS}",'))

    def run(*command):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "tests")]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        done = subprocess.run(
            [sys.executable, *command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    # Step 3: the promises of the contract, on the model as `tests/cases.py` would have it.
    run(
        "-c",
        CONTRACT.replace("import sys\n", "import sys\nimport keras_genimg\n", 1),
        "model.keras",
    )
    # The command line knows it.
    assert re.search(
        rf"{NAME} +{CLASS} +denoising autoencoder \(Vincent", run("-m", "keras_genimg", "list")
    )
    run(
        "-m",
        "keras_genimg",
        "train",
        NAME,
        "--image-size",
        "16",
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--steps-per-epoch",
        "2",
        "--set",
        "noise=0.1",
        "--output",
        "run",
    )
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"samples.png", "losses.png", "model.keras", "saved_model", "run.json"} <= files
    assert "loss" in run(
        "-m", "keras_genimg", "evaluate", "run", "--data", "glyphs", "--count", "8"
    )
