"""JSON as the bundles that ship are written: an indent of four, and short lists in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_WIDTH = 100


def file_text(content: Mapping[str, Any]) -> str:
    """The text of a whole file."""
    return lay_out(dict(content), used=_WIDTH) + "\n"


def lay_out(value: Any, *, indent: int = 0, used: int = 0) -> str:
    """Write a value as JSON; a list or an object that fits is one line.

    Args:
        value: what to write.
        indent: of the line on which it starts.
        used: characters of that line before it.
    """
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return line
    named = isinstance(value, dict)
    items = list(value.values()) if named else value
    deep = any(isinstance(each, dict) and each for each in items)
    if not deep and used + len(line) <= _WIDTH:
        return line
    inside = indent + 4
    rows = []
    for key, each in zip(value, items, strict=True):
        start = f"{json.dumps(key, ensure_ascii=False)}: " if named else ""
        text = lay_out(each, indent=inside, used=inside + 1 + len(start))
        rows.append(f"{' ' * inside}{start}{text}")
    opening, closing = "{}" if named else "[]"
    return f"{opening}\n" + ",\n".join(rows) + f"\n{' ' * indent}{closing}"
