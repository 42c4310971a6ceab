"""A progress bar for long work, on the error output; it is gone at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

T = TypeVar("T")


def show_progress(items: Collection[T], description: str, *, least: int = 0) -> Iterable[T]:
    """Iterate over items with a bar, if there are at least so many of them."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, description, console=console, transient=True, disable=len(items) < least)
