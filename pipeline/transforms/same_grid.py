"""A label that does not lie on its image's voxels is refused, not resampled."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..errors import InputError

TOLERANCE = 0.05  # mm; tools round affines differently


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
            shapes = tuple(label.shape[1:]), tuple(int(each) for each in image["spatial_shape"])
            own = torch.as_tensor(image.get("original_affine", label.affine))  # pictures have none
            apart = (label.affine.double().cpu() - own.double().cpu()).abs().max()
            if shapes[0] != shapes[1] or apart > TOLERANCE:
                how = (
                    f"{_size(shapes[0])} and {_size(shapes[1])}"
                    if shapes[0] != shapes[1]
                    else f"affines that differ by up to {apart:.3g} mm"
                )
                raise InputError(
                    f"label {label.meta.get('filename_or_obj')} is not on the grid of "
                    f"{image.get('filename_or_obj')}: {how}; resample it to the image, without "
                    "interpolation of its values."
                )
        return out


def _size(shape: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, shape))} {'px' if len(shape) == 2 else 'voxels'}"
