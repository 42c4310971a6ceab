"""What can be wrong with a volume: its file, its grid, its values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_TOLERANCE = 0.1  # mm at a corner of the volume; tools round affines differently
_OF_BODIES = ("CT", "MR", "PET")
_THIN, _THICK = 0.1, 20.0  # mm; no scan of a body has smaller or larger voxels
_SKEW = 1e-3  # cosine of the angle between two axes
# HU. The darkest voxel of a body is fat or air; soft tissue is a large part of every scan.
_DARK = -90
_SOFT, _LEAST_SOFT = (-150, 250), 0.02


class Volume(NamedTuple):
    """The voxels ``(X, Y, Z)`` of a NIfTI, and its ``(4, 4)`` affine in mm."""

    voxels: np.ndarray
    affine: np.ndarray


class UnfitVolume(ValueError):
    """An intact file that is not a volume of one number per voxel: the problem and its fix."""


def read_volume(path: Path, *, channels: int = 1) -> Volume:
    """Read a NIfTI with three dimensions and one number per voxel; see `read_header`."""
    header = read_header(path, channels=channels)
    return Volume(np.asanyarray(header.voxels), header.affine)


def read_header(path: Path, *, channels: int = 1) -> Volume:
    """Read the same without its voxels, of which there is only the shape.

    Args:
        path: of the file.
        channels: with more than one, a fourth axis may hold as many.

    Raises:
        UnfitVolume: it is something else.
        Exception: what nibabel raises about a broken file, which is about anything.
    """
    import nibabel

    file = nibabel.load(path)
    if file.get_data_dtype().names:
        raise UnfitVolume("holds colours (RGB), not numbers", "save it in grey")
    shape = file.shape
    if len(shape) == 4 and shape[3] == channels > 1:
        return Volume(file.dataobj, file.affine)
    if len(shape) == 4 and shape[3] == 1:
        raise UnfitVolume(f"is 4D: {times(shape)}", "remove the last axis, which has one entry")
    if len(shape) != 3:
        raise UnfitVolume(f"is {len(shape)}D: {times(shape)}", "save one volume per file")
    return Volume(file.dataobj, file.affine)


def grid_problems(path: Path, volume: Volume, *, modality: str = "CT") -> Iterator[tuple[str, str]]:
    """Yield the problems of the grid, each with a fix.

    Args:
        path: of the file.
        volume: its voxels, of which only the shape counts, and its affine.
        modality: of a scan of a body, which has no voxels as small as a microscope's.
    """
    import nibabel

    shape, affine = volume.voxels.shape[:3], volume.affine
    if min(shape) < 2:
        yield f"has {min(shape)} slice: {times(shape)}", "give the whole volume"
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (spacing > 0).all():
        yield f"has a spacing of {times(spacing)} mm", "convert it again from its source"
        return
    scan = modality in _OF_BODIES
    if scan and (spacing.min() < _THIN or spacing.max() > _THICK):
        yield f"has a spacing of {times(spacing)} mm", "give the spacing in mm, not in cm or m"
    directions = affine[:3, :3] / spacing
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > _SKEW:
        angle = 90 - np.degrees(np.arcsin(min(cosines.max(), 1)))
        yield (
            f"has axes that are not at right angles but at {angle:.1f} degrees",
            "resample it to an upright grid: a tilted gantry or a registration is the cause",
        )
    header = nibabel.load(path).header
    if not (hasattr(header, "get_qform") and header["qform_code"] and header["sform_code"]):
        return
    if (shift := corner_shift(header.get_qform(), header.get_sform(), shape)) > _TOLERANCE:
        yield (
            f"has a qform and an sform that are up to {shift:.1f} mm apart",
            "set both to the right one, since programs differ in which they read",
        )


def corner_shift(one: Any, other: Any, shape: Sequence[int]) -> float:
    """Measure how far two (4, 4) affines are apart at the worst corner of a volume, in mm."""
    ends = [(0, length - 1) for length in shape]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)], dtype=np.float64)
    apart = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(np.linalg.norm((corners @ apart.T)[:, :3], axis=1).max())


def grid_difference(
    shape: Sequence[int], affine: Any, other_shape: Sequence[int], other: Any
) -> str:
    """Say how the grids of a label and of its image differ; empty where they do not.

    Args:
        shape, affine: of the label; ``(*spatial)`` and (4, 4) in mm.
        other_shape, other: of the image; the affine of a picture is None.
    """
    if tuple(shape) != tuple(other_shape):
        return f"{times(shape)} instead of {times(other_shape)}"
    apart = 0.0 if other is None else corner_shift(affine, other, shape)
    return f"a corner is {apart:.3g} mm apart" if apart > _TOLERANCE else ""


def value_problems(voxels: np.ndarray, *, ct: bool) -> Iterator[tuple[str, str]]:
    """Yield the problems of an image's voxels, each with a fix.

    Args:
        voxels: the image.
        ct: whether they have to be Hounsfield units.
    """
    if voxels.dtype.kind not in "iuf":
        yield f"holds values of type {voxels.dtype}", "save it with real numbers"
        return
    if bad := voxels.size - int(np.isfinite(voxels).sum()):
        yield f"holds {bad} voxels that are NaN or infinite", "replace them, by -1024 in a CT"
        return
    low, high = voxels.min(), voxels.max()
    if low == high:
        yield f"holds nothing but the value {low:g}", "convert it again from its source"
    elif ct and (problem := hu_problem(voxels)):
        yield (
            problem,
            'apply the rescale of its DICOM, or give the datalist another "modality" than CT',
        )


def hu_problem(voxels: np.ndarray) -> str:
    """Say why the values of a volume are not Hounsfield units; empty if they may be."""
    low, high = voxels.min(), voxels.max()
    soft = np.mean((voxels >= _SOFT[0]) & (voxels <= _SOFT[1]))
    if low <= _DARK and soft >= _LEAST_SOFT:
        return ""
    return (
        f"is not in Hounsfield units: {low:g} to {high:g}, "
        f"{100 * soft:.0f} % of them soft tissue ({_SOFT[0]} to {_SOFT[1]})"
    )


def times(numbers: Iterable[float]) -> str:
    """Write sizes as ``4 x 5 x 6``."""
    return " x ".join(f"{number:g}" for number in numbers)
