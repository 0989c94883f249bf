"""SIGINT and SIGTERM: handled, with exit codes; a blocked process ends too."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from keras_genimg import signals


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_raises_with_its_exit_code(number, code):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as error, signals.handled():
        os.kill(os.getpid(), number)
        signal.sigtimedwait([], 0.5)
    assert error.value.code == code
    assert signal.getsignal(number) is before


def test_a_blocked_process_ends():
    """A call of C code that does not return when a signal comes, as TensorFlow's waits."""
    program = """
        import ctypes, os, signal, threading, time
        from keras_genimg import signals
        signals.PATIENCE = 0.3
        with signals.handled(), signals.watched():
            signal.signal(signal.SIGTERM, lambda number, frame: None)  # as if it were never heard
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
            end = time.monotonic() + 20
            while time.monotonic() < end:
                ctypes.CDLL(None).usleep(900000)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr.strip().endswith("stopped while it waited for another worker.")
