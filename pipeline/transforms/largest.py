"""Keep the largest connected parts of a region, at the cost of the region's extent."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import KeepLargestConnectedComponentd, generate_spatial_bounding_box

from ..errors import InputError


class KeepLargestInBoxd(KeepLargestConnectedComponentd):
    """MONAI's ``KeepLargestConnectedComponentd``, on the box around all that is not 0.

    Options and result are the same. An organ fills a small part of a CT, and labelling the whole
    of a large CT takes ten seconds.

    Raises:
        InputError: ``num_components`` is below 1.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (count := self.converter.num_components) < 1:
            raise InputError(f"components is {count}; give how many parts to keep, 1 or more.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            start, end = generate_spatial_bounding_box(out[key])
            box = (slice(None), *map(slice, start, end))
            if out[key][box].numel():
                out[key] = out[key].clone()
                out[key][box] = self.converter(out[key][box])
        return out
