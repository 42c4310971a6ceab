"""The one exception for what a user can put right, and how errors are quoted."""

from __future__ import annotations


class InputError(ValueError):
    """A fault in what the user gave: its message says what was received and what to do.

    A bundle run that ends with it prints the message as one line, without a traceback.
    """


def one_line(error: BaseException, limit: int | None = 300) -> str:
    """The message of an error, which may be empty or of many lines, up to ``limit`` characters."""
    return " ".join(str(error).split())[:limit] or type(error).__name__
