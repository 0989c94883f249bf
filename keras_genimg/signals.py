"""SIGINT and SIGTERM: a command ends, cleans up, and has an exit code of its own."""

import contextlib
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from keras_genimg.errors import tell

__all__ = ["Held", "Interrupted", "end_at_once", "ending", "handled", "held", "unheld", "watched"]

NUMBERS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 8.0  # seconds that a process blocked by another worker gets, see `watched`
SHORT_PATIENCE = 2.0  # seconds that a step and its checkpoint get, see `held`


def end_at_once() -> None:
    """From now on, both signals end the process: for a command line, before it has begun."""
    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            signal.signal(number, _end)


@contextlib.contextmanager
def ending(descriptor: int = 2) -> Iterator[None]:
    """Within the block, both signals end the process, which must have nothing to clean up.

    For imports: C code and caches catch exceptions, which get lost, or become others.

    Args:
        descriptor: int. The file descriptor of standard error.
    """
    with _handler(functools.partial(_end, descriptor=descriptor)):
        yield


def _end(number, frame, descriptor=2):
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(descriptor, b"keras-genimg: stopped.\n")
    os._exit(128 + number)


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command.

    Args:
        number: int. The signal.

    Attributes:
        code: int. The exit code, 130 for SIGINT and 143 for SIGTERM.
    """

    def __init__(self, number: int = signal.SIGINT):
        super().__init__()
        self.code = 128 + number


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within the block, both signals raise `Interrupted`."""
    with _handler(_raise):
        yield


def _raise(number, frame):
    raise Interrupted(number)


class _Handler:
    """A handler that keeps what it raises: C++ code that is calling Python may replace it.

    Args:
        function: of the number and the frame.
    """

    def __init__(self, function):
        self.function, self.raised = function, None

    def __call__(self, number, frame):
        try:
            self.function(number, frame)
        except Interrupted as error:
            self.raised = error
            raise


@contextlib.contextmanager
def _handler(function):
    """Another handler of both signals. Only the main thread hears signals.

    What the handler has raised leaves the block in place of an error that C++ code made of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler(function)
    before = [signal.signal(number, handler) for number in NUMBERS]
    try:
        yield
    except Exception as error:
        if handler.raised is None or not _is_of_c_code(error):
            raise
        raise handler.raised from error
    finally:
        for number, earlier in zip(NUMBERS, before):
            signal.signal(number, earlier)


def _is_of_c_code(error):
    """Whether C++ code may have made an error: pybind11's own, or one of TensorFlow's."""
    of_tensorflow = type(error).__module__.partition(".")[0] == "tensorflow"
    return isinstance(error, (RuntimeError, SystemError)) or of_tensorflow


class Held:
    """The first signal of a training, which waits for the end of the running step.

    Attributes:
        waits: bool. Whether it waits; otherwise it raises at once.
        number: int. The signal that has come, or None.
    """

    def __init__(self):
        self.waits, self.number = False, None

    def __call__(self, number, frame):
        if self.number is not None or not self.waits:
            raise Interrupted(number)
        self.number = number

    def stop(self) -> None:
        """Raises `Interrupted` for the signal that has come, if any."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextlib.contextmanager
def held() -> Iterator[Held]:
    """Within the block, the first signal may wait; the second ends the process at once.

    What has waited raises `Interrupted` where the block ends.

    Yields:
        `Held`, whose user sets `waits` and sees `number`.
    """
    first = Held()
    with _handler(first), _thread(2, SHORT_PATIENCE, "stopped at once."):
        yield first
    first.stop()


@contextlib.contextmanager
def unheld() -> Iterator[Held]:
    """Within the block, no signal waits: workers would not stop at the same step.

    Yields:
        `Held`, for whoever expects one; it never waits.
    """
    with handled():
        yield Held()


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within the block, a process that is blocked in TensorFlow still ends after a signal.

    Python hears a signal only when TensorFlow returns, and a worker may wait for another one
    without end. A thread gives it `PATIENCE` seconds.
    """
    if getattr(signal.getsignal(signal.SIGINT), "function", None) is _raise:
        again = _handler(_raise)  # TensorFlow may have put its own handlers in place
    else:
        again = contextlib.nullcontext()
    with again, _thread(1, PATIENCE, "stopped while it waited for another worker."):
        yield


@contextlib.contextmanager
def _thread(count, patience, said):
    """Ends the process some seconds after signal number `count`, unless the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, count, patience, said), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()


def _watch(wakeups, count, patience, said):
    heard, deadline = [], None
    with wakeups:
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            wakeups.settimeout(left)
            try:
                byte = wakeups.recv(1)
            except TimeoutError:
                if len(heard) >= count:
                    tell(said)
                    os._exit(128 + heard[-1])
                tell("stops when its checkpoint is written; a second signal ends it at once.")
                deadline = None
                continue
            if not byte:  # the block has ended
                return
            if byte[0] in NUMBERS:
                heard.append(byte[0])
                if len(heard) <= count:
                    deadline = time.monotonic() + patience
