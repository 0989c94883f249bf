"""What a user is told: the error for input that can be corrected, and notices."""

import contextlib
import sys

__all__ = ["InputError", "tell"]


class InputError(ValueError):
    """Invalid input.

    The message states the rule first and then what was received, so that the
    reader knows what to change. The command line prints the message without a
    traceback and exits with code 2; in Python it is a `ValueError`.
    """


def tell(sentence: str) -> None:
    """Prints a notice to standard error, where it is apart from the results of a command.

    Args:
        sentence: string.
    """
    with contextlib.suppress(OSError):  # a closed pipe
        print(f"keras-genimg: {sentence}", file=sys.stderr, flush=True)
