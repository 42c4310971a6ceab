"""Find where the voxels of each label value are: the possible centres of patches."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.transforms.utils import map_classes_to_indices

from .regions import Regions


class ClassIndicesd(MapTransform):
    """MONAI's ``ClassesToIndicesd``, for the background and each label value of the regions.

    The values need not be 0, 1, 2 ...: class 0 is all that is in no region, and the values of the
    regions follow in ascending order. Ignored voxels belong to no class. The indices of a mask
    (1, *spatial) stand under ``KEY_cls_indices``.

    Args:
        keys: the masks.
        regions: see `Regions`.
        ignore_label: the value that does not count.
        max_samples_per_class: how many indices are kept of a class.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Mapping[str, Sequence[int]],
        ignore_label: int | None = None,
        max_samples_per_class: int | None = None,
    ) -> None:
        super().__init__(keys)
        self.values, self.ignore_label = Regions(regions).known, ignore_label
        self.max_samples_per_class = max_samples_per_class

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            mask = out[key]
            classes = torch.zeros_like(mask)
            for place, value in enumerate(self.values, start=1):
                classes[mask == value] = place
            if self.ignore_label is not None:
                classes[mask == self.ignore_label] = -1
            out[f"{key}_cls_indices"] = map_classes_to_indices(
                classes,
                num_classes=len(self.values) + 1,
                max_samples_per_class=self.max_samples_per_class,
            )
        return out
