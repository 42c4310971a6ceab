"""A label that does not lie on its image's voxels is refused, not resampled."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..errors import InputError

TOLERANCE = 0.1  # mm at a corner of the volume; tools round affines differently


def corner_shift(one: Any, other: Any, shape: Sequence[int]) -> float:
    """How far two (4, 4) affines are apart at the worst corner of a volume, in mm."""
    ends = [(0, length - 1) for length in shape]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)], dtype=np.float64)
    apart = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(np.linalg.norm((corners @ apart.T)[:, :3], axis=1).max())


def grid_difference(
    shape: Sequence[int], affine: Any, other_shape: Sequence[int], other: Any
) -> str:
    """How the grids of a label and of its image differ; empty where they do not.

    Args:
        shape, affine: of the label; ``(*spatial)`` and (4, 4) in mm.
        other_shape, other: of the image; the affine is None for a picture, which has none.
    """
    if tuple(shape) != tuple(other_shape):
        return f"{_size(shape)} and {_size(other_shape)}"
    apart = 0.0 if other is None else corner_shift(affine, other, shape)
    return f"a corner is {apart:.3g} mm apart" if apart > TOLERANCE else ""


class SameGridd(MapTransform):
    """Check that labels have the shape and, as volumes, the affine of their image's file.

    Stands right after the label was loaded; the image may have been transformed before.

    Args:
        keys: the labels, MetaTensors (1, *spatial).
        image_key: the image.
        allow_missing_keys: see MONAI's ``MapTransform``.

    Raises:
        InputError: names the two files, and how their grids differ.
    """

    def __init__(
        self, keys: KeysCollection, *, image_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        out = dict(data)
        image = out[self.image_key].meta
        for key in self.key_iterator(out):
            label = out[key]
            own = image.get("original_affine")
            own = None if own is None else torch.as_tensor(own).cpu()
            size = [int(length) for length in image["spatial_shape"]]
            if how := grid_difference(label.shape[1:], label.affine.cpu(), size, own):
                raise InputError(
                    f"label {label.meta.get('filename_or_obj')} is not on the grid of "
                    f"{image.get('filename_or_obj')}: {how}; resample it to the image, without "
                    "interpolation of its values."
                )
        return out


def _size(shape: Sequence[int]) -> str:
    return f"{' x '.join(map(str, shape))} {'px' if len(shape) == 2 else 'voxels'}"
