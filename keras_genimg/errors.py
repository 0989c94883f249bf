"""The one error type for input that its giver can put right."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Input that cannot be used, told in one sentence.

    The message states the rule first and then what was received, so that the
    reader knows what to change. The command line prints the message without a
    traceback and exits with code 2; in Python it is a plain `ValueError`.
    """
