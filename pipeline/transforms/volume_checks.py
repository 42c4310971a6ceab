"""What can be wrong with a volume that can be read: its grid, its values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import times
from .modality import OF_BODIES

if TYPE_CHECKING:
    from .volume_file import Volume

# mm at a corner of the volume, and share of a voxel; tools round affines differently.
_TOLERANCE, _TOLERANCE_SHARE = 0.1, 0.2
_THIN, _THICK = 0.1, 20.0  # mm; no scan of a body has smaller or larger voxels
_SKEW = 1e-3  # cosine of the angle between two axes
# HU. The darkest voxel of a body is fat or air; soft tissue is a large part of every scan.
_DARK = -90
_SOFT, _LEAST_SOFT = (-150, 250), 0.02
# HU. Scanners store 12 bits, -1024 to 3071, where metal is cut off at the upper end; or an extended
# scale for metal, -10240 to 30710 (Coolens and Childs, "Calibration of CT Hounsfield units for
# radiotherapy treatment planning of patients with metallic hip prostheses: the use of the extended
# CT-scale", Phys. Med. Biol. 48, 1591, 2003). Implants fill less than a twentieth of a scan; the
# surround of the circle that a scanner measures fills a fifth.
_DENSEST, _METAL, _MOST_METAL = 30710, 3071, 0.05
_FEW = 16  # values; scans have hundreds
_OR_NO_CT = '; or give another modality than CT ("modality" in a datalist, else --modality)'


def grid_problems(volume: Volume, *, modality: str = "CT") -> Iterator[tuple[str, str]]:
    """Yield the problems of the grid, each with a fix.

    Args:
        volume: its voxels, of which only the shape counts, and its affines.
        modality: of a scan of a body, which has no voxels as small as a microscope's.
    """
    shape, affine = volume.voxels.shape[:3], volume.affine
    if min(shape) < 2:
        yield f"has {min(shape)} slice: {times(shape)}", "give the whole volume"
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (spacing > 0).all():
        yield f"has a spacing of {times(spacing)} mm", "convert it again from its source"
        return
    scan = modality in OF_BODIES
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
    if volume.second is None:
        return
    if (shift := corner_shift(volume.second, affine, shape)) > _tolerance(affine):
        yield (
            f"has a qform and an sform that are up to {shift:.2g} mm apart",
            "set both to the right one, since programs differ in which they read",
        )


def corner_shift(one: Any, other: Any, shape: Sequence[int]) -> float:
    """Measure how far two (4, 4) affines are apart at the worst corner of a volume, in mm."""
    ends = [(0, length - 1) for length in shape]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)], dtype=np.float64)
    apart = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(np.linalg.norm((corners @ apart.T)[:, :3], axis=1).max())


def _tolerance(affine: Any) -> float:
    """How far apart a corner of two affines may be by rounding, in mm."""
    voxel = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0).min()
    return float(min(_TOLERANCE, _TOLERANCE_SHARE * voxel))


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
    if other is None or (apart := corner_shift(affine, other, shape)) <= _tolerance(other):
        return ""
    return f"a corner is {apart:.3g} mm apart"


def value_problems(voxels: np.ndarray, *, ct: bool, alone: bool) -> Iterator[tuple[str, str]]:
    """Yield the problems of an image's voxels, each with a fix.

    Args:
        voxels: the image.
        ct: whether they have to be Hounsfield units.
        alone: whether the case has no other channel; beside others, a mask may be one.
    """
    channels = np.moveaxis(voxels, 3, 0) if voxels.ndim == 4 else [voxels]
    if voxels.dtype.kind not in "iuf":
        yield f"holds values of type {voxels.dtype}", "save it with real numbers"
    elif bad := voxels.size - int(np.isfinite(voxels).sum()):
        yield f"holds {bad} voxels that are NaN or infinite", "replace them, by -1024 in a CT"
    elif flat := [low for each in channels if (low := each.min()) == each.max()]:
        yield f"holds nothing but the value {flat[0]:g}", "convert it again from its source"
    elif ct:
        if problem := hu_problem(voxels):
            yield problem
    elif alone and (few := few_values(voxels)) is not None:
        values = ", ".join(f"{each:g}" for each in few)
        yield f"holds only the values {values}, as labels do", "give the image and not its label"


def few_values(voxels: np.ndarray) -> np.ndarray | None:
    """Find the values of a volume that has at most ``_FEW``, all whole numbers; else None."""
    for part in (voxels.ravel("K")[::997], voxels):  # the sample spares most volumes the sorting
        values = np.unique(part)
        if len(values) > _FEW or (values % 1).any():
            return None
    return values


def hu_problem(voxels: np.ndarray) -> tuple[str, str] | None:
    """Say why the values of a volume are not Hounsfield units, and the fix; None if they may be."""
    low, high = voxels.min(), voxels.max()
    metal = np.mean(voxels >= _METAL)
    if high > _DENSEST or metal > _MOST_METAL:
        share = f"{100 * metal:.2g} % of them from {_METAL} on, as only metal is"
        if high > _DENSEST:
            share = f"and no scanner stores more than {_DENSEST}"
        fix = "replace what was not measured, such as padding, by -1024"
    else:
        soft = np.mean((voxels >= _SOFT[0]) & (voxels <= _SOFT[1]))
        if low <= _DARK and soft >= _LEAST_SOFT:
            return None
        share = f"{100 * soft:.0f} % of them soft tissue ({_SOFT[0]} to {_SOFT[1]})"
        fix = "apply the rescale slope and intercept of its DICOM"
    problem = f"is not in Hounsfield units: {low:.7g} to {high:.7g}, {share}"
    return problem, f"{fix}{_OR_NO_CT}"
