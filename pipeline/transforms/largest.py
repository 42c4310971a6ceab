"""Keep the largest connected parts of regions, at the cost of the regions' extent."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, generate_spatial_bounding_box
from monai.transforms.utils import get_largest_connected_component_mask

from ..errors import InputError
from .regions import Regions


class KeepPartsd(MapTransform):
    """Keep the largest parts of some regions, and what then lies inside the region around it.

    A part is a set of connected voxels (R, *spatial), diagonal neighbours included. Only the box
    around a region is searched: an organ fills a small part of a CT, and labelling the whole of a
    large CT takes ten seconds.

    Args:
        keys: the predictions, binary.
        regions: see `Regions`.
        components: how many parts to keep, by region; all of the other regions' are kept.

    Raises:
        InputError: a count is below 1, or there is no such region.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Mapping[str, Sequence[int]],
        components: Mapping[str, int],
    ) -> None:
        super().__init__(keys)
        self.regions = Regions(regions)
        self.components = dict(components)
        for name, count in self.components.items():
            if name not in self.regions.names or count < 1:
                raise InputError(
                    f"components is {self.components}; give how many parts to keep, 1 or more, "
                    f"for some of the regions {self.regions.names}, such as "
                    f"{{'{self.regions.names[0]}': 1}}."
                )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = out[key].clone()
            start, end = generate_spatial_bounding_box(out[key])
            masks = out[key][(slice(None), *map(slice, start, end))]  # nothing is marked beyond it
            if not masks.numel():
                continue
            for n in self.regions.order:
                parent = self.regions.parents[n]
                if parent is not None:
                    masks[n] *= masks[parent]
                if count := self.components.get(self.regions.names[n]):
                    masks[n] = keep_largest(masks[n], count)
            for n in reversed(self.regions.order):
                if not self.regions.own[n]:  # nothing is left of it outside of those inside it
                    inner = [i for i, p in enumerate(self.regions.parents) if p == n]
                    masks[n] = masks[inner].amax(dim=0)
        return out


def keep_largest(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Keep the ``count`` largest connected parts of a binary mask (*spatial)."""
    start, end = generate_spatial_bounding_box(mask[None])
    box = tuple(map(slice, start, end))
    out = torch.zeros_like(mask)
    if mask[box].numel():
        kept = get_largest_connected_component_mask(mask[box], num_components=count)
        out[box] = kept.to(mask.dtype)
    return out
