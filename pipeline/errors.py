"""The one exception for what a user can put right, and how errors are quoted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: The end of errors about one file of a dataset.
ADVICE = "`python -m pipeline data check` lists every such file."


class InputError(ValueError):
    """A fault in what the user gave: its message says what was received and what to do.

    A bundle run that ends with it prints the message as one line, without a traceback.
    """


class UnfitFile(ValueError):
    """A file that cannot be used: ``(problem, fix)``, written as "FILE: it PROBLEM: FIX"."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)

    def __str__(self) -> str:
        return ": ".join(self.args)


def one_line(error: BaseException | str, limit: int | None = 300) -> str:
    """The message of an error, which may be empty or of many lines, up to ``limit`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if limit is None or len(text) <= limit else f"{text[: limit - 3]}..."


def suggestion(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or all of them, as the end of an error."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}."


def times(numbers: Iterable[float]) -> str:
    """Write sizes as ``4 x 5 x 6``."""
    return " x ".join(f"{number:g}" for number in numbers)
