"""JSON as the bundles that ship are written: an indent of four, and short lists in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import InputError

_WIDTH = 100


def set_ids(text: str, ids: Mapping[str, Any], *, source: str) -> str:
    """Set top-level ids in the text of a bundle's JSON, and leave all else as it is.

    Args:
        text: of the file.
        ids: values; an id that the file lacks is left out.
        source: name of the file, for an error.

    Raises:
        InputError: a value in the file is not in one line.
    """
    known = json.loads(text)
    for name in ids.keys() & known.keys():
        line = re.compile(rf'^    "{re.escape(name)}": .*?(,?)$', re.MULTILINE)
        found = line.search(text)
        new = f'    "{name}": {lay_out(ids[name], used=len(name) + 9)}'
        if found:
            text = text[: found.start()] + new + found[1] + text[found.end() :]
        try:
            changed = found and json.loads(text) == known | {name: ids[name]}
        except ValueError:
            changed = False
        if not changed:
            raise InputError(f"{source}: the value of {name} must be in one line to be replaced.")
        known[name] = ids[name]
    return text


def lay_out(value: Any, *, indent: int = 4, used: int = 0) -> str:
    """Write a value as JSON; a list or an object that fits is one line.

    Args:
        value: what to write.
        indent: of the line on which it starts.
        used: characters of that line before it.
    """
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return line
    items = list(value.values()) if isinstance(value, dict) else value
    deep = any(isinstance(each, dict) and each for each in items)
    if not deep and used + len(line) <= _WIDTH:
        return line
    pad = " " * (indent + 4)
    keys = (
        [f"{json.dumps(key, ensure_ascii=False)}: " for key in value]
        if isinstance(value, dict)
        else [""] * len(items)
    )
    rows = [
        pad + key + lay_out(each, indent=indent + 4, used=indent + 5 + len(key))
        for key, each in zip(keys, items, strict=True)
    ]
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return f"{opening}\n" + ",\n".join(rows) + f"\n{' ' * indent}{closing}"


def file_text(content: Mapping[str, Any]) -> str:
    """The text of a whole file."""
    return lay_out(dict(content), indent=0, used=_WIDTH) + "\n"
