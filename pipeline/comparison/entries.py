"""A table to read, and its numbers as text: made once, for all formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..evaluation.metrics import as_words, find_metric, unit_of

ARROWS = {"higher": "↑", "lower": "↓", "zero": "→0"}
MINUS = "\N{MINUS SIGN}"
INTERVAL = "95 % interval (BCa bootstrap; of fewer than ten cases Student's t)"


@dataclass
class Entry:
    """A field of a table: a value, smaller text beside it, and whether it is bold.

    The parts of ``detail`` are separated by semicolons.
    """

    main: str
    detail: str = ""
    bold: bool = False

    @property
    def details(self) -> list[str]:
        return self.detail.split("; ") if self.detail else []

    def __str__(self) -> str:
        return f"{self.main} ({self.detail})" if self.detail else self.main


@dataclass
class Table:
    """A table to read, and the records that it was made from.

    The first ``texts`` columns are words, the others numbers.
    """

    name: str
    title: str
    head: list[str]
    rows: list[list[Entry]]
    records: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    texts: int = 1


def label_metric(metric: str, units: Mapping[str, str]) -> str:
    """``hd95/left_lung`` to ``HD95, left lung (mm) ↓``."""
    row, region = find_metric(metric), metric.partition("/")[2]
    name = f"{row.title}, {as_words(region)}" if region else row.title
    if unit := unit_of(metric, units):
        name += f" ({unit})"
    return f"{name}\N{NO-BREAK SPACE}{ARROWS[row.best]}"


def find_digits(records: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> int:
    """The decimals of all numbers of a row: three, or one if a number reaches 10."""
    values = (record.get(key) for record in records for key in keys)
    known = [abs(value) for value in values if value is not None and np.isfinite(value)]
    return 3 if max(known, default=0) < 9.9995 else 1


def format_number(value: float | None, digits: int | None = None, *, sign: bool = False) -> str:
    """A number with its decimals, by default three, and one from 10 on; a dash if undefined."""
    if value is None or not np.isfinite(value):
        return "-"
    digits = find_digits([{"": value}], [""]) if digits is None else digits
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)


def format_interval(
    record: Mapping[str, Any],
    digits: int | None = None,
    *,
    sign: bool = False,
    ends: tuple[str, str] = ("low", "high"),
) -> str:
    """Such as ``0.941 to 0.960``; empty if there is none."""
    if record[ends[0]] is None:
        return ""
    return " to ".join(format_number(record[end], digits, sign=sign) for end in ends)


def format_difference(record: Mapping[str, Any], digits: int | None = None) -> Entry:
    """Such as ``+0.012 (+0.003 to +0.021; p 0.013)``, bold if p < 0.05."""
    detail, p = format_interval(record, digits, sign=True), record.get("p_holm")
    if p is not None:
        detail = "; ".join(part for part in (detail, format_p(p)) if part)
    value = format_number(record["value"], digits, sign=True)
    return Entry(value, detail, p is not None and p < 0.05)


def format_p(p: float) -> str:
    return "p < 0.001" if p < 0.0005 else f"p {p:.3f}"


def format_cost(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
