"""The cases of each network: what all numbers of a comparison are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.metrics import find_metric

if TYPE_CHECKING:
    import pandas as pd

    from .evaluations import Evaluation


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

    def records(self) -> list[dict[str, Any]]:
        """A record per network and case, with all its numbers."""
        return [
            {"network": network, "case": case} | row
            for network, table in self.tables.items()
            for case, row in table.to_dict("index").items()
        ]

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
