"""Find the series of a modality in DICOM below a folder, and read one through ITK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...files import some
from ...lazy import load_optional
from ...transforms.modality import find_modality
from ...transforms.volume_checks import hu_problem
from .description import Series, describe_series, tell_torn
from .grouping import read_folder, split
from .pixels import read_planes

if TYPE_CHECKING:
    from nibabel import Nifti1Image

_AIR = -1024  # HU, the least that 12 bits hold


def find_series(
    folder: str | Path, *, modality: str | None = "CT", name: str | None = None
) -> list[Series]:
    """Find every DICOM series below a folder, and check in the headers that it is a volume.

    What is not a volume of the modality is not wanted: other modalities, scout views, captures of
    the screen. Where a study has a volume, so are images of a bolus that is awaited, single
    slices, protocol pages, and slices that were computed from others.

    Args:
        folder: with files of any names; those that are not DICOM are skipped.
        modality: that a volume has to be of, one of ``MODALITIES``; None for any of these.
        name: only series of this number, description or UID are wanted, these in any case.

    Returns:
        The series, by folder and number; the ``problem`` of each says what is wrong with it. A
        DICOM file of no series, or one that cannot be read, is one by itself.

    Raises:
        FileNotFoundError: there is no such folder, or no DICOM file below it.
        ModuleNotFoundError: pydicom is not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of a DICOM series")
    load_optional("pydicom", need="DICOM needs", extra="data")
    groups, torn, indices = read_folder(folder)
    if not (groups or torn or indices):
        raise FileNotFoundError(f"no DICOM file below {folder}: give the folder of a series")
    found = [describe_series(part, torn, modality) for group in groups for part in split(group)]
    # A torn file may be a slice, and is told with the series of its folder.
    told = {path for each in found if each.is_wanted for path in each.torn}
    found += [
        Series(
            tuple(faults), code="", problem=tell_torn(faults).removeprefix(f"{next(iter(faults))} ")
        )
        for faults in torn.values()
        if not told.issuperset(faults)
    ]
    found += [
        Series((path,), code="", problem="it is the index of a disc (DICOMDIR)", is_wanted=False)
        for path in indices
    ]
    found = _choose(found, name) if name else _leave_incidental(found)
    return sorted(found, key=lambda s: (str(s.folder), s.number.zfill(9), s.uid))


def no_series(name: str, found: Sequence[Series], folder: str | Path) -> str:
    """Say that no series has a name, and which there are."""
    if named := [f"{each}: {each.problem}" for each in found if each.has_name(name)]:
        return f"no series {name} below {folder} is a volume: {some(named)}"
    volumes = [each for each in found if each.affine is not None] or found
    there = some([f'{each.number or "no number"} "{each.description}"' for each in volumes])
    return (
        f"no series {name} below {folder}: give the number, the description or the UID of one "
        f"in it: {there}"
    )


def read_series(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Read the voxels of a series through ITK, which decodes the compressions of DICOM.

    Returns:
        The volume ``(X, Y, Z)``, a CT in HU with -1024 where the scanner measured nothing, int16 if
        all values are whole numbers, else float32; and its ``(4, 4)`` affine in mm, RAS, with axes
        and affine as in nibabel and MONAI.

    Raises:
        ValueError: the series has a problem, a file cannot be decoded, also for want of SimpleITK,
            or the values of a CT are not Hounsfield units.
    """
    if series.problem is not None or series.affine is None:
        raise ValueError(f"{series}: {series.problem}")
    ct = find_modality(series.code) == "CT"
    try:
        planes = read_planes(series.slices, series.shape[1::-1], empty=_AIR if ct else 0)
    except ValueError as error:
        raise ValueError(f"{series}: {error}") from error
    array = planes.T
    if ct and (problem := hu_problem(array)):
        fix = "its rescale or its padding is wrong: export it again"  # a NIfTI is mended otherwise
        raise ValueError(f"{series}: it {problem[0]}: {fix}")
    whole = np.rint(array)
    limits = np.iinfo(np.int16)
    if np.array_equal(whole, array) and limits.min <= array.min() <= array.max() <= limits.max:
        array = whole.astype(np.int16)
    return array, series.affine


def write_nifti(path: str | Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume ``(X, Y, Z)`` with its affine, mm, RAS, so that all readers find it."""
    import nibabel

    nibabel.save(as_nifti(array, affine), path)


def as_nifti(array: np.ndarray, affine: np.ndarray) -> Nifti1Image:
    """Make the same in memory."""
    import nibabel

    volume = nibabel.Nifti1Image(array, affine)
    volume.header.set_xyzt_units("mm")
    # ITK reads the qform and nibabel the sform, so both are set.
    volume.set_sform(affine, code="scanner")
    volume.set_qform(affine, code="scanner")
    return volume


def _leave_incidental(found: list[Series]) -> list[Series]:
    """Leave out what a study has beside its volumes."""

    def study_of(series: Series) -> tuple[object, ...]:
        return series.study or series.patient or series.folder, series.patient, series.code

    volumes = {study_of(s) for s in found if s.is_wanted and not s.problem}
    originals = {study_of(s) for s in found if s.is_wanted and not (s.problem or s.incidental)}
    return [
        replace(s, problem=f"{s.incidental}, beside a volume of its study", is_wanted=False)
        if s.incidental and study_of(s) in (volumes if s.problem else originals)
        else s
        for s in found
    ]


def _choose(found: list[Series], name: str) -> list[Series]:
    """Want the series of a name and no other."""
    others = f'it is not the series "{name}" that was chosen'
    return [
        replace(each, problem=others, is_wanted=False)
        if each.is_wanted and not each.has_name(name)
        else each
        for each in found
    ]
