"""The numbers of a comparison, each table a list of records: what CSV, Markdown and HTML show.

A case is the unit: its values are first averaged over its evaluations by several seeds, or
folds, of one network. Intervals are of 95 % over cases; pairs are cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.metrics import find_metric, pool_dice, pool_iou
from ..evaluation.quality import rank_correlation
from ..evaluation.summary import confidence_interval
from .case_tables import CaseTables, average_cases
from .evaluations import Evaluation

if TYPE_CHECKING:
    import pandas as pd

POOLED = {"pooled_dice": pool_dice, "pooled_iou": pool_iou}  # of a region; of all
FEWEST = 9  # cases that are split into thirds by size
Numbers = dict[str, Any]  # a record
Pool = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def compute_means(found: CaseTables) -> list[Numbers]:
    """The mean of every metric for every network, and how its cases are spread around it.

    ``sd`` is that of a sample, ``q1`` and ``q3`` are quartiles; what is pooled has none of these.
    """
    records = []
    for metric in found.metrics:
        for network in found.tables:
            if pool := find_pool(metric):
                numbers = estimate(found.counts(network, metric), pool)
            else:
                column = found.values(network, metric)
                column = column[np.isfinite(column)]
                numbers = estimate([column]) | describe_spread(column)
            records.append({"metric": metric, "network": network} | numbers)
    return records


def describe_spread(column: np.ndarray) -> Numbers:
    """Sample standard deviation, quartiles and median; None for what is undefined."""
    quartiles = np.percentile(column, (25, 50, 75)).tolist() if column.size else [None] * 3
    sd = float(column.std(ddof=1)) if column.size > 1 else None
    return {"sd": sd} | dict(zip(("q1", "median", "q3"), quartiles, strict=True))


def compute_parts(found: CaseTables, evaluations: Sequence[Evaluation], part: str) -> list[Numbers]:
    """The mean of every metric in each fold, or with each seed, for every network.

    Args:
        found: all cases; what is pooled is left out.
        evaluations: they know their ``fold`` and ``seed``; those of ensembles have neither.
        part: ``fold`` or ``seed``.

    Returns:
        records with ``n`` cases, their mean as ``value``, and their ``sd``; each case is first
        averaged over what else its evaluations differ in. Empty with a single fold or seed.
    """
    known = dict.fromkeys(getattr(each, part) for each in evaluations if not each.is_ensemble)
    records = []
    for name in known if len(known) > 1 else ():
        own = [each for each in evaluations if getattr(each, part) == name]
        tables = average_cases(own, baseline=found.baseline).tables
        for network, table in tables.items():
            for metric in (each for each in found.metrics if not find_pool(each)):
                column = table[metric].dropna().to_numpy()
                value = float(column.mean()) if column.size else None
                numbers = {"n": column.size, "value": value, "sd": describe_spread(column)["sd"]}
                records.append({"metric": metric, part: name, "network": network} | numbers)
    return records


def count_missed(found: CaseTables, evaluations: Sequence[Evaluation]) -> list[Numbers]:
    """How often each structure was missed, and how often it was found where there is none.

    An evaluation's answer for a case is counted once, so that a case may count several times.

    Returns:
        for each region and network ``present`` and ``absent``, answers for cases with and without
        the structure; ``not_found`` (Dice 0) and ``invented`` among these; and ``empty``, those of
        ``not_found`` whose mask is empty, None where an evaluation did not record it.
    """
    import pandas as pd

    records = []
    for region in found.regions:
        for network in found.tables:
            table = pd.concat([e.cases for e in evaluations if e.network == network])
            if f"recall/{region}" not in table:
                continue
            there = table[f"recall/{region}"].notna()  # which only an empty label leaves undefined
            wrong = table[f"dice/{region}"] == 0
            size = read_predicted_size(table, region)
            known = size is not None and size[there].notna().all()
            record = {"region": region, "network": network, "present": int(there.sum())}
            record["not_found"] = int((there & wrong).sum())
            record["empty"] = int((there & (size < 1e-9)).sum()) if known else None
            record |= {"absent": int((~there).sum()), "invented": int((~there & wrong).sum())}
            records.append(record)
    return records


def read_predicted_size(table: pd.DataFrame, region: str) -> pd.Series | None:
    """The size of each prediction in the unit of the true size; None if it was not recorded."""
    if f"predicted_area/{region}" in table:
        return table[f"predicted_area/{region}"]
    if f"volume_error/{region}" in table:
        return table[f"volume/{region}"] + table[f"volume_error/{region}"]
    return None


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
                "rho": rank_correlation(size[there], dice[there]),
                "smallest": small.size,
                "largest_of_smallest": float(size[small].max()),
                "mean_smallest": float(dice[small].mean()),
            }
            if network != found.baseline:
                record["rho_gain"] = rank_correlation(size[there], (dice - base)[there])
                record |= compare_pairs(dice[small], base[small])
            records.append(record)
    return correct_p(records)


def estimate(columns: Sequence[np.ndarray], statistic: Any = np.mean) -> Numbers:
    """``n``, ``value``, and the interval from ``low`` to ``high``."""
    size = columns[0].size
    low, high = confidence_interval(columns, statistic) if size else (None, None)
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


def pick_best(metric: str, means: Sequence[float]) -> float | None:
    """The best of the means of some networks."""
    best = find_metric(metric).best
    pick = max if best == "higher" else min
    return pick(means, key=abs if best == "zero" else None, default=None)
