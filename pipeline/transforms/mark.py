"""From label to channels, from probabilities to marks, and from those to a mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from ..errors import ADVICE, InputError
from .regions import Regions

PROBABILITIES = "probabilities"  # the key of what `MarkRegionsd` and `RestoreGridd` may keep


def as_bytes(probabilities: torch.Tensor) -> torch.Tensor:
    """Convert probabilities to uint8, in 1/255."""
    return (probabilities * 255).round().to(torch.uint8)


class LabelToRegionsd(MapTransform):
    """Convert an index mask (1, *spatial) to one binary uint8 channel per region (R, *spatial).

    Args:
        keys: the masks.
        regions: see `Regions`.
        background: the other values that a mask may hold.
        ignore_label: a value that counts in no loss and no metric; with it the result has one more
            channel, the last, which is 1 where the mask has that value.

    Raises:
        InputError: a mask holds another value, or nothing that counts; the message names its file.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Mapping[str, Sequence[int]],
        background: Sequence[int] = (0,),
        ignore_label: int | None = None,
    ) -> None:
        super().__init__(keys)
        self.regions = Regions(regions)
        self.ignore_label = ignore_label
        self.known = sorted({*background, *self.regions.known, ignore_label} - {None})

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            label = convert_to_tensor(out[key], track_meta=True)
            values = label.as_tensor()
            found = set(values.unique().tolist())
            unknown = sorted(found - set(self.known))
            name = label.meta.get("filename_or_obj", "an array without a file name")
            if values.shape[0] != 1 or unknown:
                held = f"the values {unknown}" if unknown else f"{values.shape[0]} channels"
                raise InputError(
                    f"label {name} holds {held}; a mask has one channel with the values "
                    f"{self.known}: add others to --regions or --background. {ADVICE}"
                )
            if found == {self.ignore_label}:
                raise InputError(
                    f"label {name} holds nothing but the ignored value: remove the case. {ADVICE}"
                )
            channels = self.regions.from_index(values[0])
            if self.ignore_label is not None:
                channels = torch.cat([channels, values == self.ignore_label])
            out[key] = MetaTensor(
                channels.view(torch.uint8),
                meta=label.meta,
                applied_operations=label.applied_operations,
            )
        return out


class MarkRegionsd(MapTransform):
    """Convert probabilities (R, *spatial) to binary channels of the same type, see `Regions.mark`.

    Attributes:
        keeps_probabilities: whether they stay, uint8 in 1/255, under ``probabilities``.

    Args:
        keys: the predictions.
        regions: see `Regions`.
        threshold: probability above which a region is marked.
    """

    keeps_probabilities = False

    def __init__(
        self, keys: KeysCollection, regions: Mapping[str, Sequence[int]], threshold: float = 0.5
    ) -> None:
        super().__init__(keys)
        self.regions, self.threshold = Regions(regions), threshold

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            if self.keeps_probabilities:
                out[PROBABILITIES] = as_bytes(torch.as_tensor(out[key]))
            out[key] = self.regions.mark(out[key], self.threshold).to(out[key].dtype)
        return out


class RegionsToLabeld(MapTransform):
    """Convert region channels (R, *spatial) to an index mask (1, *spatial) of uint8.

    Args:
        keys: the predictions, marked by `Regions.mark`.
        regions: see `Regions`.
    """

    def __init__(self, keys: KeysCollection, regions: Mapping[str, Sequence[int]]) -> None:
        super().__init__(keys)
        self.regions = Regions(regions)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            mask = out[key]
            index = self.regions.to_index(torch.as_tensor(mask))[None]
            if isinstance(mask, MetaTensor):
                same = {"meta": mask.meta, "applied_operations": mask.applied_operations}
                index = MetaTensor(index, **same)
            out[key] = index
        return out
