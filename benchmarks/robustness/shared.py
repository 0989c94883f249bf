"""Code that the scripts of this folder share: cases that are counted, and commands in a child."""

import argparse
import collections
import os
import pathlib
import resource
import signal
import sys
import tempfile
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__all__ = ["Outcomes", "parser_of", "problem_of", "run_cli", "run_in_child"]

MEMORY = 24 * 2**30  # address space of a child: a huge allocation fails instead of swapping


class Outcomes:
    """What was tried, and what was not handled.

    Example:
        outcomes = Outcomes()
        outcomes.add("seed", "--seed -1", None)
        outcomes.add("seed", "--seed x", "Traceback ...")
        sys.exit(outcomes.report())  # prints the table; 1, because of the second
    """

    def __init__(self):
        self.tried = collections.Counter()
        self.failures = []

    def add(self, kind: str, description: str, problem: str | None) -> None:
        """Counts one case.

        Args:
            kind: string, the row of the table.
            description: string, enough to try the case again.
            problem: string, or None for a case that was handled.
        """
        self.tried[kind] += 1
        if problem is not None:
            self.failures.append((kind, description, problem))
            print(f"not handled: {kind}: {description}\n{_indented(problem)}", flush=True)

    def report(self) -> int:
        """Prints the table; returns the exit code, 1 if something was not handled."""
        failed = collections.Counter(kind for kind, _, _ in self.failures)
        rows = [(kind, n, n - failed[kind], failed[kind]) for kind, n in self.tried.items()]
        rows.append(("all", *(sum(row[i] for row in rows) for i in (1, 2, 3))))
        width = max(len(row[0]) for row in rows)
        print(f"\n| {'kind':<{width}} | tried | handled | not handled |")
        print(f"|{'-' * (width + 2)}|-------|---------|-------------|")
        for kind, tried, handled, not_handled in rows:
            print(f"| {kind:<{width}} | {tried:5} | {handled:7} | {not_handled:11} |")
        return int(bool(self.failures))


def parser_of(description: str, count: int) -> argparse.ArgumentParser:
    """A parser with the options that all scripts have, `--seed` and `--count`.

    Args:
        description: string, of which the first line is shown.
        count: int. Cases by default.

    Returns:
        `argparse.ArgumentParser`.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=count)
    return parser


def run_cli(arguments: list, timeout: float = 120.0, stdout: str | None = None) -> tuple:
    """Runs a command of the command line in a child process, whose streams encode ASCII alone.

    Args:
        arguments: list of strings, such as `["generate", "runs/gan"]`.
        timeout: float. Seconds after which the child is killed.
        stdout: string. The path of another standard output, or `"|"` for a pipe that nobody reads.

    Returns:
        `(exit code, stdout, stderr)`. The code is None after the timeout, and negative if a
        signal ended the child.
    """
    from keras_genimg.cli import main

    def run():
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="ascii", errors="strict")
        if stdout == "|":
            read, write = os.pipe()
            os.close(read)
            os.dup2(write, 1)
        elif stdout is not None:
            os.dup2(os.open(stdout, os.O_WRONLY), 1)
        return main([str(argument) for argument in arguments])

    return run_in_child(run, timeout)


def run_in_child(function, timeout: float = 120.0) -> tuple:
    """Calls a function in a forked process, which starts with what is imported here.

    TensorFlow is imported once, and must not have computed anything in this process.

    Args:
        function: function without arguments; returns an exit code.
        timeout: float. Seconds after which the child is killed.

    Returns:
        See `run_cli`. An exception is a traceback in stderr, with the code 1.
    """
    _import()
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _call(function, paths)
        code = _wait(child, timeout)
        return (code, *(path.read_text(errors="replace") for path in paths))


def problem_of(code: int | None, stdout: str, stderr: str) -> str | None:
    """What is wrong with the end of a command, or None.

    A command ends with 0, or with 2, 130 or 143 and a sentence.
    """
    if code is None:
        return "it did not end in time"
    if "Traceback (most recent call last)" in stderr or code not in (0, 2, 130, 143):
        return f"exit code {code}: {stderr[-1500:]}"
    said = [line for line in stderr.splitlines() if line.startswith("keras-genimg")]
    if code and not said:
        return f"exit code {code} without a sentence: {stderr[-1500:]}"
    if code == 2 and not stderr.startswith("usage:") and len(stderr.strip().splitlines()) > 1:
        others = [line for line in stderr.splitlines() if not line.startswith("keras-genimg: ")]
        if others:
            return f"more than a sentence: {stderr[-1500:]}"
    return None


def _import():
    import keras_genimg.runs  # noqa: F401


def _call(function, paths):
    """The child: never returns."""
    code = 1
    try:
        for stream, path in zip((1, 2), paths):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(descriptor, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.stdin = open(os.devnull)
        code = function()
    except SystemExit as error:  # argparse
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def _wait(child, timeout):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _indented(text):
    return "\n".join(f"    {line}" for line in text.splitlines())
