"""Standard output and standard error of the command line: any text, and readers that leave."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator

from keras_genimg.errors import as_told, one_line

__all__ = ["standard_streams", "told_warnings"]

PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Within the block, both streams of the process take any text, and no reader has to stay.

    Characters that a stream cannot encode are written as escape sequences. What is written after
    the reader has gone (`keras-genimg list | head -1`), or to a closed stream, goes nowhere.
    Streams that somebody has put in place of those of the process stay as they are.
    """
    before = sys.stdout, sys.stderr
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when the process began
            _to_nowhere(number)
            setattr(sys, name, open(number, "w", errors="backslashreplace", closefd=False))
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lasting(stream, number))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream, number):
    stream.flush()
    if os.name == "nt":  # a console is no file
        stream.reconfigure(errors="backslashreplace")
        return stream
    raw = _Descriptor(number, "w", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw), stream.encoding,
        "backslashreplace", line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )  # fmt: skip


class _Descriptor(io.FileIO):
    """A file descriptor that goes nowhere once it cannot be written."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            _to_nowhere(self.fileno())
            if not isinstance(error, BrokenPipeError):  # such as a full disk
                raise OSError(error.errno, error.strerror, "Standard output") from error
            return super().write(data)


def _to_nowhere(number):
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


@contextlib.contextmanager
def told_warnings() -> Iterator[None]:
    """Within the block, a warning prints as one line, without the line of code that gave it.

    Those of the package are its notices; others have the name of their category.
    """
    usual = warnings.formatwarning

    def sentence(message, category, filename, *where, **line):
        if category is UserWarning and os.path.abspath(filename).startswith(PACKAGE):
            return f"{as_told(str(message))}\n"
        return f"{category.__name__}: {one_line(str(message))}\n"

    warnings.formatwarning = sentence
    try:
        yield
    finally:
        warnings.formatwarning = usual
