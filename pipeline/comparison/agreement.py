"""Whether what is measured in a mask agrees with the expert's: limits of agreement.

Bland JM, Altman DG. Measuring agreement in method comparison studies. Stat Methods Med Res 1999;
8:135-160.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..evaluation.metrics import as_words, find_metric
from .case_tables import CaseTables
from .entries import Entry, Table, find_digits, format_interval, format_number
from .statistics import Numbers, read_predicted_size


@dataclass
class Measure:
    """What is measured in each case: in the expert's mask, and in that of each network."""

    name: str
    unit: str
    true: np.ndarray  # a value per case
    predicted: Mapping[str, np.ndarray]

    @property
    def title(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


def find_measures(found: CaseTables, units: Mapping[str, str]) -> list[Measure]:
    """The size of each region, and what has both a ``/truth`` and a ``/prediction``."""
    table = found.tables[found.baseline]
    measures = []
    for column in (name for name in table if name.endswith("/truth")):
        key = column.removesuffix("/truth")
        every = [f"{key}/prediction" in each and column in each for each in found.tables.values()]
        if all(every) and table[column].notna().any():
            predicted = {name: found.values(name, f"{key}/prediction") for name in found.tables}
            title = find_metric(key).title
            measures.append(Measure(title, "", found.values(found.baseline, column), predicted))
    for region in found.regions:
        sizes = {name: read_predicted_size(each, region) for name, each in found.tables.items()}
        column = next((c for c in (f"volume/{region}", f"area/{region}") if c in table), None)
        if column and all(size is not None for size in sizes.values()):
            predicted = {name: size.to_numpy(float) for name, size in sizes.items()}
            kind, length = find_metric(column), units.get("hd95", "px")
            unit = "ml" if column.startswith("volume") else f"{length}²"
            name = f"{kind.title}, {as_words(region)}"
            measures.append(Measure(name, unit, found.values(found.baseline, column), predicted))
    return measures


def limits_of_agreement(predicted: np.ndarray, true: np.ndarray) -> Numbers:
    """Bias (mean of predicted minus true) and its limits, bias ± 1.96 SD, with 95 % intervals.

    A case in which one of both is undefined is left out. The intervals are the article's, with
    Student's t: the standard error of a limit is SD sqrt(1 / n + 1.96² / (2 (n - 1))).

    Returns:
        ``n``; ``bias``, ``lower`` and ``upper``; each also with ``_low`` and ``_high``. None with
        fewer than two cases.
    """
    from scipy.stats import t

    difference = predicted - true
    difference = difference[np.isfinite(difference)]
    n = difference.size
    record: Numbers = {"n": n}
    if n < 2:
        ends = ("", "_low", "_high")
        return record | {f"{key}{end}": None for key in ("bias", "lower", "upper") for end in ends}
    bias, sd = difference.mean(), difference.std(ddof=1)
    of_limit = 1 / n + 1.96**2 / (2 * (n - 1))
    spread = {"bias": (0.0, 1 / n), "lower": (-1.96, of_limit), "upper": (1.96, of_limit)}
    for name, (steps, variance) in spread.items():
        value, half = bias + steps * sd, t.ppf(0.975, n - 1) * sd * variance**0.5
        each = {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
        record |= {key: float(number) for key, number in each.items()}
    return record


def make_agreement_table(found: CaseTables, measures: list[Measure]) -> Table | None:
    """Measures and networks down, bias and limits across; None without a measure."""
    rows, records, lost = [], [], 0
    for measure in measures:
        own: list[Numbers] = []
        for network, predicted in measure.predicted.items():
            names = {"measure": measure.name, "unit": measure.unit, "network": network}
            own.append(names | limits_of_agreement(predicted, measure.true))
        digits = find_digits(own, ("bias", "lower", "upper"))
        for record in own:
            lost += len(found.cases) - record["n"]
            entries = [Entry(f"{measure.title}, {record['network']}"), Entry(str(record["n"]))]
            for name in ("bias", "lower", "upper"):
                value = format_number(record[name], digits, sign=True)
                ends = f"{name}_low", f"{name}_high"
                entries.append(Entry(value, format_interval(record, digits, sign=True, ends=ends)))
            rows.append(entries)
        records += own
    if not records:
        return None
    notes = [
        "Predicted minus true. Limits of agreement: bias ± 1.96 SD, between which 95 % of cases "
        "lie if the differences are normally distributed. Below each its 95 % interval (Bland and "
        "Altman 1999)."
    ]
    if lost:
        notes.append(f"{lost} values are undefined, in a mask or a label, and left out.")
    head = ["Measure, network", "Cases", "Bias", "Lower limit", "Upper limit"]
    return Table("agreement", "Agreement with the expert", head, rows, records, notes)
