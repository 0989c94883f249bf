"""The error type for input that the user can correct."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Invalid input.

    The message states the rule first and then what was received, so that the
    reader knows what to change. The command line prints the message without a
    traceback and exits with code 2; in Python it is a `ValueError`.
    """
