"""Silence while other packages work, which leaves no trace in the caller's logging."""

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator

__all__ = ["no_logs", "no_output", "report_failed_fusion"]


@contextlib.contextmanager
def no_logs() -> Iterator[None]:
    """Suppresses warnings and log records up to errors; loggers are afterwards as before."""
    root, absl = logging.getLogger(), logging.getLogger("absl")
    disabled, absl_level = root.manager.disable, absl.level
    # absl gives a root logger without handlers one that writes to the `sys.stderr` of that moment.
    # It would stay, and write to a redirected stream after that stream is closed.
    placeholder = logging.NullHandler()
    root.addHandler(placeholder)
    logging.disable(max(disabled, logging.ERROR))
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(placeholder)
        absl.setLevel(absl_level)  # saving sets it


@contextlib.contextmanager
def no_output() -> Iterator[None]:
    """Suppresses logs and what C++ code prints; exceptions pass.

    C++ code writes to the descriptors 1 and 2 of the process, which are redirected meanwhile.
    `sys.stdout` and `sys.stderr` stay the same objects: modules imported meanwhile may keep them.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_logs())
        sink = stack.enter_context(open(os.devnull, "w"))
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            with contextlib.suppress(Exception):
                stream.flush()  # earlier lines must still be printed
            with contextlib.suppress(OSError):  # a process may have closed it
                saved = os.dup(descriptor)
                stack.callback(os.close, saved)
                stack.callback(os.dup2, saved, descriptor)
                os.dup2(sink.fileno(), descriptor)
        yield


@functools.lru_cache(maxsize=1)
def report_failed_fusion() -> None:
    """Lets TensorFlow report, unseen, a fusion that fails in most discriminators.

    On a CPU its remapper fuses a convolution, its bias and a leaky ReLU, although the gradient
    needs what the bias gave. It then notices, leaves the graph as it was, and prints an error, once
    per process (TensorFlow 2.18 to 2.21). Neither results nor speed change.
    """
    import tensorflow as tf

    @tf.function
    def convolve(images, kernel, bias):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = tf.nn.bias_add(tf.nn.conv2d(images, kernel, 1, "SAME"), bias)
            outputs = tf.nn.leaky_relu(outputs)
        return outputs, tape.gradient(outputs, images)

    with no_output(), tf.device("CPU:0"):
        convolve(tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 1]), tf.ones([1]))
