"""Index masks: several regions in one file, like the labels of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_mask(
    stem: str | Path,
    masks: np.ndarray,
    label_values: Sequence[Sequence[int]],
    *,
    affine: np.ndarray,
) -> Path:
    """Write regions as one index mask: PNG for an image, NIfTI for a volume.

    Args:
        stem: path of the file without its suffix.
        masks: boolean ``(R, *spatial)`` in MONAI's order: ``(R, W, H)`` of an image.
        label_values: per region its values in the mask: ``[[1, 2], [2]]`` for a structure of
            the values 1 and 2 with an inner part of value 2, and that part.
        affine: ``(4, 4)`` of a volume, voxels to mm (RAS); not used for an image.

    Returns:
        The path of the file.

    Raises:
        ValueError: the regions overlap in a way that no value of the mask can represent.
    """
    index = to_index(masks, label_values)
    suffix = ".png" if index.ndim == 2 else ".nii.gz"
    path = Path(f"{stem}{suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if index.ndim == 2:
        from PIL import Image

        Image.fromarray(np.ascontiguousarray(index.T)).save(path)
    else:
        import nibabel

        nibabel.save(nibabel.Nifti1Image(index, affine), path)
    return path


def read_mask(
    path: str | Path, label_values: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Read an index mask: boolean regions ``(R, *spatial)`` in MONAI's order, and the affine."""
    from monai.transforms import LoadImage

    index = LoadImage(image_only=True, ensure_channel_first=True)(path)
    return from_index(index.numpy()[0], label_values), index.affine.numpy()


def to_index(masks: np.ndarray, label_values: Sequence[Sequence[int]]) -> np.ndarray:
    """Boolean ``(R, *spatial)`` to uint8 ``(*spatial)``; raises like :func:`write_mask`."""
    regions = {
        value: [number for number, values in enumerate(label_values) if value in values]
        for value in sorted({value for values in label_values for value in values})
    }
    index = np.zeros(masks.shape[1:], dtype=np.uint8)
    # The value of most regions comes last, so that inner regions overwrite outer ones.
    for value, within in sorted(regions.items(), key=lambda entry: len(entry[1])):
        index[masks[within].all(axis=0)] = value
    if not np.array_equal(from_index(index, label_values), masks):
        raise ValueError(
            f"the regions do not fit into one mask with the values {list(label_values)}: "
            "the postprocessing must make them nested or disjoint, as the values are"
        )
    return index


def from_index(index: np.ndarray, label_values: Sequence[Sequence[int]]) -> np.ndarray:
    """Values ``(*spatial)`` to boolean ``(R, *spatial)``."""
    return np.stack([np.isin(index, values) for values in label_values])
