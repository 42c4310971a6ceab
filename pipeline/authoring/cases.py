"""Measure one case: its image, and the shape of each region in its label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ..errors import ADVICE, InputError
from ..evaluation.surface import find_box
from ..transforms.read import ReadImaged

_MANY = 2_000_000  # voxels of a region's box above which its thickness is measured on fewer


@dataclass(frozen=True)
class RegionFacts:
    """The shape of a region in one case.

    Attributes:
        amount: volume in ml, or share of the picture.
        parts: connected parts, diagonal neighbours included.
        thickness: in mm or px; of a long strip its width, of a disc 4/3 of its radius.
        extent: its bounding box, as a share of the image along each axis.
    """

    amount: float
    parts: int
    thickness: float
    extent: list[float]


@dataclass(frozen=True)
class CaseFacts:
    """What one case is like.

    Attributes:
        size: voxels in RAS order, or pixels, width first.
        cropped: the same without the background around the body.
        spacing: mm in RAS order; 1 for pictures.
        foreground: intensities inside the regions, all channels together.
        minimum: smallest intensity.
        zeros: share of the intensities that are 0.
        regions: by name, those that it has.
    """

    size: list[int]
    cropped: list[int]
    spacing: list[float]
    foreground: np.ndarray
    minimum: float
    zeros: float
    regions: Mapping[str, RegionFacts]


def measure_case(
    images: Sequence[Path],
    label: Path,
    *,
    regions: Mapping[str, Sequence[int]],
    channels: int,
    modality: str,
    threshold: float | None,
    spatial_dims: int,
) -> CaseFacts:
    """Read and measure one case.

    Args:
        images: its file, or one for each channel.
        label: its mask.
        regions: label values by name.
        channels: that the image must have.
        modality: of CT, the values must be Hounsfield units.
        threshold: the background around the body is at or below it; None if there is none.
        spatial_dims: 2 for pictures, 3 for volumes.

    Raises:
        InputError: a file cannot be read, or does not fit the others.
    """
    arrays, spacing = _read(images, spatial_dims, channels=channels, modality=modality)
    (mask, *more), _ = _read([label], spatial_dims, is_label=True)
    if more or arrays.shape[1:] != mask.shape:
        raise InputError(
            f"{label}: it has {1 + len(more)} channels of {mask.shape}, and its image has "
            f"{arrays.shape[1:]}; give one channel of the image's size. {ADVICE}"
        )
    body = np.zeros(mask.shape, bool)
    for array in arrays:
        body |= array > threshold if threshold is not None else True
    kept = body[find_box(body)].shape if body.any() else mask.shape
    step = max(1, round((mask.size / 1e6) ** (1 / mask.ndim)))
    thin = np.stack([array[(slice(None, None, step),) * mask.ndim] for array in arrays])
    masks = {name: np.isin(mask, list(values)) for name, values in regions.items()}
    marked = np.logical_or.reduce(list(masks.values()))
    return CaseFacts(
        size=list(mask.shape),
        cropped=list(kept),
        spacing=spacing,
        foreground=np.concatenate([array[marked] for array in arrays]).astype(np.float32),
        minimum=float(min(array.min() for array in arrays)),
        zeros=float((thin == 0).mean()),
        regions={name: measure_region(m, spacing) for name, m in masks.items() if m.any()},
    )


def measure_region(inside: np.ndarray, spacing: Sequence[float]) -> RegionFacts:
    """Measure a region (*spatial) that is not empty, on voxels of ``spacing``."""
    box = find_box(inside)
    cut = inside[box]
    parts = ndimage.label(cut, np.ones((3,) * cut.ndim))[1]
    step = max(1, math.ceil((cut.size / _MANY) ** (1 / cut.ndim)))
    fewer = cut[(slice(None, None, step),) * cut.ndim]
    fewer = fewer if fewer.any() else cut
    pace = [s * (step if fewer is not cut else 1) for s in spacing]
    depth = ndimage.distance_transform_edt(np.pad(fewer, 1), sampling=pace)
    depth = depth[depth > 0] - min(pace) / 2  # to the edge, not to the next voxel's centre
    size = inside.sum() * math.prod(spacing) / 1000 if inside.ndim == 3 else inside.mean()
    return RegionFacts(
        amount=float(size),
        parts=int(parts),
        thickness=float(4 * depth.mean()),
        extent=[(p.stop - p.start) / n for p, n in zip(box, inside.shape, strict=True)],
    )


def _read(files: Sequence[Path], spatial_dims: int, **image: Any) -> tuple[np.ndarray, list[float]]:
    """Read (C, *spatial) as a training does, in RAS order or width first; and the spacing."""
    from monai.transforms import Orientation

    read = ReadImaged("file", ensure_channel_first=True, spatial_dims=spatial_dims, **image)
    array = read({"file": [str(path) for path in files]})["file"]
    if spatial_dims == 2:
        return array.numpy(), [1.0, 1.0]
    array = Orientation("RAS", labels=None)(array)
    return array.numpy(), array.pixdim.tolist()
