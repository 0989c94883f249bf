"""Python functions inside a dataset, and the end of the program."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_genimg.data.python_calls import call_python

ROOT = Path(__file__).resolve().parents[2]

# Images are decoded in C, without Python's lock: a call that returns from there too late hangs.
PROGRAM = """
import sys
from keras_genimg.data import images, load

images.MEMORY_LIMIT = 0
batches = iter(load(sys.argv[1], batch_size=64, image_size=64, shuffle_seed=0, epochs=None))
for _ in range(3):
    next(batches)
print("end")
"""


def test_results_and_errors():
    inputs = [tf.constant([1, 2]), tf.constant([3, 5])]
    total, product = call_python(lambda a, b: (a + b, a * b), inputs, (tf.int32, tf.int32))
    np.testing.assert_array_equal(total, [4, 7])
    np.testing.assert_array_equal(product, [3, 10])
    failing = tf.data.Dataset.range(1)
    failing = failing.map(lambda number: call_python(lambda _: int("one"), [number], tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match="'one'"):
        list(failing)


@pytest.mark.slow
def test_a_program_that_is_still_prefetching_exits(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (240, 300, 3), "uint8")
    Image.fromarray(noise).save(tmp_path / "0.jpg")
    for i in range(1, 400):
        os.link(tmp_path / "0.jpg", tmp_path / f"{i}.jpg")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert result.returncode == 0 and result.stdout == "end\n", result.stderr[-2000:]
