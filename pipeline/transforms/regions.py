"""Convert index masks to regions and back.

A region is a set of label values, so one region may lie inside another. A network has one sigmoid
channel per region.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from ..errors import InputError


class LabelToRegionsd(MapTransform):
    """Convert an index mask (1, *spatial) to one binary float32 channel per region (R, *spatial).

    Args:
        keys: the masks.
        regions: the label values of each region, outermost region first, such as
            ``[[1, 2], [2]]`` for a structure and a smaller one inside it.
        allow_missing_keys: see MONAI's ``MapTransform``.

    Raises:
        InputError: a mask holds a value that no region has; the message names its file.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Sequence[Sequence[int]],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.regions = [list(region) for region in regions]
        self.known = sorted({0, *(value for region in self.regions for value in region)})

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            label = convert_to_tensor(out[key], track_meta=True)
            values = label.as_tensor()
            unknown = sorted(set(values.unique().tolist()) - set(self.known))
            if values.shape[0] != 1 or unknown:
                name = label.meta.get("filename_or_obj", "an array without a file name")
                held = f"the values {unknown}" if unknown else f"{values.shape[0]} channels"
                raise InputError(
                    f"label {name} holds {held}; a mask has one channel with the values "
                    f"{self.known}. `python -m pipeline data check` lists every such file."
                )
            region_channels = [
                torch.isin(values, torch.tensor(region, device=values.device, dtype=values.dtype))
                for region in self.regions
            ]
            channels = torch.cat(region_channels).float()
            out[key] = MetaTensor(
                channels, meta=label.meta, applied_operations=label.applied_operations
            )
        return out


class NestRegionsd(MapTransform):
    """Cut every region (R, *spatial) to the one around it, outermost first; 1 inside, else 0.

    Args:
        keys: the predictions.
    """

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            # A product of uint8 would be int64: more than a GiB for a large CT.
            regions = out[key] > 0
            out[key] = torch.cumprod(regions, dim=0, dtype=torch.uint8).to(out[key].dtype)
        return out


class RegionsToLabeld(MapTransform):
    """Convert region channels (R, *spatial) to an index mask (1, *spatial) of uint8.

    This inverts ``LabelToRegionsd`` for nested regions: region ``r`` writes ``values[r]`` where it
    and every region around it are set, so that an inner region never leaves the outer one.

    Args:
        keys: the predictions.
        values: the label value of each region's own part, outermost first, such as ``[1, 2]``.
        allow_missing_keys: see MONAI's ``MapTransform``.
    """

    def __init__(
        self, keys: KeysCollection, values: Sequence[int], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.values = list(values)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = NestRegionsd(self.keys, self.allow_missing_keys)(data)
        for key in self.key_iterator(out):
            regions = out[key].bool()
            label = torch.zeros_like(out[key][:1], dtype=torch.uint8)
            for region, value in enumerate(self.values):
                label[regions[region : region + 1]] = value
            out[key] = label
        return out
