"""The readable tables of a comparison: text made from records, once for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..evaluation.metrics import as_words, find_metric, unit_of
from ..evaluation.quality import summarise_quality
from .evaluations import Evaluation
from .statistics import (
    CaseTables,
    Numbers,
    compute_differences,
    compute_means,
    compute_size_effects,
    pick_best,
)

ARROWS = {"higher": "↑", "lower": "↓", "zero": "→0"}
#: Column, its head, the MLflow metric that holds it, the divisor.
FOOTPRINT = (
    ("parameters", "Parameters (million)", "model/parameters", 1e6),
    ("gflops", "GFLOPs per image", "model/gflops", 1.0),
    ("train_minutes", "Training (min)", "train/minutes", 1.0),
    ("ms_per_image", "Time per image (ms)", "{section}/seconds_per_image", 1e-3),
    ("peak_memory_mb", "Peak memory in training (MB)", "train/peak_memory_mb", 1.0),
)


@dataclass
class Entry:
    """A field of a table: a value, smaller text beside it, and whether it is bold."""

    main: str
    detail: str = ""
    bold: bool = False

    def __str__(self) -> str:
        text = f"{self.main} ({self.detail})" if self.detail else self.main
        return f"**{text}**" if self.bold else text


@dataclass
class Table:
    """A table to read, and the records that it was made from."""

    name: str
    title: str
    head: list[str]
    rows: list[list[Entry]]
    records: list[Numbers]
    notes: list[str] = field(default_factory=list)

    def to_markdown(self) -> str:
        lines = [[str(each).replace("|", r"\|") for each in row] for row in (self.head, *self.rows)]
        lines.insert(1, ["---"] + ["---:"] * (len(self.head) - 1))
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"## {self.title}", body, *self.notes])


def make_metric_table(found: CaseTables, units: Mapping[str, str]) -> Table:
    """Metrics down, networks across."""
    records = compute_means(found)
    by_place = {(record["metric"], record["network"]): record for record in records}
    rows = []
    for metric in found.metrics:
        own = [by_place[metric, network] for network in found.tables]
        best = pick_best(metric, [each["value"] for each in own if each["value"] is not None])
        row = [Entry(label_metric(metric, units))]
        for each in own:
            fewer = f"; {each['n']} cases" if each["n"] < len(found.cases) else ""
            bold = len(own) > 1 and each["value"] == best
            row.append(Entry(format_number(each["value"]), format_interval(each) + fewer, bold))
        rows.append(row)
    notes = [
        f"Mean over {len(found.cases)} cases and its 95 % bootstrap interval (BCa). An arrow says "
        "what is better; bold is the best mean. The pooled IoU is the sum of all intersections "
        "over the sum of all unions, and the pooled Dice twice that sum over all sizes, in which a "
        "large structure counts more than a small one."
    ]
    if found.ranked != found.metrics:
        notes.append(
            "The volume error is predicted minus true. Its mean is a bias, best near 0; the next "
            "table compares only its absolute value."
        )
    return Table("metrics", "Metrics", ["Metric", *found.tables], rows, records, notes)


def make_difference_table(found: CaseTables, units: Mapping[str, str]) -> Table | None:
    """Metrics down, all networks but the baseline across; None if there are no others."""
    if not found.others:
        return None
    records = compute_differences(found)
    by_place = {(record["metric"], record["network"]): record for record in records}
    rows = [
        [Entry(label_metric(metric, units))]
        + [format_difference(by_place[metric, network]) for network in found.others]
        for metric in found.ranked
    ]
    tests = sum(record["p"] is not None for record in records)
    notes = [
        f"Mean of the paired differences (network minus {found.baseline}) over cases, its 95 % "
        "bootstrap interval, and p of Wilcoxon's signed-rank test with Holm's correction for the "
        f"{tests} tests of this table; bold if p < 0.05. What is pooled has no test."
    ]
    least = 2.0 ** (1 - len(found.cases))  # all differences have one sign
    if least * tests >= 0.05:
        notes.append(
            f"With {len(found.cases)} cases p is at least {least:.2g} before the correction, so "
            "no difference can reach p < 0.05 here, however large."
        )
    title = f"Difference to {found.baseline}"
    return Table("differences", title, ["Metric", *found.others], rows, records, notes)


def make_quality_table(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], regions: Sequence[str]
) -> Table | None:
    """Regions and networks down, what is known of their estimates across; None without any."""
    records = [
        {"region": region, "network": network, **summary}
        for network, cases in rows.items()
        for region, summary in summarise_quality(cases, regions).items()
    ]
    if not records:
        return None
    records.sort(key=lambda record: regions.index(record["region"]))
    columns = {
        "rank_correlation": "Rank correlation",
        "mean_absolute_error": "Mean error of the expected Dice",
        "inside": "Share in its interval",
        "aurc": "AURC",
        "aurc_random": "in any order",
        "aurc_best": "in the true order",
    }
    entries = [
        [Entry(f"{as_words(record['region'])}, {record['network']}")]
        + [Entry(format_number(record[key])) for key in columns]
        for record in records
    ]
    notes = [
        "The Dice that was expected of each case from its probabilities, against the true one. "
        "AURC: area under the curve of risk (mean of 1 - Dice) against coverage, when the least "
        "trusted cases are left out; lower is better. Intervals are of 90 %."
    ]
    title = "Expected and true Dice"
    return Table("quality", title, ["Region, network", *columns.values()], entries, records, notes)


def make_size_table(found: CaseTables) -> Table | None:
    """Regions and networks down, with a sentence on each finding; None if there are no records."""
    records = compute_size_effects(found)
    if not records:
        return None
    rows, sentences = [], []
    for record in records:
        name, network = as_words(record["region"]), record["network"]
        tested = "p" in record
        rows.append(
            [
                Entry(f"{name}, {network}"),
                Entry(format_number(record["rho"], sign=True)),
                Entry(format_number(record["mean_smallest"])),
                format_difference(record) if tested else Entry("-"),
                Entry(format_number(record.get("rho_gain"), sign=True)),
            ]
        )
        if tested:
            finding = "higher" if record["value"] > 0 else "lower"
            if record["p_holm"] >= 0.05:
                finding = "no difference shown"
            sentences.append(
                f"In the {record['smallest']} cases with the smallest {name}, Dice of {network} "
                f"minus that of {found.baseline} is {format_number(record['value'], sign=True)} "
                f"({format_interval(record, sign=True)}; {format_p(record['p_holm'])}): {finding}."
            )
    cases = sorted({record["cases"] for record in records})
    limits = {record["region"]: record["largest_of_smallest"] for record in records}
    limits = ", ".join(
        f"{as_words(region)} up to {format_cost(limit)} {found.size_unit}"
        for region, limit in limits.items()
    )
    notes = [
        f"Size is that of the expert's mask. Smallest third: {limits} "
        f"({' or '.join(map(str, cases))} cases with the structure). rho is Spearman's rank "
        "correlation of the size with Dice, and with the difference to "
        f"{found.baseline}: if the latter is negative, a network gains more on small structures. "
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
    return Table("small_structures", "Small structures", head, rows, records, notes)


def make_footprint_table(found: CaseTables, evaluations: Sequence[Evaluation]) -> Table:
    """The cost of each network, averaged over its runs."""
    records, mixed = [], []
    for network in found.tables:
        own = [each for each in evaluations if each.network == network]
        record: Numbers = {"network": network}
        for column, _, metric, unit in FOOTPRINT:
            values = [read_metric(each, metric) for each in own]
            values = [value / unit for value in values if value is not None]
            record[column] = float(np.mean(values)) if values else None
            if column == "parameters" and len(set(values)) > 1:
                mixed.append(network)
        records.append(record)
    rows = [
        [Entry(record["network"]), *(Entry(format_cost(record[key])) for key, *_ in FOOTPRINT)]
        for record in records
    ]
    notes = ["Means over folds and seeds; a dash if it was not recorded."]
    if mixed:
        notes.append(
            f"{', '.join(mixed)}: the runs have different numbers of parameters, so they are not "
            "the same network."
        )
    head = ["Network", *(head for _, head, *_ in FOOTPRINT)]
    return Table("footprint", "Cost", head, rows, records, notes)


def make_run_table(evaluations: Sequence[Evaluation]) -> Table:
    """The runs behind the numbers."""
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
    rows = [[Entry(str(value or "-")) for value in record.values()] for record in records]
    head = ["Network", "Fold", "Seed", "Cases", "Evaluation run", "Training run"]
    return Table("runs", "Runs", head, rows, records)


def read_metric(evaluation: Evaluation, metric: str) -> float | None:
    """A metric of the evaluation's run, or else of its training."""
    name = metric.format(section=evaluation.tag("section"))
    for run in (evaluation.run, evaluation.training):
        if run is not None and name in run.data.metrics:
            return run.data.metrics[name]
    return None


def label_metric(metric: str, units: Mapping[str, str]) -> str:
    """``hd95/left_lung`` to ``HD95, left lung (mm) ↓``."""
    row, region = find_metric(metric), metric.partition("/")[2]
    name = f"{row.title}, {as_words(region)}" if region else row.title
    if unit := unit_of(metric, units):
        name += f" ({unit})"
    return f"{name}\N{NO-BREAK SPACE}{ARROWS[row.best]}"


def format_difference(record: Numbers) -> Entry:
    """Such as ``+0.012 (+0.003 to +0.021; p 0.013)``, bold if p < 0.05."""
    detail, p = format_interval(record, sign=True), record.get("p_holm")
    if p is not None:
        detail = "; ".join(part for part in (detail, format_p(p)) if part)
    return Entry(format_number(record["value"], sign=True), detail, p is not None and p < 0.05)


def format_number(value: float | None, *, sign: bool = False) -> str:
    """Three decimals, one from 10 on; a dash for an undefined value."""
    if value is None or not np.isfinite(value):
        return "-"
    digits = 3 if abs(value) < 9.9995 else 1
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def format_interval(record: Numbers, *, sign: bool = False) -> str:
    if record["low"] is None:
        return ""
    return " to ".join(format_number(record[end], sign=sign) for end in ("low", "high"))


def format_p(p: float) -> str:
    return "p < 0.001" if p < 0.0005 else f"p {p:.3f}"


def format_cost(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
