"""Metrics, parameters and names as MLflow takes them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any


def last_steps(events: list[dict[str, Any]]) -> dict[str, int]:
    """The last step of every metric in a journal."""
    last: dict[str, int] = {}
    for event in events:
        for name, _, _, step in event.get("metrics", []):
            last[name] = max(step, last.get(name, -1))
    return last


def now() -> int:
    """MLflow's time: ms since 1970."""
    return int(time.time() * 1000)


def key(name: str) -> str:
    """A name that MLflow takes, at most 250 characters long."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def finite(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The entries that are one finite number, as MLflow takes them."""
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):  # a vector, a table, a text
            continue
        if math.isfinite(number):
            yield key(name), number


def is_plain(value: Any) -> bool:
    """A number, a text that is no expression or reference, or a list of such."""
    if isinstance(value, list):
        return all(is_plain(each) for each in value)
    if isinstance(value, str):
        return not value.startswith(("$", "@", "%"))
    return isinstance(value, bool | int | float) or value is None
