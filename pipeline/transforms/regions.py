"""Regions: sets of label values, each a channel of the network; from label to channels and back.

Two regions are disjoint (exclusive classes), or one lies inside the other (nested structures). All
that depends on what is segmented follows from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:  # it takes a second to load
    import torch

_NAME = re.compile(r"[^\W_][\w .-]*")  # what MLflow, file names and MONAI's references take
_MOST = 255  # a mask is uint8


class Regions:
    """The regions of a bundle, in the order of the network's channels.

    Attributes:
        names: R names.
        values: the label values of each.
        parents: the index of the smallest region around each; None for the outermost ones.
        own: the values of each that are in no region inside it; empty if these fill it.
        index_values: the value of each region's own part in a mask; None if it has none.
        order: the indices, each parent before the regions inside it.

    Args:
        regions: label values by name, such as ``{"outer": [1, 2], "inner": [2]}``.

    Raises:
        InputError: a name or value is unfit, or two regions overlap without one inside the other.
    """

    def __init__(self, regions: Mapping[str, Sequence[int]]) -> None:
        if problem := _find_problem(regions):
            raise InputError(
                f"regions is {dict(regions) if isinstance(regions, Mapping) else regions!r}: "
                f"{problem}; give label values by name, such as "
                "{'outer': [1, 2], 'inner': [2], 'other': [3]}."
            )
        self.names = list(regions)
        self.values = [sorted(set(values)) for values in regions.values()]
        sets = [frozenset(values) for values in self.values]
        around = [[n for n, other in enumerate(sets) if each < other] for each in sets]
        self.parents = [min(found, key=lambda n: len(sets[n]), default=None) for found in around]
        self.own = [
            sorted(each.difference(*(sets[n] for n, p in enumerate(self.parents) if p == index)))
            for index, each in enumerate(sets)
        ]
        self.index_values = [values[0] if values else None for values in self.own]
        self.order = sorted(range(len(sets)), key=lambda n: len(around[n]))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def known(self) -> list[int]:
        """All label values of the regions, ascending."""
        return sorted({value for values in self.values for value in values})

    def groups(self) -> list[list[int]]:
        """The indices of regions that exclude each other: those with one parent."""
        return [
            [n for n in range(len(self)) if self.parents[n] == parent]
            for parent in dict.fromkeys(self.parents)
        ]

    def mark(self, scores: torch.Tensor, level: float = 0.0, *, dim: int = 0) -> torch.Tensor:
        """Decide which regions a voxel belongs to.

        It belongs to a region whose score is above ``level``, inside the region around it. Of
        regions that exclude each other only the one with the highest score counts; where these
        fill the region around them, that one counts whatever its score.

        Args:
            scores: logits or probabilities, with R channels along ``dim``.
            level: 0 for logits and 0.5 for probabilities, unless another threshold is wanted.
            dim: of the channels.

        Returns:
            bool, in the shape of ``scores``.
        """
        import torch

        marked = scores > level
        if len(self) == 1:
            return marked
        channels = list(marked.unbind(dim))
        for group in self.groups():
            parent = self.parents[group[0]]
            if len(group) > 1:
                picked = scores.index_select(dim, torch.tensor(group, device=scores.device))
                best = picked.argmax(dim)
                filled = parent is not None and not self.own[parent]
                for place, n in enumerate(group):
                    chosen = best == place
                    channels[n] = chosen if filled else channels[n] & chosen
        for n in self.order:
            if (parent := self.parents[n]) is not None:
                channels[n] = channels[n] & channels[parent]
        return torch.stack(channels, dim)

    def to_index(self, masks: torch.Tensor) -> torch.Tensor:
        """Convert bool (R, *spatial) to uint8 (*spatial): the own value of the innermost region."""
        import torch

        masks = masks.bool()
        index = torch.zeros_like(masks[0], dtype=torch.uint8)
        for n in self.order:
            if (value := self.index_values[n]) is not None:
                index.masked_fill_(masks[n], value)
        return index

    def from_index(self, index: torch.Tensor) -> torch.Tensor:
        """Convert label values (*spatial) to bool (R, *spatial)."""
        import torch

        wanted = (torch.tensor(v, device=index.device, dtype=index.dtype) for v in self.values)
        return torch.stack([torch.isin(index, values) for values in wanted])


def _find_problem(regions: Any) -> str:
    """Say why regions are unfit; empty if they are fit."""
    if not isinstance(regions, Mapping) or not regions:
        return "it is not a mapping with an entry"
    for name, values in regions.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return f"the name {name!r} may hold letters, digits, spaces, '_', '-' and '.' only"
        whole = isinstance(values, list | tuple) and all(
            isinstance(v, int) and not isinstance(v, bool) and 0 < v <= _MOST for v in values
        )
        if not whole or not values:
            return f"{name} has {values!r}, which is not a list of whole numbers from 1 to {_MOST}"
    named = [(name, frozenset(values)) for name, values in regions.items()]
    for n, (name, values) in enumerate(named):
        for other, others in named[:n]:
            if values == others:
                return f"{other} and {name} are the same"
            if values & others and not (values < others or others < values):
                return f"{other} and {name} overlap, and neither lies inside the other"
    return ""
