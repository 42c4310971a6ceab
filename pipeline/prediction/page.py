"""A report for eyes and for tables: an HTML page and a CSV file beside its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..evaluation.figures.colours import COLOURS
from ..files import replacing, write_rows
from .input_case import make_printable
from .niivue import VIEWER

TEMPLATE = Path(__file__).with_name("page.html")
COLUMNS = ("name", "status", "check", "reasons", "error", "note", "input", "outputs", "seconds")
_INNER = ("view", "run", "worker")  # what no table needs


def write_pages(path: Path, report: Mapping[str, Any]) -> None:
    """Write ``NAME.html`` and ``NAME.csv`` beside a report, ``NAME.json``, each whole.

    Both follow from its content alone.
    """
    content = json.dumps({**report, "viewer": VIEWER, "colours": COLOURS}, default=str)
    # No text of a file's name may end the element that holds it.
    content = content.replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8").replace("{{report}}", content)
    with replacing(path.with_suffix(".html"), alone=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
    write_rows(path.with_suffix(".csv"), [tabulate(entry) for entry in report["cases"]])


def tabulate(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a case: a column for each value, named as in the JSON with ``/`` between."""
    shown = {key: value for key, value in entry.items() if key not in (*_INNER, "quality")}
    values = {**dict(_flatten(shown)), **dict(_flatten(entry.get("quality", {})))}
    return dict.fromkeys(COLUMNS) | values


def _flatten(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of nested objects with its path; a list becomes one text."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{key}/")
        elif isinstance(value, bool):
            yield f"{before}{key}", str(value).lower()
        elif isinstance(value, list):
            yield f"{before}{key}", "; ".join(make_printable(str(each)) for each in value)
        else:
            is_text = isinstance(value, str)
            yield f"{before}{key}", make_printable(value) if is_text else value
