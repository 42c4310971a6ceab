"""Put the slices of a DICOM series in order, or say why they do not make a volume.

ITK orders the slices and computes their spacing from the first and the last. A missing, duplicate,
tilted or unevenly placed slice then silently moves organs by millimetres, so it is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .headers import SliceFile
from .screening import Incidental, read_numbers, read_shared, refuse_other_images

if TYPE_CHECKING:
    from pydicom import Dataset

_LEAST_DRIFT, _DRIFT = 0.25, 0.00175  # mm, and mm per mm: 0.1 degrees, as by rounding
_UNEVEN, _UNEVEN_SHARE = 0.1, 0.2  # mm, and share of the slice distance
_SAME_PLACE = 1e-3  # mm
_FEW = 3  # places at most, of two or more images each, that watch for a bolus


def arrange(slices: Sequence[SliceFile], *, modality: str) -> tuple[list[SliceFile], np.ndarray]:
    """Put the slices of one series in order and locate them.

    Copies of a slice are dropped where their pixels are the same.

    Returns:
        The slices along their axis, and the ``(4, 4)`` affine, mm, RAS as in NIfTI, of an array
        ``(columns, rows, slices)``.

    Raises:
        OtherImages: these are not slices.
        Incidental: these do not look like a volume, but like images beside one.
        ValueError: these slices are not a volume, or those of a CT are not in Hounsfield units;
            the message says what to do.
    """
    headers = [item.header for item in slices]
    refuse_other_images(headers, modality)
    _refuse_own_rescales(slices)
    shape = read_shared(headers, "size", lambda h: f"{h.Columns} x {h.Rows} px")
    spacing = read_numbers(headers[0], "PixelSpacing", 2)
    orientation = read_numbers(headers[0], "ImageOrientationPatient", 6)
    read_shared(headers, "pixel spacing", _near(spacing, "PixelSpacing"))
    read_shared(headers, "orientation", _near(orientation, "ImageOrientationPatient"))
    if not (spacing > 0).all():
        raise ValueError(
            f"its pixel spacing is {spacing[0]:g} x {spacing[1]:g} mm: export it again"
        )
    along_row, along_column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if np.abs(lengths - 1).max() > 1e-2 or abs(along_row @ along_column) > 1e-2:
        raise ValueError(
            f"its orientation {orientation.tolist()} is not a pair of directions: export it again"
        )
    # Exactly at right angles, since rounding would shear and resize the voxels.
    along_row = along_row / lengths[0]
    along_column = along_column - (along_column @ along_row) * along_row
    along_column /= np.linalg.norm(along_column)
    normal = np.cross(along_row, along_column)

    positions = np.array([read_numbers(header, "ImagePositionPatient", 3) for header in headers])
    heights = positions @ normal
    order = _without_copies(slices, np.argsort(heights, kind="stable"), heights)
    heights, positions = heights[order], positions[order]
    if len(order) < 2:
        raise Incidental(f"it has one slice of {shape}, and a volume has two or more")
    drift = np.linalg.norm(
        positions - positions[0] - np.outer(heights - heights[0], normal), axis=1
    ).max()
    length = heights[-1] - heights[0]
    if drift > _LEAST_DRIFT + _DRIFT * length:
        angle = np.degrees(np.arctan2(drift, length))
        raise ValueError(
            f"its gantry was tilted by {angle:.1f} degrees: resample it to an upright grid"
        )
    ordered = [slices[index] for index in order]
    _refuse_gaps(ordered, heights)

    affine = np.eye(4)
    step = length / (len(order) - 1)
    affine[:3, :3] = np.transpose(
        [along_row * spacing[1], along_column * spacing[0], normal * step]
    )
    affine[:3, 3] = positions[0]
    return ordered, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's LPS to RAS


def _refuse_own_rescales(slices: Sequence[SliceFile]) -> None:
    """Refuse a file whose frames differ in their rescale: ITK takes that of one for all."""
    found: dict[Path, set[tuple[str, ...]]] = {}
    for path, header, *_ in slices:
        rescale = tuple(str(header.get(f"Rescale{name}")) for name in ("Slope", "Intercept"))
        found.setdefault(path, set()).add(rescale)
    if several := [path for path, rescales in found.items() if len(rescales) > 1]:
        raise ValueError(
            f"the frames of {several[0]} differ in their RescaleSlope or RescaleIntercept: export "
            "it with one slice per file"
        )


def _near(first: np.ndarray, name: str) -> Any:
    """Make a function that reads an element, as ``first`` where only the last digits differ."""

    def value_of(header: Dataset) -> tuple[float, ...]:
        own = read_numbers(header, name, len(first))
        near = np.allclose(own, first, rtol=0, atol=1e-3)
        return tuple((first if near else own).round(3).tolist())

    return value_of


def _without_copies(
    slices: Sequence[SliceFile], order: np.ndarray, heights: np.ndarray
) -> list[int]:
    """Drop slices at the height of the one before, if they are the same image."""
    kept: list[int] = []
    for index in order:
        if not kept or heights[index] - heights[kept[-1]] > _SAME_PLACE:
            kept.append(int(index))
            continue
        first, second = slices[kept[-1]], slices[index]
        if _is_copy(first, second):
            continue
        places = 1 + int((np.diff(heights[order]) > _SAME_PLACE).sum())
        if places <= _FEW and len(order) >= 2 * places:
            where = "one position" if places == 1 else f"{places} positions"
            raise Incidental(
                f"its {len(order)} images are at {where}, as those that watch for a bolus"
            )
        raise ValueError(
            f"{_name(first)} and {_name(second)} are different images at one position, "
            f"of {len(order)} slices: keep one phase or reconstruction"
        )
    return kept


def _is_copy(first: SliceFile, second: SliceFile) -> bool:
    """Compare the pixels of two files; the frames of a file are never copies."""
    import pydicom

    if first.path == second.path or first.frame != second.frame:
        return False
    one, other = (pydicom.dcmread(each.path, force=True) for each in (first, second))
    return one.get("PixelData") is not None and one.PixelData == other.get("PixelData")


def _name(item: SliceFile) -> str:
    """Name a slice in a message, with its folder, since a file in another may have its name."""
    frame = f" (frame {item.frame + 1})" if item.frame else ""
    return f"{item.path.parent.name}/{item.path.name}{frame}"


def _refuse_gaps(slices: Sequence[SliceFile], heights: np.ndarray) -> None:
    """Refuse slices at uneven distances, which an affine cannot describe."""
    even = np.linspace(heights[0], heights[-1], len(heights))
    steps = np.diff(heights)
    step = float(np.sort(steps)[(len(steps) - 1) // 2])
    if np.abs(heights - even).max() <= min(_UNEVEN, _UNEVEN_SHARE * step):
        return
    wide = steps > 1.5 * step
    multiples = np.abs(steps / step - np.rint(steps / step)).max() < 0.1
    if wide.mean() <= 0.5 and wide.any() and multiples:
        place = int(np.argmax(wide))
        lacking = int(np.rint(steps[wide] / step - 1).sum())
        raise ValueError(
            f"{lacking} {'slice is' if lacking == 1 else 'slices are'} missing, the first between "
            f"{slices[place].path.name} and {slices[place + 1].path.name}, {steps[place]:g} mm "
            f"apart instead of {step:g} mm: export the whole series"
        )
    raise ValueError(
        f"its slices are {steps.min():g} to {steps.max():g} mm apart: "
        "reconstruct or resample it at even distances"
    )
