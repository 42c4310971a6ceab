"""What a user sees while trainings run: a bar with the time left, and a line for each that ends."""

from __future__ import annotations

import re
import shlex
import sys
import time
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from ..bundle.trained import read_history
from .work import Work


class Board:
    """A progress bar over several parts.

    The time left follows from the progress since the start, so it is known before the first part
    has ended.

    Args:
        parts: the progress of each part, 0 to 1, by name.
    """

    def __init__(self, parts: dict[str, float]) -> None:
        self.parts = dict(parts)
        self.begun, self.first = time.monotonic(), sum(parts.values())
        self.console = Console(soft_wrap=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,  # a log gets the lines only
        )
        self.task = self.progress.add_task("", total=len(parts), left="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, description: str) -> None:
        """Draw the bar for the parts as they are now."""
        now = sum(self.parts.values())
        elapsed, gained = time.monotonic() - self.begun, now - self.first
        left = elapsed * (len(self.parts) - now) / gained if gained > 0 else None
        text = "" if left is None else f"{format_duration(left)} left"
        self.progress.update(self.task, completed=now, description=description, left=text)

    def say(self, text: str, style: str = "") -> None:
        """Print a line above the bar."""
        self.console.print(Text(text, style=style))


def format_duration(seconds: float) -> str:
    """Write a duration in s, min or h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def measure_progress(work: Work) -> float:
    """The progress of a work, 0 to 1: its epochs, and 0.05 for the evaluation."""
    if work.done:
        return 1.0
    return 0.95 * min(1.0, len(read_history(work.folder / "training")) / work.epochs)


def make_command() -> str:
    """The command line that this process was started with, which resumes what it began."""
    return shlex.join(["python", "-m", "pipeline", *sys.argv[1:]])


def show_failure(board: Board, work: Work, reason: str = "") -> None:
    """Print why a work failed, and where its log is."""
    board.say(f"{work.name} failed: {reason or read_failure(work.log)}\n    {work.log}", "red")


def read_failure(log: Path) -> str:
    """Why the last command of a log failed: its first error, or else its last line."""
    try:
        lines = log.read_text(errors="replace").split("\n$ ")[-1].splitlines()[1:]
    except OSError:
        return "it wrote no log"
    said = [line.strip() for line in lines if line.strip()] or ["its log is empty"]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return said[-1] if said[-1].startswith("error: ") or not errors else errors[0].strip()
