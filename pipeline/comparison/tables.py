"""The tables of a comparison as people read them: text made from records, once for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .evaluations import Evaluation
from .statistics import POOLED, Record, Results, best, lower_is_better, zero_is_best

NAMES = {"iou": "IoU", "hd95": "HD95", "vertical_cdr": "Vertical CDR", "nsd": "NSD", "asd": "ASD"}
#: Column, its head, the metric that holds it, what it is divided by.
FOOTPRINT = (
    ("parameters", "Parameters (million)", "model/parameters", 1e6),
    ("gflops", "GFLOPs per image", "model/gflops", 1.0),
    ("train_minutes", "Training (min)", "train/minutes", 1.0),
    ("ms_per_image", "Time per image (ms)", "{section}/seconds_per_image", 1e-3),
    ("peak_memory_mb", "Peak memory in training (MB)", "train/peak_memory_mb", 1.0),
)


@dataclass
class Cell:
    """What a field of a table shows: a value, what stands smaller beside it, and whether bold."""

    main: str
    detail: str = ""
    bold: bool = False

    def __str__(self) -> str:
        text = f"{self.main} ({self.detail})" if self.detail else self.main
        return f"**{text}**" if self.bold else text


@dataclass
class Table:
    """A table to read, and the records it was made from."""

    name: str
    title: str
    head: list[str]
    rows: list[list[Cell]]
    records: list[Record]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [[str(each).replace("|", r"\|") for each in row] for row in (self.head, *self.rows)]
        lines.insert(1, ["---"] + ["---:"] * (len(self.head) - 1))
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"## {self.title}", body, *self.notes])


def metric_table(found: Results, records: Sequence[Record], units: Mapping[str, str]) -> Table:
    """Metrics down, networks across."""
    by_place = {(record["metric"], record["network"]): record for record in records}
    rows = []
    for metric in found.metrics:
        cells = [by_place[metric, network] for network in found.tables]
        means = [cell["value"] for cell in cells if cell["value"] is not None]
        leader = best(metric, means)
        row = [Cell(label(metric, units))]
        for cell in cells:
            fewer = f"; {cell['n']} cases" if cell["n"] < len(found.cases) else ""
            bold = len(cells) > 1 and cell["value"] == leader
            row.append(Cell(number(cell["value"]), interval(cell) + fewer, bold))
        rows.append(row)
    notes = [
        f"Mean over {len(found.cases)} cases and its 95 % bootstrap interval (BCa); an arrow says "
        "what is better, bold is the best mean. The pooled IoU divides the sum of all "
        "intersections by that of all unions."
    ]
    if found.ranked != found.metrics:
        notes.append(
            "The volume error is predicted minus true: its mean is a bias, which is best near 0, "
            "and the next table leaves it to its absolute value."
        )
    return Table("metrics", "Metrics", ["Metric", *found.tables], rows, list(records), notes)


def difference_table(
    found: Results, records: Sequence[Record], units: Mapping[str, str]
) -> Table | None:
    """Metrics down, all networks but the baseline across."""
    if not found.others:
        return None
    by_place = {(record["metric"], record["network"]): record for record in records}
    rows = [
        [Cell(label(metric, units))]
        + [difference(by_place[metric, network]) for network in found.others]
        for metric in found.ranked
    ]
    tests = sum(record.get("p") is not None for record in records)
    notes = [
        f"Mean of the paired differences (network minus {found.baseline}) over cases, its 95 % "
        "bootstrap interval, and p of Wilcoxon's signed-rank test with Holm's correction for the "
        f"{tests} tests of this table; bold where p < 0.05. The pooled IoU has no test."
    ]
    least = 2.0 ** (1 - len(found.cases))  # of the signed-rank test: all differences of one sign
    if least * tests >= 0.05:
        notes.append(
            f"With {len(found.cases)} cases p is at least {least:.2g} before the correction: no "
            "difference can reach p < 0.05 here, however large."
        )
    title = f"Difference to {found.baseline}"
    return Table("differences", title, ["Metric", *found.others], rows, list(records), notes)


def size_table(found: Results, records: Sequence[Record]) -> Table | None:
    """Regions and networks down; then one sentence per network and region: what was found."""
    if not records:
        return None
    rows, sentences = [], []
    for record in records:
        name = words(record["region"])
        rows.append(
            [
                Cell(f"{name}, {record['network']}"),
                Cell(number(record["rho"], sign=True)),
                Cell(number(record["mean_smallest"])),
                difference(record) if "p" in record else Cell("-"),
                Cell(number(record.get("rho_gain"), sign=True)),
            ]
        )
        if "p" in record:
            sentences.append(
                f"In the {record['smallest']} cases with the smallest {name}, Dice of "
                f"{record['network']} minus that of {found.baseline} is "
                f"{number(record['value'], sign=True)} ({interval(record, sign=True)}; "
                f"{p_value(record['p_holm'])}): {verdict(record)}."
            )
    cases = sorted({record["cases"] for record in records})
    limits = ", ".join(
        f"{words(region)} up to {cost(limit)} {found.size_unit}"
        for region, limit in {r["region"]: r["largest_of_smallest"] for r in records}.items()
    )
    notes = [
        f"Size is that of the expert's mask. Smallest third: {limits} "
        f"({' or '.join(map(str, cases))} cases with the structure). rho is Spearman's rank "
        "correlation of the size with Dice, and with the difference to "
        f"{found.baseline}: below zero there means that a network gains more on small structures. "
        "p is Wilcoxon's with Holm's correction for the tests of this table.",
        *sentences,
    ]
    head = [
        "Structure, network",
        "rho, Dice",
        "Dice, smallest third",
        f"Difference to {found.baseline}, smallest third",
        "rho, difference",
    ]
    return Table("small_structures", "Small structures", head, rows, list(records), notes)


def footprint_table(found: Results, evaluations: Sequence[Evaluation]) -> Table:
    """What each network costs, the mean over its runs; a dash for what was not recorded."""
    records, rows, mixed = [], [], []
    for network in found.tables:
        own = [each for each in evaluations if each.network == network]
        record: Record = {"network": network}
        for column, _, metric, unit in FOOTPRINT:
            values = [measured(each, metric) for each in own]
            values = [value / unit for value in values if value is not None]
            record[column] = float(np.mean(values)) if values else None
            if column == "parameters" and len(set(values)) > 1:
                mixed.append(network)
        records.append(record)
        rows.append([Cell(network)] + [Cell(cost(record[column])) for column, *_ in FOOTPRINT])
    notes = ["Means over folds and seeds; a dash where it was not recorded."]
    if mixed:
        notes.append(
            f"{', '.join(mixed)}: the runs have different numbers of parameters, so that they are "
            "not one network."
        )
    head = ["Network", *(head for _, head, *_ in FOOTPRINT)]
    return Table("footprint", "Cost", head, rows, records, notes)


def run_table(evaluations: Sequence[Evaluation]) -> Table:
    """Where the numbers come from."""
    records = [
        {
            "network": each.network,
            "fold": each.fold,
            "seed": each.seed,
            "cases": len(each.cases),
            "evaluation": each.run.info.run_id,
            "training": each.training.info.run_id if each.training else None,
        }
        for each in evaluations
    ]
    rows = [[Cell(str(value or "-")) for value in record.values()] for record in records]
    head = ["Network", "Fold", "Seed", "Cases", "Evaluation run", "Training run"]
    return Table("runs", "Runs", head, rows, records)


def measured(evaluation: Evaluation, metric: str) -> float | None:
    """A metric of the evaluation, or of its training."""
    name = metric.format(section=evaluation.tag("section"))
    for run in (evaluation.run, evaluation.training):
        if run is not None and name in run.data.metrics:
            return run.data.metrics[name]
    return None


def difference(record: Record) -> Cell:
    """Such as ``+0.012 (+0.003 to +0.021; p 0.013)``."""
    detail = interval(record, sign=True)
    p = record.get("p_holm")
    if p is not None:
        detail = "; ".join(part for part in (detail, p_value(p)) if part)
    return Cell(number(record["value"], sign=True), detail, p is not None and p < 0.05)


def verdict(record: Record) -> str:
    """What a test shows at 5 %, in words."""
    if record["p_holm"] >= 0.05:
        return "no difference shown"
    return "higher" if record["value"] > 0 else "lower"


def number(value: float | None, *, sign: bool = False) -> str:
    """Three decimals, one from 10 on; a dash for what is undefined."""
    if value is None or not np.isfinite(value):
        return "-"
    digits = 3 if abs(value) < 9.9995 else 1
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def interval(record: Mapping[str, Any], *, sign: bool = False) -> str:
    if record["low"] is None:
        return ""
    return f"{number(record['low'], sign=sign)} to {number(record['high'], sign=sign)}"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.0005 else f"p {p:.3f}"


def cost(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def label(metric: str, units: Mapping[str, str]) -> str:
    """``hd95/optic_cup`` to ``HD95, optic cup (px) ↓``."""
    kind, _, rest = metric.partition("/")
    arrow = "→0" if zero_is_best(metric) else "↓" if lower_is_better(metric) else "↑"
    arrow = "\N{NO-BREAK SPACE}" + arrow
    if metric == POOLED:
        return f"IoU, pooled{arrow}"
    unit = f" ({units[kind]})" if kind in units else ""
    return f"{NAMES.get(kind, words(kind).capitalize())}, {words(rest)}{unit}{arrow}"


def words(name: str) -> str:
    return name.replace("_", " ")
