"""What a run of predictions says on the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..errors import InputError, one_line
from ..walk import LeftOut
from .cohort import CaseRecord
from .input_case import InputCase, make_printable

_SHOWN = 4  # regions in the line of a case
_LISTED = 50  # lines of what is left out; the report has all


class CaseProgress(Progress):
    """A progress bar on a terminal, and a line for each case that ends."""

    def __init__(self, total: int) -> None:
        console = Console(soft_wrap=True, highlight=False)
        first = os.environ.get("RANK", "0") == "0"  # of the processes on one terminal
        super().__init__(
            TextColumn("predicting"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (first and console.is_terminal),
        )
        self.bar = self.add_task("", total=total)

    def say(self, text: str, style: str = "") -> None:
        self.console.print(Text(make_printable(text), style=style))

    def say_left_out(self, left_out: Sequence[LeftOut]) -> None:
        """Name what is passed over."""
        for path, reason in left_out[:_LISTED]:
            self.say(f"left out  {path}  {reason}", style="yellow")
        if (more := len(left_out) - _LISTED) > 0:
            self.say(f"left out  {more} more, see the report", style="yellow")


def explain(error: Exception, case: InputCase) -> str:
    """Say in one line which case failed and why."""
    while str(error).startswith("applying transform") and isinstance(error.__cause__, Exception):
        error = error.__cause__  # MONAI's own message adds nothing
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    text = f"{kind}{one_line(error, None if isinstance(error, InputError) else 300)}"
    return text if str(case.path) in text else f"{case}: {text}"


def is_doubtful(entry: CaseRecord) -> bool:
    return entry.get("quality", {}).get("check", False)


def describe_sizes(measured: CaseRecord) -> str:
    """Describe what was measured, for the line of a case."""
    sizes = measured.get("volume_ml", measured.get("area_px", {}))
    form = "{:.4g} ml" if "volume_ml" in measured else "{} px"
    words = [f"  {name} {form.format(size)}" for name, size in list(sizes.items())[:_SHOWN]]
    if len(sizes) > _SHOWN:
        words.append(f"  and {len(sizes) - _SHOWN} more")
    if (ratio := measured.get("vertical_cdr")) is not None:
        words.append(f"  vertical cup-to-disc ratio {ratio:.2f}")
    return "".join(words)
