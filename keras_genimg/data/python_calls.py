"""Python functions inside a dataset."""

import atexit
import threading
import time
from collections.abc import Callable

import tensorflow as tf

__all__ = ["call_python", "stop_at_exit"]

WAIT_SECONDS = 20  # at most, for an image that is being decoded when the program exits


def call_python(function: Callable, inputs: list, dtypes, stateful: bool = False) -> list:
    """`tf.numpy_function` that lets the program exit while a dataset is still being read.

    An endless dataset prefetches until the very end. A call that reaches Python after
    the interpreter has started to shut down never returns, and TensorFlow waits for it
    forever: the program would hang instead of exiting.

    Args:
        function: takes NumPy arrays and returns one or a tuple of them.
        inputs: list of tensors.
        dtypes: dtype of the result, or a tuple of them.
        stateful: bool. Whether the function must run even if its result is unused.

    Returns:
        Tensor or list of tensors, of unknown shape.
    """
    return tf.numpy_function(lambda *arrays: _calls.run(function, arrays), inputs, dtypes, stateful)


def stop_at_exit() -> None:
    """Ends the call that it is part of if the program is exiting; for long ones, now and then."""
    if _calls.ending:
        raise RuntimeError("The program is exiting.")


class _Calls:
    def __init__(self):
        self.lock = threading.Lock()
        self.running = 0
        self.started = 0
        self.ending = False

    def run(self, function, arrays):
        with self.lock:
            self.running += 1
            self.started += 1
        try:
            stop_at_exit()
            return function(*arrays)
        finally:
            with self.lock:
                self.running -= 1

    def end(self):
        """Makes every call fail from now on, and waits until there are no more."""
        self.ending = True
        deadline = time.monotonic() + (WAIT_SECONDS if self.started else 0)
        started = None
        while (self.running or started != self.started) and time.monotonic() < deadline:
            started = self.started
            time.sleep(0.02)


_calls = _Calls()
atexit.register(_calls.end)
