"""Summarise one row per case: mean, spread and a confidence interval."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import defined, replacing
from .metrics import find_metric, pool_dice, unit_of

FEW = 10  # cases; the bootstrap of fewer has intervals that are too narrow


def summarise(cases: Sequence[Mapping[str, Any]], *, resamples: int = 10_000) -> dict[str, Any]:
    """Summarise the rows of :func:`case_metrics`.

    The interval is the bias-corrected and accelerated bootstrap of the mean over cases (Efron
    1987), because overlap and distance are skewed; of fewer than ten cases Student's t-interval.
    It describes other cases, not other trainings. A constant column has the interval [mean, mean];
    a single case has none.

    Args:
        cases: one mapping per case; text values (names, paths) are ignored.
        resamples: of the bootstrap; the same rows give the same interval.

    Returns:
        ``{"n_cases", "pooled_iou", "metrics": {name: {"n", "mean", "std", "median", "ci_low",
        "ci_high"}}}``. ``n`` counts the cases where the metric is defined, ``std`` is that of a
        sample, and undefined numbers are None. ``pooled_iou`` is the sum of the intersections
        over the sum of the unions, over all regions and cases; None if nothing was measured. The
        ``mean`` of ``pooled_dice/REGION`` is the Dice of all pixels of all cases together, in
        which a large structure counts more than a small one; its interval resamples cases.

    Raises:
        ValueError: there is no case.
    """
    if not cases:
        raise ValueError("no case to summarise: the list of cases is empty")
    # A metric may be missing from some rows, so all rows are searched for names.
    numbers = dict.fromkeys(
        key for case in cases for key, value in case.items() if not isinstance(value, str)
    )
    metrics = {
        name: _summarise_column([case.get(name) for case in cases], resamples)
        for name in numbers
        if find_metric(name).kind != "size"
    }
    for region in (name.partition("/")[2] for name in numbers if name.startswith("union/")):
        metrics[f"pooled_dice/{region}"] = _pool_dice(cases, region, resamples)
    intersection, union = (
        sum(defined(v) or 0 for case in cases for key, v in case.items() if key.startswith(prefix))
        for prefix in ("intersection/", "union/")
    )
    pooled = intersection / union if union else None
    return {"n_cases": len(cases), "pooled_iou": pooled, "metrics": metrics}


def leave_out_absent(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Set what was measured of a region to nan, in all rows, if no label of any case holds it.

    Two empty masks agree, which says that a case was rightly left alone; where every label is empty
    the mean of this would say that the network segments what nobody has shown it. A region that
    only some labels lack counts in all cases. The true sizes stay, and a cup-to-disc ratio goes
    where no label has one.

    Args:
        rows: of `case_metrics`, with the cup-to-disc ratios of the report; changed in place.

    Returns:
        the names of these regions.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    split = {column: column.partition("/")[::2] for column in columns}
    sizes = {name: each for each, (key, name) in split.items() if key in ("area", "volume")}
    absent = [name for name, each in sizes.items() if not any(row[each] > 0 for row in rows)]
    ratio = any((row.get("vertical_cdr/truth") or 0) > 0 for row in rows)
    for column, (key, name) in split.items():
        measured = name in absent and key not in ("area", "volume", "vertical_cdr")
        if measured or (key == "vertical_cdr" and not ratio):
            for row in rows:
                row[column] = math.nan
    return absent


def write_summary(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Write a summary as strict JSON: it refuses nan and unknown types."""
    with replacing(Path(path)) as temporary:
        text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print a summary as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:z.3f}" if abs(value) < 10 else f"{value:.1f}"

    title = f"{summary['n_cases']} cases, pooled IoU {number(summary['pooled_iou'])}"
    narrow = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "show_edge": False}
    table = Table(title=title, title_justify="left", **narrow)  # fits into 80 columns
    table.add_column("metric")
    for head in ("mean", "sd", "median", "95 % interval", "n"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, column in summary["metrics"].items():
        unit = unit_of(name, summary["units"])
        unit = f" [dim]({unit})" if unit else ""
        interval = f"{number(column['ci_low'])} to {number(column['ci_high'])}"
        middle = (number(column[key]) for key in ("mean", "std", "median"))
        table.add_row(name + unit, *middle, interval, str(column["n"]))
    Console().print(table)


def _summarise_column(values: Sequence[float | None], resamples: int) -> dict[str, Any]:
    column = np.array([value for value in map(defined, values) if value is not None], float)
    if not column.size:
        return {"n": 0} | dict.fromkeys(("mean", "std", "median", "ci_low", "ci_high"))
    low, high = confidence_interval((column,), resamples=resamples)
    return {
        "n": int(column.size),
        "mean": float(column.mean()),
        "std": float(column.std(ddof=1)) if column.size > 1 else None,
        "median": float(np.median(column)),
        "ci_low": low,
        "ci_high": high,
    }


def _pool_dice(cases: Sequence[Mapping[str, Any]], region: str, resamples: int) -> dict[str, Any]:
    rows = [[case.get(f"{kind}/{region}") for kind in ("intersection", "union")] for case in cases]
    counts = np.array([row for row in rows if None not in map(defined, row)], float)
    found = _summarise_column([], resamples) | {"n": len(counts)}
    if len(counts):
        low, high = confidence_interval(counts.T, pool_dice, resamples=resamples)
        found |= {"mean": float(pool_dice(*counts.T)), "ci_low": low, "ci_high": high}
    return found


def confidence_interval(
    columns: Sequence[np.ndarray],
    statistic: Callable[..., Any] = np.mean,
    *,
    resamples: int = 10_000,
) -> tuple[float | None, float | None]:
    """95 % interval of a statistic over cases: the bias-corrected and accelerated bootstrap.

    Of few cases it is too narrow, see ``benchmarks/intervals.py``; a mean of fewer than `FEW` cases
    has Student's t-interval instead, which may reach beyond what a metric can be.

    Args:
        columns: arrays with one value per case; a case is drawn with its values in all columns.
        statistic: called as ``statistic(*columns, axis=...)``.
        resamples: of the bootstrap; the same columns give the same interval.

    Returns:
        Its ends; (None, None) for fewer than two cases.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap, sem, t

    size = columns[0].size
    if size < 2:
        return None, None
    if all(np.ptp(column) <= 1e-12 * max(1.0, abs(column[0])) for column in columns):
        value = float(statistic(*columns, axis=-1))
        return value, value
    if size < FEW and statistic is np.mean:
        low, high = t.interval(0.95, size - 1, loc=np.mean(columns[0]), scale=sem(columns[0]))
        return float(low), float(high)
    for method in ("BCa", "percentile"):  # BCa is 0/0 if leaving out a case changes nothing
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore", DegenerateDataWarning)
            found = bootstrap(
                tuple(columns),
                statistic,
                paired=len(columns) > 1,
                n_resamples=resamples,
                batch=max(1, 2_000_000 // size),  # 16 MB of resamples at a time
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return float(found.low), float(found.high)
