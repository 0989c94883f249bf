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


@pytest.mark.parametrize("block", [signals.handled, signals.held, signals.unheld])
def test_one_that_c_code_turns_into_another_error(block):
    """As pybind11 does where it is raised while C++ code makes a Python exception."""
    with pytest.raises(signals.Interrupted) as error, block():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 0.5)
        except KeyboardInterrupt:
            raise RuntimeError("error_already_set: MISMATCH of exception types") from None
    assert error.value.code == 143
    with pytest.raises(RuntimeError, match="of its own"), block():
        raise RuntimeError("of its own")
    with pytest.raises(ValueError, match="after it"), block():  # not of C++ code
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 0.5)
        except KeyboardInterrupt:
            pass
        raise ValueError("after it")


def test_one_that_waits(capfd):
    """The first signal is raised where the block ends, or where `stop` asks for it."""
    for asks in (False, True):
        seen = []
        with pytest.raises(signals.Interrupted) as error, signals.held() as held:
            held.stop()
            held.waits = True
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 0.1)
            seen.append(held.number)
            if asks:
                held.stop()
            seen.append("the end")
        assert error.value.code == 143
        assert seen == [signal.SIGTERM, "the end"][: 1 if asks else 2]


@pytest.mark.parametrize("waits", [False, True])
def test_one_that_does_not_wait(waits):
    """A signal before the first step, and the second one after it."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(signals.Interrupted) as error, signals.held() as held:
        held.waits = waits
        for number in [signal.SIGTERM, signal.SIGINT][1 - waits :]:
            os.kill(os.getpid(), number)
            signal.sigtimedwait([], 0.1)
        pytest.fail("it went on")
    assert error.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def run(program):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip


BLOCKED = """
    import ctypes, os, signal, sys, threading, time
    sys.argv[0] = "keras-genimg"
    from keras_genimg import signals
    signals.PATIENCE = signals.SHORT_PATIENCE = 0.3
    def send(*times):
        for seconds in times:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()
    def block():
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # as if it were never heard
        end = time.monotonic() + 20
        while time.monotonic() < end:
            ctypes.CDLL(None).usleep(900000)
"""


def test_a_blocked_worker_ends():
    """A call of C code that does not return when a signal comes, as TensorFlow's waits."""
    done = run(f"""{BLOCKED}
    with signals.handled(), signals.watched():
        send(0.3)
        block()
    """)
    assert done.returncode == 143, done.stderr
    assert done.stderr.strip() == "keras-genimg: stopped while it waited for another worker."


def test_a_blocked_step_ends_with_the_second_signal():
    done = run(f"""{BLOCKED}
    with signals.handled(), signals.held() as held:
        held.waits = True
        send(0.1, 0.8)
        block()
    """)
    assert done.returncode == 143, done.stderr
    first, second = done.stderr.strip().splitlines()
    assert first.startswith("keras-genimg: stops when its checkpoint is written; a second signal")
    assert second == "keras-genimg: stopped at once."


@pytest.mark.parametrize("phase", ["", "with signals.handled(), signals.ending():"])
def test_imports_end_at_once(phase):
    """There an exception can get lost; the script has no handlers of its own yet."""
    done = run(f"""{BLOCKED}
    print("done so far")
    {phase or 'if True:'}
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except BaseException:
            pass
    """)
    assert done.returncode == 130, done.stderr
    assert (done.stdout, done.stderr) == ("done so far\n", "keras-genimg: stopped.\n")
