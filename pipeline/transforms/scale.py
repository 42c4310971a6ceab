"""Scale intensities to [0, 1], by a window or for each image by itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, ScaleIntensityRange, ScaleIntensityRangePercentiles

from ..errors import InputError


class ScaleWindowd(MapTransform):
    """Scale intensities (C, *spatial) linearly to [0, 1], and clip what lies beyond.

    A window fits values with a meaning of their own, such as Hounsfield units. Percentiles of each
    channel fit values without one, such as those of MR.

    Args:
        keys: the images.
        window: the values that become 0 and 1; None for percentiles.
        percentiles: of each channel of an image, 0 to 100; None for a window.

    Raises:
        InputError: not exactly one of the two is given.
    """

    def __init__(
        self,
        keys: KeysCollection,
        window: Sequence[float] | None = None,
        percentiles: Sequence[float] | None = None,
    ) -> None:
        super().__init__(keys)
        if (window is None) == (percentiles is None):
            raise InputError(
                f"hu_window is {window} and percentiles {percentiles}: give one, and null for the "
                "other."
            )
        if window is not None:
            self.scale = ScaleIntensityRange(*window, b_min=0.0, b_max=1.0, clip=True)
        else:
            self.scale = ScaleIntensityRangePercentiles(
                *percentiles, b_min=0.0, b_max=1.0, clip=True, channel_wise=True
            )

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.scale(out[key])
        return out
