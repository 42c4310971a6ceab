"""Bring a picture of any size to that of the network, in little time and memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Resize
from monai.transforms.utils import scale_affine
from torch.nn.functional import interpolate

_BAND = 256  # rows of a picture that are floating-point numbers at a time


class ResizePictured(MapTransform, InvertibleTransform):
    """MONAI's ``Resized`` of the longest side, with torch's antialiased bilinear interpolation.

    A pixel is the mean of those under a triangle, twice as wide as the pixel itself. MONAI's own
    anti-aliasing is a Gaussian filter of about that width over the whole picture: of 12 megapixels
    that takes seconds and a gigabyte. Its inverse, and ``RestoreGridd``, interpolate linearly.

    Args:
        keys: the pictures (C, W, H).
        spatial_size: pixels of the longest side.
        allow_missing_keys: see ``MapTransform``.
    """

    def __init__(
        self, keys: KeysCollection, spatial_size: int, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spatial_size = spatial_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            image, before = out[key], out[key].shape[1:]
            scale = self.spatial_size / max(before)
            # To a width of 1 px, torch's antialiased interpolation gives all rows the same value.
            size = [max(2, round(side * scale)) for side in before]
            same = {"meta": image.meta, "applied_operations": image.applied_operations}
            small = MetaTensor(resize(image, size), **same)
            place = {"sp_size": size, "affine": scale_affine(before, size), "orig_size": before}
            out[key] = self.push_transform(small, **place)
        return out

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            size = self.pop_transform(out[key])["orig_size"]
            with self.trace_transform(False):
                out[key] = Resize(size, mode="bilinear")(out[key])
        return out


def resize(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize a picture (C, W, H) to ``size``; the result is float32 and has the width first.

    The rows are resized one band after the other, and then all columns: the filter is separable.
    """
    rows = image.as_tensor() if isinstance(image, MetaTensor) else image
    rows = rows.transpose(1, 2)[None]  # as they lie in memory
    how = {"mode": "bilinear", "antialias": True}
    narrow = [
        interpolate(band.float(), (band.shape[2], size[0]), **how) for band in rows.split(_BAND, 2)
    ]
    return (
        interpolate(torch.cat(narrow, 2), tuple(size[::-1]), **how)[0].transpose(1, 2).contiguous()
    )
