"""What a user sees while many trainings run: a bar with the time left, and a line for each end."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text


class Board:
    """A progress bar over parts of which each is between 0 and 1.

    The time left follows from what has been done since the start, so it needs no first part to be
    finished.

    Args:
        parts: how far each part is, by name.
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
        """Draw the parts as they are now."""
        now = sum(self.parts.values())
        elapsed, gained = time.monotonic() - self.begun, now - self.first
        left = elapsed * (len(self.parts) - now) / gained if gained > 0 else None
        text = "" if left is None else f"{duration(left)} left"
        self.progress.update(self.task, completed=now, description=description, left=text)

    def say(self, text: str, style: str = "") -> None:
        """A line above the bar."""
        self.console.print(Text(text, style=style))


def duration(seconds: float) -> str:
    """In words of the size that matters."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def history(folder: Path) -> list[dict[str, str]]:
    """The epochs of a training so far, from its ``history.csv``."""
    try:
        text = (folder / "training" / "history.csv").read_text()
    except FileNotFoundError:
        return []
    # The last line may be half written.
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def share_done(folder: Path, epochs: int) -> float:
    """How far a cell is, 0 to 1: its epochs, and a little for the evaluation."""
    return 0.95 * min(1.0, len(history(folder)) / max(1, epochs))
