"""From one row per case to the numbers of a table: mean, spread and what the sample allows."""

from __future__ import annotations

import csv
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

COUNTS = ("intersection/", "union/")  # kept per case for the pooled IoU
NO_METRICS = (*COUNTS, "area/", "volume/")  # what a case is, not how well it went


def summarise(
    cases: Sequence[Mapping[str, Any]],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Summarise the rows of :func:`case_metrics`.

    The interval is the bias-corrected and accelerated bootstrap of the mean over cases (Efron
    1987), since overlap and distance are skewed; it speaks of other cases, not of other
    trainings. A constant column has the interval [mean, mean]; a single case has none.

    Args:
        cases: one mapping per case; its text values (names, paths) are passed over.
        confidence: level of the interval.
        resamples: bootstrap resamples.
        seed: of the resampling; the same rows give the same interval.

    Returns:
        ``{"n_cases", "pooled_iou", "metrics": {name: {"n", "mean", "std", "median", "ci_low",
        "ci_high"}}}``. ``n`` counts the cases where the metric is defined, ``std`` is that of a
        sample, and what is undefined is None. ``pooled_iou`` is the sum of the intersections
        over the sum of the unions, over all regions and cases.

    Raises:
        ValueError: when there is no case.
    """
    if not cases:
        raise ValueError("no case to summarise: the list of cases is empty")
    # A metric may be missing from some rows, so every row is asked for its names.
    names = dict.fromkeys(
        key
        for case in cases
        for key, value in case.items()
        if not isinstance(value, str) and not key.startswith(NO_METRICS)
    )
    options = {"confidence": confidence, "resamples": resamples, "seed": seed}
    metrics = {name: _column([case.get(name) for case in cases], **options) for name in names}
    intersection, union = (
        sum(value for case in cases for key, value in case.items() if key.startswith(prefix))
        for prefix in COUNTS
    )
    pooled = intersection / union if union else 1.0
    return {"n_cases": len(cases), "pooled_iou": pooled, "metrics": metrics}


def write_cases(path: str | Path, cases: Sequence[Mapping[str, Any]]) -> None:
    """Write one CSV row per case, full precision, undefined values empty; atomic."""
    columns = list(dict.fromkeys(key for case in cases for key in case))

    def write(file: IO[str]) -> None:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({key: _defined(value) for key, value in case.items()} for case in cases)

    _replace(Path(path), write)


def write_summary(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Write a summary as strict JSON (undefined values null); atomic."""
    _replace(
        Path(path),
        lambda file: file.write(json.dumps(summary, indent=2, allow_nan=False) + "\n"),
    )


def print_summary(summary: Mapping[str, Any]) -> None:
    """Show a summary as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"

    title = f"{summary['n_cases']} cases, pooled IoU {summary['pooled_iou']:.3f}"
    table = Table(title=title, title_justify="left")
    table.add_column("metric", no_wrap=True)
    for head in ("mean", "sd", "median", "95 % of the mean", "n"):
        table.add_column(head, justify="right")
    for name, column in summary["metrics"].items():
        unit = summary["units"].get(name.split("/")[0])
        unit = f" [dim]({unit})" if unit else ""
        interval = f"{number(column['ci_low'])} to {number(column['ci_high'])}"
        middle = (number(column[key]) for key in ("mean", "std", "median"))
        table.add_row(name + unit, *middle, interval, str(column["n"]))
    Console().print(table)


def _column(values: Sequence[float | None], **options: Any) -> dict[str, Any]:
    column = np.array([value for value in map(_defined, values) if value is not None], float)
    if not column.size:
        return {"n": 0} | dict.fromkeys(("mean", "std", "median", "ci_low", "ci_high"))
    low, high = bootstrap_interval((column,), **options)
    return {
        "n": int(column.size),
        "mean": float(column.mean()),
        "std": float(column.std(ddof=1)) if column.size > 1 else None,
        "median": float(np.median(column)),
        "ci_low": low,
        "ci_high": high,
    }


def bootstrap_interval(
    columns: Sequence[np.ndarray],
    statistic: Callable[..., Any] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """Interval of a statistic over cases: the bias-corrected and accelerated bootstrap.

    Args:
        columns: one value per case each; a case is drawn with its values in all columns.
        statistic: called as ``statistic(*columns, axis=...)``.
        confidence: level of the interval.
        resamples: bootstrap resamples.
        seed: of the resampling; the same columns give the same interval.

    Returns:
        Its ends, (None, None) for less than two cases.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    size = columns[0].size
    if size < 2:
        return None, None
    if all(np.ptp(column) <= 1e-12 * max(1.0, abs(column[0])) for column in columns):
        value = float(statistic(*columns, axis=-1))
        return value, value
    for method in ("BCa", "percentile"):  # BCa is 0/0 where leaving out a case changes nothing
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore", DegenerateDataWarning)
            found = bootstrap(
                tuple(columns),
                statistic,
                paired=len(columns) > 1,
                confidence_level=confidence,
                n_resamples=resamples,
                batch=max(1, 2_000_000 // size),  # 16 MB of resamples at a time
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return float(found.low), float(found.high)


def _defined(value: Any) -> Any:
    """None for a number that is nan or infinite, which neither JSON nor a spreadsheet knows."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(path: Path, write: Callable[[IO[str]], Any]) -> None:
    """Write beside ``path``, then move into place: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
