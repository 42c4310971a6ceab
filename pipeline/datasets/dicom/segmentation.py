"""Read DICOM segmentations (SEG) as labels on the slices of their series."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from ...errors import InputError, one_line
from ...lazy import load_optional
from .series import Series

SEG = "SEG"  # the modality of a segmentation in DICOM
_SAME = 1e-3  # mm, and cosine: headers are rounded


def find_segmentations(found: Iterable[Series], wanted: Sequence[Series]) -> dict[str, list[Path]]:
    """Find among all that was found the segmentations of each wanted series, by its UID.

    Raises:
        InputError: a segmentation refers to several of the series.
    """
    import pydicom

    uids = {series.uid for series in wanted if series.uid}
    paths: dict[str, list[Path]] = {}
    for path in (path for series in found if series.code == SEG for path in series.files):
        header = pydicom.dcmread(path, force=True, specific_tags=["ReferencedSeriesSequence"])
        referred = {
            str(item.get("SeriesInstanceUID"))
            for item in header.get("ReferencedSeriesSequence") or ()
        }
        if len(here := referred & uids) > 1:
            raise InputError(
                f"{path}: it is a segmentation of {len(here)} series; export it again."
            )
        for uid in here:
            paths.setdefault(uid, []).append(path)
    return paths


def import_highdicom() -> ModuleType:
    """Import the optional library that reads and writes DICOM SEG.

    Raises:
        ModuleNotFoundError: it is not installed; says how to.
    """
    return load_optional("highdicom", need="DICOM SEG needs", extra="data")


def read_segments(paths: Sequence[Path], series: Series) -> dict[str, np.ndarray]:
    """Read the segments of one or more segmentations of a series.

    Returns:
        ``{segment's label: mask}``, each ``(X, Y, Z)`` bool on the grid of `read_series`.

    Raises:
        InputError: a file is not on the slices of the series, or two segments have one label.
        ModuleNotFoundError: highdicom is not installed.
    """
    import pydicom

    highdicom = import_highdicom()
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        for path in series.files
    ]
    uids = [str(header.SOPInstanceUID) for header in headers]
    segments: dict[str, np.ndarray] = {}
    for path in paths:
        try:
            seg = highdicom.seg.segread(path)
            _refuse_other_grid(seg, headers[0], uids)
            pixels = seg.get_pixels_by_source_instance(
                uids,
                assert_missing_frames_are_empty=True,
                ignore_spatial_locations=True,  # compared above
            )
            names = [seg.get_segment_description(n).segment_label for n in seg.segment_numbers]
        except Exception as error:  # highdicom raises about anything
            raise InputError(
                f"{path}: it cannot be read on the slices of {series} ({one_line(error)}); export "
                "it again, or give its masks as NIfTI."
            ) from error
        for number, name in enumerate(map(str.strip, names)):
            if name in segments:
                raise InputError(f"{path}: {series} has two segments {name}; keep one.")
            segments[name] = pixels[..., number].T >= 0.5  # (X, Y, Z); a fraction counts from half
    return segments


_TAGS = ["SOPInstanceUID", "Rows", "Columns", "ImageOrientationPatient", "PixelSpacing"]


def _refuse_other_grid(seg, header, uids: Sequence[str]) -> None:  # types of pydicom
    """Refuse a segmentation whose frames do not lie on the slices of the series."""
    strange = {str(uid) for _, _, uid in seg.get_source_image_uids()} - set(uids)
    if strange:
        raise ValueError(f"it refers to {len(strange)} images that are not in the series")
    if (seg.Rows, seg.Columns) != (header.Rows, header.Columns):
        raise ValueError(
            f"it is {seg.Columns} x {seg.Rows} px, and the slices {header.Columns} x {header.Rows}"
        )
    shared, first = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence[0]
    for group, name in (
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    ):
        own = (shared.get(group) or first.get(group))[0][name].value
        if np.abs(np.subtract(own, header[name].value)).max() > _SAME:
            raise ValueError(f"its {name} is {list(own)}, not {header[name].value}")
