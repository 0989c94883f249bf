"""What a user is told: the error for input that can be corrected, and notices."""

import contextlib
import sys

__all__ = ["InputError", "as_told", "one_line", "tell"]


class InputError(ValueError):
    """Invalid input.

    The message states the rule first and then what was received, so that the
    reader knows what to change. The command line prints the message without a
    traceback and exits with code 2; in Python it is a `ValueError`.
    """


def as_told(sentence: str) -> str:
    """A sentence as one line of a notice; names of files may hold line breaks and colours.

    Args:
        sentence: string.

    Returns:
        string.

    Example:
    >>> as_told("new\\nline does not exist.")
    'keras-genimg: new\\\\nline does not exist.'
    """
    return f"keras-genimg: {one_line(sentence)}"


def one_line(text: str) -> str:
    """A text with everything that is not printable, such as a line break, as its escape sequence.

    Args:
        text: string.

    Returns:
        string.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def tell(sentence: str) -> None:
    """Prints a notice to standard error, where it is apart from the results of a command.

    Args:
        sentence: string.
    """
    with contextlib.suppress(OSError):  # a closed pipe
        print(as_told(sentence), file=sys.stderr, flush=True)
