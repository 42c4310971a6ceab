"""The numbers of a comparison, each table a list of records: what CSV, Markdown and HTML show.

A case is the unit: its values are first averaged over its evaluations by several seeds, or
folds, of one network. Intervals are 95 % bootstrap intervals over cases; pairs are cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.summary import NO_METRICS, bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

    from .evaluations import Evaluation

POOLED = "pooled_iou"
LOWER_IS_BETTER = ("hd", "asd", "assd", "masd", "rmse")
ZERO_IS_BEST = ("volume_error/",)  # with a sign: its mean is a bias
Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """A table per network, with a row per case and the same cases everywhere.

    The networks stand in the order of the report, the baseline first.
    """

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
        """Names of the metrics, in the order of the evaluation; regions of one kind together."""
        columns = self.tables[self.baseline].columns
        shared = [c for c in columns if all(c in table for table in self.tables.values())]
        names = [
            name
            for name in shared
            if not name.startswith(NO_METRICS)
            and name not in ("vertical_cdr/prediction", "vertical_cdr/truth")
        ]
        kinds = list(dict.fromkeys(name.split("/")[0] for name in names))
        names.sort(key=lambda name: kinds.index(name.split("/")[0]))
        return names + ([POOLED] if any(c.startswith("union/") for c in shared) else [])

    @property
    def ranked(self) -> list[str]:
        """The metrics of which more, or less, is better."""
        return [name for name in self.metrics if not zero_is_best(name)]

    @property
    def regions(self) -> list[str]:
        """The structures that have a Dice."""
        return [name.split("/", 1)[1] for name in self.metrics if name.startswith("dice/")]

    def size(self, region: str) -> np.ndarray | None:
        """True size of a region per case: ml of a volume, % of the whole picture of an area."""
        table = self.tables[self.baseline]
        if f"volume/{region}" in table:
            return table[f"volume/{region}"].to_numpy()
        if {f"area/{region}", "area/image"} <= set(table.columns):
            return (100 * table[f"area/{region}"] / table["area/image"]).to_numpy()
        return None

    @property
    def size_unit(self) -> str:
        volume = any(name.startswith("volume/") for name in self.tables[self.baseline].columns)
        return "ml" if volume else "% of the picture"

    def values(self, network: str, metric: str) -> np.ndarray:
        return self.tables[network][metric].to_numpy(dtype=float)

    def counts(self, network: str) -> tuple[np.ndarray, np.ndarray]:
        """Intersection and union of each case, all regions together."""
        table = self.tables[network]
        return tuple(
            table[[c for c in table.columns if c.startswith(kind)]].sum(axis=1).to_numpy()
            for kind in ("intersection/", "union/")
        )


def results(evaluations: Sequence[Evaluation], *, baseline: str) -> Results:
    """Average each case over its evaluations by one network."""
    import pandas as pd

    tables = {}
    names = sorted({each.network for each in evaluations})
    for name in sorted(names, key=lambda name: (name != baseline, name)):
        own = [each.cases for each in evaluations if each.network == name]
        numbers = pd.concat(own).select_dtypes("number")
        tables[name] = numbers.groupby(level=0).mean().sort_index()
    return Results(tables)


def metric_records(found: Results) -> list[Record]:
    """The mean of every metric for every network."""
    records = []
    for metric in found.metrics:
        for network in found.tables:
            if metric == POOLED:
                columns, statistic = found.counts(network), ratio
            else:
                column = found.values(network, metric)
                columns, statistic = (column[np.isfinite(column)],), np.mean
            records.append({"metric": metric, "network": network} | estimate(columns, statistic))
    return records


def difference_records(found: Results) -> list[Record]:
    """Each network against the baseline, paired by case; Holm's correction over all tests.

    The pooled IoU is one number for all cases, so that it has an interval but no test. Errors
    with a sign are left out: neither a higher nor a lower one is better.
    """
    records = []
    for metric in found.ranked:
        for network in found.others:
            record = {"metric": metric, "network": network, "baseline": found.baseline}
            if metric == POOLED:
                columns = (*found.counts(network), *found.counts(found.baseline))
                record |= estimate(columns, ratio_difference) | {"p": None}
            else:
                pair = found.values(network, metric), found.values(found.baseline, metric)
                record |= paired(*pair)
            records.append(record)
    return corrected(records)


def size_records(found: Results) -> list[Record]:
    """How Dice depends on the true size of a structure, and what a network gains on small ones.

    ``rho`` is Spearman's of the size with the Dice, ``rho_gain`` with the paired difference to
    the baseline. The difference is that in the smallest third of the cases that have the
    structure; Holm's correction is over the tests of this table. Empty where sizes are not known
    or there are less than nine cases.
    """
    from scipy.stats import spearmanr

    records = []
    for region in found.regions:
        size = found.size(region)
        if size is None or (there := size > 0).sum() < 9:
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
                "rho": spearman(spearmanr, size[there], dice[there]),
                "smallest": small.size,
                "largest_of_smallest": float(size[small].max()),
                "mean_smallest": float(dice[small].mean()),
            }
            if network != found.baseline:
                record["rho_gain"] = spearman(spearmanr, size[there], (dice - base)[there])
                record |= paired(dice[small], base[small])
            records.append(record)
    return corrected(records)


def estimate(columns: Sequence[np.ndarray], statistic: Any = np.mean) -> Record:
    """``n``, ``value``, and the interval from ``low`` to ``high``."""
    size = columns[0].size
    low, high = bootstrap_interval(columns, statistic) if size else (None, None)
    value = float(statistic(*columns, axis=-1)) if size else None
    return {"n": size, "value": value, "low": low, "high": high}


def paired(values: np.ndarray, baseline: np.ndarray) -> Record:
    """Mean difference over the cases where both are defined, and Wilcoxon's signed-rank test.

    Zero differences are left out of the ranks (Wilcoxon 1945); without any difference p is 1.
    """
    from scipy.stats import wilcoxon

    difference = np.round(values - baseline, 12)  # what averaging adds would break ties
    difference = difference[np.isfinite(difference)]
    p = None
    if difference.size:
        p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
    return estimate((difference,)) | {"p": p}


def corrected(records: list[Record]) -> list[Record]:
    """Add ``p_holm`` to the records that have a ``p``."""
    tested = [record for record in records if record.get("p") is not None]
    for record, p in zip(tested, holm([record["p"] for record in tested]), strict=True):
        record["p_holm"] = p
    return records


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values that control the family-wise error (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none gets below one
    before it, or above 1.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.asarray(p, dtype=float)
    adjusted[order] *= np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(adjusted[order]).clip(max=1)
    return adjusted.tolist()


def ratio(part: np.ndarray, whole: np.ndarray, axis: int) -> np.ndarray:
    """Pooled IoU: intersections over unions, and 1 where both are empty."""
    part, whole = part.sum(axis), whole.sum(axis)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 1.0)


def ratio_difference(
    part: np.ndarray, whole: np.ndarray, part_0: np.ndarray, whole_0: np.ndarray, axis: int
) -> np.ndarray:
    return ratio(part, whole, axis) - ratio(part_0, whole_0, axis)


def spearman(method: Any, size: np.ndarray, values: np.ndarray) -> float | None:
    """Spearman's rho; None where one side is constant."""
    defined = np.isfinite(values)
    if np.ptp(size[defined]) == 0 or np.ptp(values[defined]) == 0:
        return None
    return float(method(size[defined], values[defined]).statistic)


def lower_is_better(metric: str) -> bool:
    kind = metric.split("/")[0]
    return kind.startswith(LOWER_IS_BETTER) or kind.endswith("error") or metric.endswith("error")


def zero_is_best(metric: str) -> bool:
    return metric.startswith(ZERO_IS_BEST)


def best(metric: str, means: Sequence[float]) -> float | None:
    """The best of the means of some networks."""
    if zero_is_best(metric):
        return min(means, key=abs, default=None)
    return (min if lower_is_better(metric) else max)(means, default=None)
