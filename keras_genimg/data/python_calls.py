"""Python functions inside a dataset."""

import atexit
import threading
import time

import tensorflow as tf

__all__ = ["call_python"]

WAIT_SECONDS = 20  # at most, for a picture that is being decoded when the program ends


def call_python(function, inputs, dtypes, stateful=False):
    """`tf.numpy_function` that lets the program end while a dataset is still being read.

    An endless dataset fetches ahead until the last moment. A call that reaches
    Python after the interpreter has begun to close never returns, and TensorFlow
    waits for it for ever: the program would hang instead of ending.

    Args:
        function: takes NumPy arrays and gives one or a tuple of them.
        inputs: list of tensors.
        dtypes: the type of the result, or a tuple of them.
        stateful: bool. Whether the function must run even if its result is not used.

    Returns:
        Tensor or list of tensors, of unknown shape.
    """
    return tf.numpy_function(lambda *arrays: _calls.run(function, arrays), inputs, dtypes, stateful)


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
            if self.ending:
                raise RuntimeError("The program is ending")
            return function(*arrays)
        finally:
            with self.lock:
                self.running -= 1

    def end(self):
        """Lets every call fail from now on, and waits until no more are tried."""
        self.ending = True
        deadline = time.monotonic() + (WAIT_SECONDS if self.started else 0)
        started = None
        while (self.running or started != self.started) and time.monotonic() < deadline:
            started = self.started
            time.sleep(0.02)


_calls = _Calls()
atexit.register(_calls.end)
