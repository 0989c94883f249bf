"""What the package calls leaves no trace in the caller's logging, streams and warnings."""

import logging
import os
import pathlib
import subprocess
import sys

import pytest

from keras_genimg.quiet import no_logs, no_output

WATCH = '''
import logging, os, sys, warnings

import keras
import numpy as np
import keras_genimg as kg


def state():
    """All that a caller can see of its process, but for loggers that are new and silent."""
    names = sorted(logging.root.manager.loggerDict)
    loggers = [logging.root, *map(logging.getLogger, names)]
    streams = [sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__]
    return {
        **{
            each.name: (each.level, each.propagate, each.disabled, each.handlers[:], each.filters)
            for each in loggers
        },
        "disabled": logging.root.manager.disable,
        "streams": [(id(stream), stream.closed) for stream in streams],
        "warnings": (list(warnings.filters), warnings.showwarning),
        "descriptors": {n: os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)},
        "number of descriptors": len(os.listdir("/proc/self/fd")),
        "environment": dict(os.environ),
        "hooks": (sys.excepthook, sys.displayhook),
    }


def check(name, call):
    before = state()
    call()
    after = state()
    for key in {*before, *after}:
        silent = (0, True, False, [], [])  # a logger that was only asked for
        assert before.get(key, silent) == after.get(key, silent), (name, key, before, after)


def load_unknown_set():
    """Imports tensorflow-datasets."""
    try:
        kg.load("no_such_set", batch_size=4)
    except kg.InputError:
        pass


images = np.random.default_rng(0).uniform(-1, 1, (8, 16, 16, 1)).astype("float32")
vae = kg.VAE(image_shape=(16, 16, 1), latent_dim=2, networks="mlp", seed=0)
vae.compile()
check("saved_model", lambda: vae.export("saved_model"))
check("litert", lambda: vae.export("vae.tflite", format="litert"))
check("onnx", lambda: vae.export("vae.onnx", format="onnx"))
check("fit", lambda: vae.fit(images, batch_size=4, verbose=0))
check("evaluate", lambda: vae.evaluate(images, batch_size=4, verbose=0))
check("generate", lambda: vae.generate(3, seed=0))
check("save", lambda: vae.save("vae.keras"))
check("load", load_unknown_set)
check("load_model", lambda: keras.saving.load_model("vae.keras"))
check("plot", lambda: kg.plotting.save_png("grid.png", kg.plotting.image_grid(images)))
logging.warning("a line of the caller")
'''


FIRST_FIT = """
import numpy as np
import keras_genimg as kg
from keras_genimg.core import optimizers
# HERE
gan = kg.GAN(image_shape=(16, 16, 1))
gan.compile()
gan.fit(np.zeros((8, 16, 16, 1), "float32"), verbose=0)
"""


def run(folder, code, level="3"):
    root = pathlib.Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": level}
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process


@pytest.mark.slow
def test_the_first_fit_reports_no_failed_fusion(tmp_path):
    assert "remapper failed" not in run(tmp_path, FIRST_FIT, level="2").stderr
    if "avx512f" not in pathlib.Path("/proc/cpuinfo").read_text():
        return  # where TensorFlow does not try this fusion
    without = FIRST_FIT.replace("# HERE", "optimizers.report_failed_fusion = lambda: None")
    # If this fails, TensorFlow has mended it: `report_failed_fusion` can go.
    assert "remapper failed" in run(tmp_path, without, level="2").stderr


@pytest.mark.slow
def test_the_callers_process_stays_as_it_was(tmp_path):
    pytest.importorskip("tf2onnx")
    process = run(tmp_path, WATCH)
    assert process.stderr.splitlines()[-1] == "WARNING:root:a line of the caller"
    assert "Logging error" not in process.stderr and process.stdout == ""


def test_logs_within_reach_no_handler_and_no_level_stays():
    absl, handlers = logging.getLogger("absl"), logging.root.handlers[:]
    level = absl.level
    with no_logs():
        absl.setLevel(logging.DEBUG)
        assert logging.root.handlers  # so that absl adds none
        assert not logging.getLogger("other").isEnabledFor(logging.ERROR)
        assert logging.getLogger("other").isEnabledFor(logging.CRITICAL)
    assert logging.root.handlers == handlers and absl.level == level
    assert logging.getLogger("other").isEnabledFor(logging.ERROR)


def test_an_error_passes_and_the_descriptors_are_restored(capfd):
    streams = sys.stdout, sys.stderr
    with pytest.raises(ValueError, match="passes"), no_output():
        assert (sys.stdout, sys.stderr) == streams
        os.write(1, b"of C++")
        os.write(2, b"of C++")
        raise ValueError("passes")
    os.write(2, b"after")
    assert capfd.readouterr() == ("", "after")
