"""Cut patches out of cached volumes, as plain tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.transforms import RandCropByLabelClassesd, Randomizable, Transform


class PlainPatches(Randomizable, Transform):
    """Run MONAI's ``RandCropByLabelClassesd`` without metadata, which cost more than the patches.

    The patches are the same. Another transform is run as it is.

    Args:
        patches: cuts patches; it draws them.
    """

    def __init__(self, patches: Transform) -> None:
        self.patches = patches

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> PlainPatches:
        if isinstance(self.patches, Randomizable):
            self.patches.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> Any:
        patches = self.patches
        if type(patches) is not RandCropByLabelClassesd:
            return patches(data)
        label = data[patches.label_key]
        patches.randomize(label, data.get(patches.indices_key), data.get(patches.image_key))
        sizes = patches.cropper.spatial_size
        found = []
        for centre in patches.cropper.centers:
            starts = [max(c - size // 2, 0) for c, size in zip(centre, sizes, strict=True)]
            place = [slice(s, s + size) for s, size in zip(starts, sizes, strict=True)]
            found.append({key: data[key][..., *place] for key in patches.keys})
        return found
