"""What can be wrong with a volume by itself: its file, its grid, its values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_THIN, _THICK = 0.1, 20.0  # mm; no CT of a body has voxels beyond these
_SKEW = 1e-3  # cosine of the angle between two axes


class Volume(NamedTuple):
    """The voxels ``(X, Y, Z)`` of a NIfTI, and its ``(4, 4)`` affine in mm."""

    voxels: np.ndarray
    affine: np.ndarray


class UnfitVolume(ValueError):
    """A file that is whole, and no volume of one number per voxel: the problem and its fix."""


def read_volume(path: Path) -> Volume:
    """Read a NIfTI with three dimensions and one number per voxel.

    Raises:
        UnfitVolume: it is something else.
        Exception: what nibabel raises about a broken file, which is about anything.
    """
    import nibabel
    import numpy as np

    file = nibabel.load(path)
    if file.get_data_dtype().names:
        raise UnfitVolume("holds colours (RGB), no numbers", "save it in grey")
    shape = file.shape
    if len(shape) == 4 and shape[3] == 1:
        raise UnfitVolume(f"is 4D: {_times(shape)}", "remove the last axis, which has one entry")
    if len(shape) != 3:
        raise UnfitVolume(f"is {len(shape)}D: {_times(shape)}", "save one volume per file")
    return Volume(np.asanyarray(file.dataobj), file.affine)


def grid_problems(path: Path, volume: Volume) -> Iterator[tuple[str, str]]:
    """Problems of the grid, each with a fix."""
    import nibabel
    import numpy as np

    shape, affine = volume.voxels.shape, volume.affine
    if min(shape) < 2:
        yield f"has {min(shape)} slice: {_times(shape)}", "give the whole volume"
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (spacing > 0).all():
        yield f"has a spacing of {_times(spacing)} mm", "convert it again from its source"
        return
    if spacing.min() < _THIN or spacing.max() > _THICK:
        yield f"has a spacing of {_times(spacing)} mm", "say the spacing in mm, not cm or m"
    directions = affine[:3, :3] / spacing
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > _SKEW:
        angle = 90 - np.degrees(np.arcsin(min(cosines.max(), 1)))
        yield (
            f"its axes are not at right angles but {angle:.1f} degrees",
            "resample it to an upright grid: a tilted gantry or a registration made it so",
        )
    header = nibabel.load(path).header
    if not (hasattr(header, "get_qform") and header["qform_code"] and header["sform_code"]):
        return
    from ..transforms.same_grid import TOLERANCE, corner_shift

    if (shift := corner_shift(header.get_qform(), header.get_sform(), shape)) > TOLERANCE:
        yield (
            f"its qform and sform are up to {shift:.1f} mm apart",
            "programs differ in which they read: set both to the right one",
        )


def value_problems(voxels: np.ndarray, *, ct: bool) -> Iterator[tuple[str, str]]:
    """Problems of the voxels of an image, each with a fix.

    Args:
        voxels: the image.
        ct: whether they have to be Hounsfield units.
    """
    import numpy as np

    if voxels.dtype.kind not in "iuf":
        yield f"holds values of type {voxels.dtype}", "save it with real numbers"
        return
    if bad := voxels.size - int(np.isfinite(voxels).sum()):
        yield f"holds {bad} voxels that are NaN or infinite", "replace them, by -1024 in a CT"
        return
    low, high = voxels.min(), voxels.max()
    if low == high:
        yield f"holds nothing but the value {low:g}", "convert it again from its source"
        return
    from ..transforms.read import hu_problem

    if ct and (problem := hu_problem(voxels)):
        yield (
            problem,
            "apply the rescale slope and intercept of its DICOM; "
            'if it is no CT, its datalist, or the bundle\'s metadata, has to give the "modality"',
        )


def _times(numbers: object) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
