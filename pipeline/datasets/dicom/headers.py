"""Read the headers of a DICOM series: its slices in order, or why they do not make a volume.

ITK orders the slices and computes their spacing from the first and the last. A missing, duplicate,
tilted or unevenly placed slice then silently moves organs by millimetres, so it is refused here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...transforms.modality import find_modality

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset

#: The elements that are read, which is much faster than to read the whole header.
TAGS = [
    "BitsAllocated", "Columns", "ImageOrientationPatient", "ImagePositionPatient", "ImageType",
    "Modality", "NumberOfFrames", "PatientID", "PhotometricInterpretation", "PixelSpacing",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "Rows", "SOPClassUID", "SamplesPerPixel",
    "SeriesDescription", "SeriesInstanceUID", "SeriesNumber",
]  # fmt: skip
_NEEDED = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
_DICOMDIR = "1.2.840.10008.1.3.10"
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_LEAST_DRIFT, _DRIFT = 0.25, 0.00175  # mm, and mm per mm: 0.1 degrees, as by rounding
_UNEVEN, _UNEVEN_SHARE = 0.1, 0.2  # mm, and share of the slice distance


class OtherImages(ValueError):
    """A series that does not consist of slices of the modality, as another beside it may."""


class SliceFile(NamedTuple):
    """One file and its header."""

    path: Path
    header: Dataset


def read_slice(path: Path) -> SliceFile | None:
    """Read the header of a DICOM file; None for other files and for a DICOMDIR.

    Raises:
        ValueError: the file starts like DICOM but cannot be read.
    """
    import pydicom

    try:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}: allow reading it") from error
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
    except Exception as error:  # pydicom raises about anything on a broken file
        raise ValueError(f"{path} cannot be read: {error}: copy it again") from error
    if header.file_meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
        return None
    if "Modality" not in header and "SeriesInstanceUID" not in header:
        raise ValueError(f"{path} is cut off or not an image: copy it again, or remove it")
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax and not syntax.is_compressed and not syntax.is_deflated:
        bits = [header.get(name) for name in ("Rows", "Columns", "BitsAllocated")]
        if all(bits) and path.stat().st_size < math.prod(bits) // 8:
            raise ValueError(f"{path} lacks pixels: copy it again")
    return SliceFile(path, header)


def arrange(
    slices: Sequence[SliceFile], *, modality: str | None = "CT"
) -> tuple[list[Path], np.ndarray]:
    """Put the slices of one series in order and locate them.

    Copies of a slice are dropped where their pixels are the same.

    Args:
        slices: of the series.
        modality: that they have to be of, one of ``MODALITIES``; None for any of these.

    Returns:
        The files along the slice axis, and the ``(4, 4)`` affine, mm, RAS as in NIfTI, of an array
        ``(columns, rows, slices)``.

    Raises:
        OtherImages: these are not slices of the modality.
        ValueError: these slices are not a volume, or those of a CT are not in Hounsfield units;
            the message says what to do.
    """
    import numpy as np

    headers = [item.header for item in slices]
    _refuse_other_images(headers, modality)
    shape = _find_shared(headers, "size", lambda h: f"{h.Columns} x {h.Rows} px")
    spacing = _read_numbers(headers[0], "PixelSpacing", 2)
    orientation = _read_numbers(headers[0], "ImageOrientationPatient", 6)
    _find_shared(headers, "pixel spacing", _near(spacing, "PixelSpacing"))
    _find_shared(headers, "orientation", _near(orientation, "ImageOrientationPatient"))
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

    positions = np.array([_read_numbers(header, "ImagePositionPatient", 3) for header in headers])
    heights = positions @ normal
    order = _without_copies(slices, np.argsort(heights, kind="stable"), heights)
    heights, positions = heights[order], positions[order]
    if len(order) < 2:
        raise ValueError(f"it has one slice of {shape}: a volume needs two or more")
    drift = np.linalg.norm(
        positions - positions[0] - np.outer(heights - heights[0], normal), axis=1
    ).max()
    length = heights[-1] - heights[0]
    if drift > _LEAST_DRIFT + _DRIFT * length:
        angle = np.degrees(np.arctan2(drift, length))
        raise ValueError(
            f"its gantry was tilted by {angle:.1f} degrees: resample it to an upright grid"
        )
    files = [slices[index].path for index in order]
    _refuse_gaps(files, heights)

    affine = np.eye(4)
    step = length / (len(order) - 1)
    affine[:3, :3] = np.transpose(
        [along_row * spacing[1], along_column * spacing[0], normal * step]
    )
    affine[:3, 3] = positions[0]
    return files, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's LPS to RAS


def _refuse_other_images(headers: Sequence[Dataset], modality: str | None) -> None:
    """Refuse headers that are not those of slices of the modality, those of a CT in HU."""
    code = _find_shared(headers, "modality", lambda header: header.get("Modality") or "unknown")
    found = find_modality(code)
    if found is None or found != (modality or found):
        raise OtherImages(f"its modality is {code}, not {modality or 'one of images'}")
    scouts = ["LOCALIZER" in (header.get("ImageType") or ()) for header in headers]
    if all(scouts):
        raise OtherImages("it is a scout view (LOCALIZER)")
    if any(scouts):
        raise ValueError(f"{sum(scouts)} of its files are scout views (LOCALIZER): remove them")
    if any(str(header.get("SOPClassUID")).startswith(_CAPTURE) for header in headers):
        raise OtherImages("it is a picture of the screen (secondary capture)")
    if any(header.get("SamplesPerPixel", 1) != 1 for header in headers):
        raise OtherImages("it is in colour")
    kind = _find_shared(
        headers,
        "photometric interpretation",
        lambda header: header.get("PhotometricInterpretation") or "MONOCHROME2",
    )
    if kind != "MONOCHROME2":
        raise ValueError(f"its pixels are {kind}, not MONOCHROME2: export it again")
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in headers):
        raise ValueError("it has files of many frames: export it with one slice per file")
    for name in _NEEDED:
        if lacking := sum(not header.get(name) for header in headers):
            raise ValueError(f"{lacking} of {len(headers)} files have no {name}: export it again")
    for name in ("RescaleSlope", "RescaleIntercept"):
        lacking = sum(header.get(name) is None for header in headers)
        if found != "CT" and lacking == len(headers):
            continue  # only a CT needs a unit
        if lacking:
            needs = ", which Hounsfield units need" if found == "CT" else ""
            raise ValueError(f"{lacking} of {len(headers)} files have no {name}{needs}")
        for header in headers:
            _read_numbers(header, name, 1)
    if any(float(header.get("RescaleSlope", 1)) == 0 for header in headers):
        raise ValueError("its RescaleSlope is 0: export it again")
    if found != "CT":
        return
    unit = _find_shared(headers, "rescale type", lambda header: header.get("RescaleType") or "HU")
    if unit not in ("HU", "HU_MOD", "US"):  # many CTs call their HU US, unspecified
        raise ValueError(f"its values are in {unit}, not in Hounsfield units (HU)")


def _find_shared(headers: Sequence[Dataset], name: str, value_of: Any) -> Any:
    """Find the value that all headers share."""
    counts = Counter(map(value_of, headers))
    if len(counts) > 1:
        listing = ", ".join(f"{value} ({count} files)" for value, count in counts.most_common(3))
        raise ValueError(f"its files differ in {name}: {listing}: keep those of one kind")
    return next(iter(counts))


def _near(first: np.ndarray, name: str) -> Any:
    """Make a function that reads an element, as ``first`` where only the last digits differ."""
    import numpy as np

    def value_of(header: Dataset) -> tuple[float, ...]:
        own = _read_numbers(header, name, len(first))
        near = np.allclose(own, first, rtol=0, atol=1e-3)
        return tuple((first if near else own).round(3).tolist())

    return value_of


def _read_numbers(header: Dataset, name: str, count: int) -> np.ndarray:
    """Read the numbers of an element."""
    import numpy as np

    value = header[name].value
    try:
        numbers = np.array(value, dtype=float).ravel()
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        what = "a number" if count == 1 else f"{count} numbers"
        raise ValueError(f"its {name} is {value}, not {what}: export it again")
    return numbers


def _without_copies(
    slices: Sequence[SliceFile], order: np.ndarray, heights: np.ndarray
) -> list[int]:
    """Drop slices at the height of the one before, if they are the same image."""
    import pydicom

    kept: list[int] = []
    for index in order:
        if not kept or heights[index] - heights[kept[-1]] > 1e-3:
            kept.append(int(index))
            continue
        paths = [slices[kept[-1]].path, slices[index].path]
        first, second = (pydicom.dcmread(path).get("PixelData") for path in paths)
        if first is None or first != second:
            raise ValueError(
                f"{paths[0].name} and {paths[1].name} are different images at one position, "
                f"of {len(order)} files: keep one phase or reconstruction"
            )
    return kept


def _refuse_gaps(files: Sequence[Path], heights: np.ndarray) -> None:
    """Refuse slices at uneven distances, which an affine cannot describe."""
    import numpy as np

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
            f"{files[place].name} and {files[place + 1].name}, {steps[place]:g} mm apart instead "
            f"of {step:g} mm: export the whole series"
        )
    raise ValueError(
        f"its slices are {steps.min():g} to {steps.max():g} mm apart: "
        "reconstruct or resample it at even distances"
    )
