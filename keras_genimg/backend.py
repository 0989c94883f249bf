"""The Keras backend in use, found without importing Keras."""

import json
import os
import sys

from keras_genimg.errors import InputError

__all__ = ["check_backend"]


def check_backend() -> None:
    """Raises an `InputError` unless Keras runs, or will run, on TensorFlow."""
    backend = _configured_backend()
    if backend != "tensorflow":
        raise InputError(
            "keras_genimg needs the TensorFlow backend of Keras; set the environment variable "
            f"KERAS_BACKEND=tensorflow. Received: backend {backend!r}."
        )


def _configured_backend():
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    home = os.environ.get("KERAS_HOME", os.path.join(os.path.expanduser("~"), ".keras"))
    try:
        with open(os.path.join(home, "keras.json")) as file:
            return json.load(file).get("backend", "tensorflow")
    except (OSError, ValueError):
        return "tensorflow"
