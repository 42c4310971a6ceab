"""Refuse a label that does not lie on its image's voxels, rather than resample it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..errors import InputError
from .volume_checks import grid_difference


class SameGridd(MapTransform):
    """Check that labels have the shape and, as volumes, the affine of their image's file.

    It comes right after the label is loaded; the image may have been transformed already.

    Args:
        keys: the labels, MetaTensors (1, *spatial).
        image_key: the image.
        allow_missing_keys: see MONAI's ``MapTransform``.

    Raises:
        InputError: names the two files and says how their grids differ.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        allow_missing_keys: bool = False,
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
