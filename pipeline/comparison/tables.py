"""The tables of what the networks achieved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from ..evaluation.metrics import as_words
from ..evaluation.quality import summarise_quality
from ..evaluation.summary import FEW
from .case_tables import CaseTables
from .entries import (
    INTERVAL,
    Entry,
    Table,
    find_digits,
    format_cost,
    format_difference,
    format_interval,
    format_number,
    format_p,
    label_metric,
)
from .evaluations import Evaluation
from .statistics import (
    compute_differences,
    compute_means,
    compute_parts,
    compute_size_effects,
    count_missed,
    pick_best,
)


def make_metric_table(found: CaseTables, units: Mapping[str, str]) -> Table:
    """Metrics down, networks across."""
    records = compute_means(found)
    by_place = {(record["metric"], record["network"]): record for record in records}
    rows = []
    for metric in found.metrics:
        own = [by_place[metric, network] for network in found.tables]
        best = pick_best(metric, [each["value"] for each in own if each["value"] is not None])
        row = [Entry(label_metric(metric, units))]
        digits = find_digits(own, ("value", "low", "high", "q1", "q3"))
        for each in own:
            details = [format_interval(each, digits)]
            if each.get("median") is not None:
                spread = format_interval(each, digits, ends=("q1", "q3"))
                details.append(f"median {format_number(each['median'], digits)}, {spread}")
            if each["n"] < len(found.cases):
                details.append(f"{each['n']} cases")
            bold = len(own) > 1 and each["value"] == best
            value = format_number(each["value"], digits)
            row.append(Entry(value, "; ".join(filter(None, details)), bold))
        rows.append(row)
    notes = [
        f"Mean over {len(found.cases)} cases and its {INTERVAL}, then the median and the "
        "quartiles. An arrow says what is better; bold is the best mean. The pooled IoU is the sum "
        "of all intersections over the sum of all unions, and the pooled Dice twice that sum over "
        "all sizes, in which a large structure counts more than a small one."
    ]
    if len(found.cases) < FEW:
        notes.append(
            f"Of {len(found.cases)} cases an interval may reach beyond what a metric can be; that "
            "of what is pooled is a bootstrap also here, and too narrow."
        )
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
    rows = []
    for metric in found.ranked:
        own = [record for record in records if record["metric"] == metric]
        digits = find_digits(own, ("value", "low", "high"))
        entries = [format_difference(record, digits) for record in own]
        rows.append([Entry(label_metric(metric, units)), *entries])
    tests = sum(record["p"] is not None for record in records)
    notes = [
        f"Mean of the paired differences (network minus {found.baseline}) over cases, its "
        f"{INTERVAL}, and p of Wilcoxon's signed-rank test with Holm's correction for the {tests} "
        "tests of this table; bold if p < 0.05. What is pooled has no test."
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
        "correlation of the size with Dice."
    ]
    if found.others:
        notes += [
            f"The last column is rho of the size with the difference to {found.baseline}: if it is "
            "negative, a network gains more on small structures. p is Wilcoxon's with Holm's "
            "correction for the tests of this table.",
            *sentences,
        ]
    head = [
        "Structure, network",
        "rho, Dice",
        "Dice, smallest third",
        f"Difference to {found.baseline}, smallest third",
        "rho, difference",
    ]
    shown = len(head) if found.others else 3
    rows = [row[:shown] for row in rows]
    return Table("small_structures", "Small structures", head[:shown], rows, records, notes)


def make_missed_table(found: CaseTables, evaluations: Sequence[Evaluation]) -> Table | None:
    """Regions and networks down, counts across; None if the evaluations have no recall."""
    records = count_missed(found, evaluations)
    if not records:
        return None
    columns = {
        "present": "With the structure",
        "not_found": "Not found (Dice 0)",
        "empty": "of these with an empty mask",
        "absent": "Without the structure",
        "invented": "Found where there is none",
    }
    rows = [
        [Entry(f"{as_words(record['region'])}, {record['network']}")]
        + [Entry("-" if record[key] is None else f"{record[key]:,}") for key in columns]
        for record in records
    ]
    answers = sum(len(each.cases) for each in evaluations) // len(found.tables)
    notes = ["Numbers of cases; a mask that lies elsewhere is not empty, but finds nothing."]
    if answers > len(found.cases):
        notes = [notes[0].replace("cases", "answers") + " A case has one in each evaluation."]
    if any(record["empty"] is None for record in records):
        notes.append("A dash: the evaluations did not record the sizes of masks; evaluate again.")
    head = ["Structure, network", *columns.values()]
    return Table("missed", "Missed structures", head, rows, records, notes)


def make_part_table(
    found: CaseTables, evaluations: Sequence[Evaluation], part: str, units: Mapping[str, str]
) -> Table | None:
    """The Dice of each region in each fold, or with each seed; None with a single one."""
    records = compute_parts(found, evaluations, part)
    if not records:
        return None
    by_place = {(each["metric"], each[part], each["network"]): each for each in records}
    names = list(dict.fromkeys(each[part] for each in records))
    rows = []
    for metric in (f"dice/{region}" for region in found.regions):
        label, means = label_metric(metric, units), {network: [] for network in found.tables}
        for name in names:
            row = [Entry(f"{label}, {part} {name}")]
            for network in found.tables:
                record = by_place.get((metric, name, network), {"value": None})
                if record["value"] is None:
                    row.append(Entry("-"))
                    continue
                means[network].append(record["value"])
                sd = f"SD {format_number(record['sd'])}"
                row.append(Entry(format_number(record["value"]), f"{sd}; {record['n']} cases"))
            rows.append(row)
        row = [Entry(f"{label}, mean of {len(names)} {part}s", "", True)]
        for own in means.values():
            sd = f"SD {format_number(stdev(own))}" if len(own) > 1 else ""
            row.append(Entry(format_number(fmean(own)) if own else "-", sd, True))
        rows.append(row)
    notes = [
        f"Mean Dice and its standard deviation over the cases of each {part}, and in bold the mean "
        f"and the standard deviation over {part}s. {part}s.csv and tables.xlsx have all metrics."
    ]
    head = [f"Metric, {part}", *found.tables]
    return Table(f"{part}s", f"{part.capitalize()}s", head, rows, records, notes)
