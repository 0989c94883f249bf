"""SIGINT and SIGTERM: a command ends, cleans up, and has an exit code of its own."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

from keras_genimg.errors import tell

__all__ = ["Interrupted", "handled", "watched"]

NUMBERS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 8.0  # seconds that a blocked process gets, see `watched`


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
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    before = [signal.signal(number, _handle) for number in NUMBERS]
    try:
        yield
    finally:
        for number, handler in zip(NUMBERS, before):
            signal.signal(number, handler)


def _handle(number, frame):
    raise Interrupted(number)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within the block, a process that is blocked in TensorFlow still ends after a signal.

    Python hears a signal only when TensorFlow returns, and a worker may wait for another one
    without end. A thread gives it `PATIENCE` seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in NUMBERS:  # TensorFlow may have put its own handler in place
        if signal.getsignal(number) is _handle:
            signal.signal(number, _handle)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()


def _watch(wakeups):
    with wakeups:
        for number in iter(lambda: wakeups.recv(1), b""):
            if number[0] in NUMBERS:
                time.sleep(PATIENCE)
                if _ended(wakeups):
                    return
                tell("stopped while it waited for another worker.")
                os._exit(128 + number[0])


def _ended(wakeups):
    """Whether the block has ended, which closes the other side."""
    wakeups.setblocking(False)
    try:
        while wakeups.recv(100):
            pass
    except BlockingIOError:
        wakeups.setblocking(True)
        return False
    return True
