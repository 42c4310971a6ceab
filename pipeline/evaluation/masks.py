"""Index masks: several regions in one file, like the labels of the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.channels import is_volume
from ..errors import UnfitFile
from ..transforms import picture
from ..transforms.volume_file import read_volume

if TYPE_CHECKING:
    from ..transforms.regions import Regions


def write_mask(
    stem: str | Path, masks: np.ndarray, regions: Regions, *, affine: np.ndarray
) -> Path:
    """Write regions as one index mask: PNG for a picture, NIfTI for a volume.

    Args:
        stem: path of the file without its suffix.
        masks: boolean ``(R, *spatial)`` in MONAI's order: ``(R, W, H)`` of a picture.
        regions: their label values.
        affine: ``(4, 4)`` of a volume, voxels to mm (RAS); not used for a picture.

    Returns:
        The path of the file.

    Raises:
        ValueError: the regions overlap in a way that no value of the mask can represent.
    """
    import torch

    marked = torch.from_numpy(masks)
    index = regions.to_index(marked)
    if not torch.equal(regions.from_index(index), marked):
        raise ValueError(
            f"the regions do not fit into one mask with the values {regions.values}: "
            "the postprocessing must make them nested or disjoint, as the values are"
        )
    index = index.numpy()
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    if index.ndim == 2:
        from PIL import Image

        path = Path(f"{stem}.png")
        Image.fromarray(np.ascontiguousarray(index.T)).save(path)
    else:
        import nibabel

        path = Path(f"{stem}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(index, affine), path)
    return path


def read_regions(path: str | Path, regions: Regions) -> tuple[np.ndarray, np.ndarray]:
    """Read an index mask: boolean regions ``(R, *spatial)`` in MONAI's order, and the affine.

    Raises:
        UnfitFile: it cannot be read, or has several channels.
    """
    import torch

    if not is_volume(path):
        index, affine = picture.read_mask(path), np.eye(4)
        if index.ndim == 3:
            raise UnfitFile("is in colour", "export the mask again with one channel")
        index = index.T  # MONAI has the width first
    else:
        volume = read_volume(path, is_label=True)
        index, affine = volume.voxels, volume.affine
    marked = regions.from_index(torch.as_tensor(np.ascontiguousarray(index, np.float32)))
    return marked.numpy(), affine
