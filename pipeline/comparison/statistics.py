"""The numbers of a comparison, each table a list of records: what CSV, Markdown and HTML show.

A case is the unit: its values are first averaged over its evaluations by several seeds, or
folds, of one network. Intervals are 95 % bootstrap intervals over cases; pairs are cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.metrics import find_metric, pool_dice, pool_iou
from ..evaluation.summary import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

    from .evaluations import Evaluation

POOLED = {"pooled_dice": pool_dice, "pooled_iou": pool_iou}  # of a region; of all
FEWEST = 9  # cases that are split into thirds by size
Numbers = dict[str, Any]  # a record
Pool = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class CaseTables:
    """A table per network, the baseline first, with the same cases in all tables."""

    tables: Mapping[str, pd.DataFrame]

    @property
    def baseline(self) -> str:
        return next(iter(self.tables))

    @property
    def others(self) -> list[str]:
        return list(self.tables)[1:]

    @property
    def cases(self) -> list[str]:
        return list(self.tables[self.baseline].index)

    @property
    def metrics(self) -> list[str]:
        """The metrics of all networks, in the order of the evaluation, by kind and region.

        Those of a region that no label holds have no value in any case, and are left out.
        """
        columns = self.tables[self.baseline].columns
        shared = [
            c for c in columns if all(c in t and t[c].notna().any() for t in self.tables.values())
        ]
        names = [name for name in shared if find_metric(name).kind == "metric"]
        kinds = list(dict.fromkeys(name.split("/")[0] for name in names))
        names.sort(key=lambda name: kinds.index(name.split("/")[0]))
        pooled = [f"pooled_dice/{c.split('/', 1)[1]}" for c in shared if c.startswith("union/")]
        return [*names, *pooled, *(["pooled_iou"] if pooled else [])]

    @property
    def ranked(self) -> list[str]:
        """The metrics for which higher, or lower, is better."""
        return [name for name in self.metrics if find_metric(name).best != "zero"]

    @property
    def regions(self) -> list[str]:
        """The structures that have a Dice."""
        return [name.split("/", 1)[1] for name in self.metrics if name.startswith("dice/")]

    @property
    def absent(self) -> list[str]:
        """The structures that no label holds."""
        columns = (c for c in self.tables[self.baseline] if c.startswith("dice/"))
        return [name for c in columns if (name := c.split("/", 1)[1]) not in self.regions]

    @property
    def size_unit(self) -> str:
        volume = any(name.startswith("volume/") for name in self.tables[self.baseline].columns)
        return "ml" if volume else "% of the picture"

    def size(self, region: str) -> np.ndarray | None:
        """True size of a region per case in `size_unit`; None if it was not recorded."""
        table = self.tables[self.baseline]
        if f"volume/{region}" in table:
            return table[f"volume/{region}"].to_numpy()
        if {f"area/{region}", "area/image"} <= set(table.columns):
            return (100 * table[f"area/{region}"] / table["area/image"]).to_numpy()
        return None

    def values(self, network: str, metric: str) -> np.ndarray:
        return self.tables[network][metric].to_numpy(dtype=float)

    def counts(self, network: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Intersection and union of each case, of a pooled metric's region or over all regions."""
        table, region = self.tables[network], metric.partition("/")[2]
        sums = []
        for kind in ("intersection/", "union/"):
            own = [f"{kind}{region}"] if region else [c for c in table if c.startswith(kind)]
            sums.append(table[own].sum(axis=1).to_numpy())
        return sums[0], sums[1]


def average_cases(evaluations: Sequence[Evaluation], *, baseline: str) -> CaseTables:
    """Average each case over its evaluations by one network."""
    import pandas as pd

    tables = {}
    names = {each.network for each in evaluations}
    for name in sorted(names, key=lambda name: (name != baseline, name)):
        own = [each.cases for each in evaluations if each.network == name]
        numbers = pd.concat(own).select_dtypes("number")
        tables[name] = numbers.groupby(level=0).mean().sort_index()
    return CaseTables(tables)


def compute_means(found: CaseTables) -> list[Numbers]:
    """The mean of every metric for every network."""
    records = []
    for metric in found.metrics:
        for network in found.tables:
            if pool := find_pool(metric):
                numbers = estimate(found.counts(network, metric), pool)
            else:
                column = found.values(network, metric)
                numbers = estimate([column[np.isfinite(column)]])
            records.append({"metric": metric, "network": network} | numbers)
    return records


def compute_differences(found: CaseTables) -> list[Numbers]:
    """Each network against the baseline, paired by case, with Holm's correction over all tests.

    What is pooled is one number for all cases, so it has an interval but no test. Metrics that are
    best at zero are left out, since a lower value is neither better nor worse.
    """
    records = []
    for metric in found.ranked:
        for network in found.others:
            if pool := find_pool(metric):
                counts = (found.counts(name, metric) for name in (network, found.baseline))
                columns = [column for pair in counts for column in pair]
                numbers = estimate(columns, partial(subtract_pooled, pool)) | {"p": None}
            else:
                pair = found.values(network, metric), found.values(found.baseline, metric)
                numbers = compare_pairs(*pair)
            names = {"metric": metric, "network": network, "baseline": found.baseline}
            records.append(names | numbers)
    return correct_p(records)


def compute_size_effects(found: CaseTables) -> list[Numbers]:
    """How Dice depends on the true size of a structure, and what a network gains on small ones.

    ``rho`` is Spearman's correlation of the size with Dice, ``rho_gain`` with the paired
    difference to the baseline. The difference is taken over the smallest third of the cases with
    the structure; Holm's correction covers the tests of this table. A structure without recorded
    sizes or with fewer than nine cases has no record.
    """
    records = []
    for region in found.regions:
        size = found.size(region)
        if size is None or (there := size > 0).sum() < FEWEST:
            continue
        order = np.argsort(size[there], kind="stable")
        small = np.flatnonzero(there)[order[: order.size // 3]]
        base = found.values(found.baseline, f"dice/{region}")
        for network in found.tables:
            dice = found.values(network, f"dice/{region}")
            record = {
                "region": region,
                "network": network,
                "cases": int(there.sum()),
                "rho": correlate_ranks(size[there], dice[there]),
                "smallest": small.size,
                "largest_of_smallest": float(size[small].max()),
                "mean_smallest": float(dice[small].mean()),
            }
            if network != found.baseline:
                record["rho_gain"] = correlate_ranks(size[there], (dice - base)[there])
                record |= compare_pairs(dice[small], base[small])
            records.append(record)
    return correct_p(records)


def estimate(columns: Sequence[np.ndarray], statistic: Any = np.mean) -> Numbers:
    """``n``, ``value``, and the interval from ``low`` to ``high``."""
    size = columns[0].size
    low, high = bootstrap_interval(columns, statistic) if size else (None, None)
    value = float(statistic(*columns, axis=-1)) if size else None
    return {"n": size, "value": value, "low": low, "high": high}


def compare_pairs(values: np.ndarray, baseline: np.ndarray) -> Numbers:
    """Mean difference over the cases where both are defined, and Wilcoxon's signed-rank test.

    Zero differences are left out of the ranks (Wilcoxon 1945); p is 1 if all are zero.
    """
    from scipy.stats import wilcoxon

    difference = np.round(values - baseline, 12)  # rounding errors of the means would break ties
    difference = difference[np.isfinite(difference)]
    p = None
    if difference.size:
        p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
    return estimate([difference]) | {"p": p}


def correct_p(records: list[Numbers]) -> list[Numbers]:
    """Add ``p_holm`` to the records that have a ``p``."""
    tested = [record for record in records if record.get("p") is not None]
    for record, p in zip(tested, adjust_holm([each["p"] for each in tested]), strict=True):
        record["p_holm"] = p
    return records


def adjust_holm(p: Sequence[float]) -> list[float]:
    """Adjust p values to control the family-wise error (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; the results never
    decrease and are at most 1.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.asarray(p, dtype=float)
    adjusted[order] *= np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(adjusted[order]).clip(max=1)
    return adjusted.tolist()


def find_pool(metric: str) -> Pool | None:
    """What pools the counts of all cases for a metric; None for a mean of cases."""
    return POOLED.get(metric.partition("/")[0])


def subtract_pooled(pool: Pool, *counts: np.ndarray, axis: int) -> np.ndarray:
    return pool(*counts[:2], axis) - pool(*counts[2:], axis)


def correlate_ranks(size: np.ndarray, values: np.ndarray) -> float | None:
    """Spearman's rho; None if one side is constant."""
    from scipy.stats import spearmanr

    defined = np.isfinite(values)
    if np.ptp(size[defined]) == 0 or np.ptp(values[defined]) == 0:
        return None
    return float(spearmanr(size[defined], values[defined]).statistic)


def pick_best(metric: str, means: Sequence[float]) -> float | None:
    """The best of the means of some networks."""
    best = find_metric(metric).best
    pick = max if best == "higher" else min
    return pick(means, key=abs if best == "zero" else None, default=None)
