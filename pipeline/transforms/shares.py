"""Soft labels: the share of experts who gave a pixel each label value, as the target of a loss."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..errors import ADVICE, InputError
from .read import ReadImaged
from .regions import Regions

_ROUNDING = 0.02  # shares of 8 bits may exceed a sum of 1 by this much


class ReadSharesd(MapTransform):
    """Read the shares of label values and add them up to regions (R, *spatial) in [0, 1].

    A soft label is a file for each value, ``{"1": "rim.png", "2": "cup.png"}``. In a picture 255 is
    a share of 1; a volume holds the shares themselves. Values exclude each other, so the shares of
    a pixel add up to 1 at most, and a region has the sum of those of its values: whatever the
    regions, an inner one has no larger share than the one around it.

    Args:
        keys: the soft labels; a case may lack them.
        regions: see `Regions`.
        spatial_dims: 2 for pictures, 3 for volumes.

    Raises:
        InputError: a value of a region has no file; or a file cannot be read, or holds other than
            shares, or those of a pixel add up to more than 1.
    """

    def __init__(
        self, keys: KeysCollection, regions: Mapping[str, Sequence[int]], spatial_dims: int
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.regions = Regions(regions)
        self.one = 255.0 if spatial_dims == 2 else 1.0
        self.reader = ReadImaged("file", spatial_dims=spatial_dims, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            files = {int(value): path for value, path in out[key].items()}
            if lacking := [value for value in self.regions.known if value not in files]:
                raise InputError(
                    f"soft label {next(iter(files.values()), '')}: there is no file for the value "
                    f"{lacking[0]}; give one for each of {self.regions.known}. {ADVICE}"
                )
            paths = [files[value] for value in self.regions.known]
            read = self.reader({"file": paths})["file"]
            shares = read.as_tensor() / self.one
            if problem := self._find_problem(read, shares, len(paths)):
                raise InputError(f"soft label {', '.join(map(str, paths))}: {problem}. {ADVICE}")
            by_value = dict(zip(self.regions.known, shares, strict=True))
            sums = [sum(by_value[value] for value in values) for values in self.regions.values]
            out[key] = MetaTensor(torch.stack(sums).clamp(max=1), meta=read.meta)
        return out

    def _find_problem(self, read: torch.Tensor, shares: torch.Tensor, files: int) -> str:
        if len(read) != files:
            return f"{files} files have {len(read)} channels; give each one channel"
        low, high, most = read.min().item(), read.max().item(), shares.sum(dim=0).max().item()
        if low < 0 or high > self.one or high == 1 < self.one:
            return (
                f"the values are from {low:g} to {high:g}; give shares from 0 to {self.one:g}, "
                f"where {self.one:g} stands for all experts"
            )
        if most > 1 + _ROUNDING:
            return (
                f"the shares of a pixel add up to {most:.2f}; give the share of each label value "
                "by itself, not of a region that holds others"
            )
        return ""


class TakeSharesd(MapTransform):
    """Replace the regions of a label by those of its soft label, and drop the latter.

    Args:
        keys: the labels, with R channels of regions and perhaps one more of what is ignored, which
            stays.
        shares_key: the soft label (R, *spatial), which a case may lack.
    """

    def __init__(self, keys: KeysCollection, shares_key: str) -> None:
        super().__init__(keys)
        self.shares_key = shares_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        shares = out.pop(self.shares_key, None)
        for key in self.key_iterator(out) if shares is not None else ():
            ignored = out[key][len(shares) :]
            label = torch.cat([torch.as_tensor(shares), torch.as_tensor(ignored)])
            out[key] = MetaTensor(label, meta=out[key].meta)
        return out
