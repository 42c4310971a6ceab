"""Find the series of a modality in DICOM below a folder, and read one through ITK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .headers import OtherImages, SliceFile, arrange, read_slice

if TYPE_CHECKING:
    import numpy as np
    from nibabel import Nifti1Image

_MANY = 1000  # headers; a progress bar is shown from here on


@dataclass(frozen=True)
class Series:
    """One series; `read_series` reads one without a ``problem``."""

    uid: str  # empty if anonymization removed it
    number: str
    description: str
    patient: str
    files: tuple[Path, ...]  # along the slice axis, if there is no problem
    code: str = "CT"  # its modality in DICOM
    problem: str | None = None  # why it is not a volume of the modality
    is_wanted: bool = True  # slices of the modality, valid or not; not a scout or a screen capture
    affine: np.ndarray | None = field(default=None, compare=False, repr=False)  # (4, 4), mm, RAS
    shape: tuple[int, ...] = ()  # voxels: columns, rows, slices

    def __str__(self) -> str:
        """Name the series in a message."""
        title = f'"{self.description}", ' if self.description else ""
        name = " ".join(part for part in ("series", self.uid) if part)
        return f"{name} ({title}{len(self.files)} files in {self.folder})"

    @property
    def folder(self) -> Path:
        """The folder of its first file."""
        return self.files[0].parent


def find_series(folder: str | Path, *, modality: str | None = "CT") -> list[Series]:
    """Find every DICOM series below a folder, and check in the headers that it is a volume.

    Args:
        folder: with files of any names; those that are not DICOM are skipped.
        modality: that a volume has to be of, one of ``MODALITIES``; None for any of these.

    Returns:
        The series, by folder and number; the ``problem`` of each says what is wrong with it.

    Raises:
        FileNotFoundError: there is no such folder, or no DICOM file below it.
        ModuleNotFoundError: pydicom is not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of a DICOM series")
    try:
        import pydicom  # noqa: F401
    except ModuleNotFoundError as error:
        raise _missing("pydicom") from error
    groups: dict[tuple[str, ...], list[SliceFile]] = {}
    broken: dict[Path, str] = {}
    for path in _files(folder):
        try:
            item = read_slice(path)
        except ValueError as error:
            broken.setdefault(path.parent, str(error))
            continue
        if item is None:
            continue
        uid = str(item.header.get("SeriesInstanceUID") or "")
        # Anonymization may remove the identifier; the files of a folder are then one series.
        groups.setdefault((uid,) if uid else ("", str(path.parent)), []).append(item)
    if not groups:
        reason = f" ({next(iter(broken.values()))})" if broken else ""
        raise FileNotFoundError(
            f"no DICOM file below {folder}{reason}: give the folder of a series"
        )
    found = [_describe(slices, broken, modality) for slices in groups.values()]
    return sorted(found, key=lambda s: (str(s.folder), s.number.zfill(9), s.uid))


def select_series(
    folder: str | Path, *, uid: str | None = None, modality: str | None = "CT"
) -> Series:
    """Select the only series of a modality below a folder, or the one with the UID ``uid``.

    Raises:
        FileNotFoundError: there is no DICOM file, or no series with that UID.
        ValueError: the series is not a volume, or there are several and no ``uid`` is given.
    """
    found = find_series(folder, modality=modality)
    if uid is not None:
        found = [series for series in found if series.uid == uid]
        if not found:
            raise FileNotFoundError(f"no series {uid} below {folder}: give the UID of one in it")
    if not any(series.is_wanted for series in found):
        raise ValueError("; ".join(f"{series}: {series.problem}" for series in found[:3]))
    # A broken series counts beside a valid one, since it may be the one that was meant.
    found = [series for series in found if series.is_wanted]
    if len(found) > 1:
        listing = "; ".join(f"{s}{f': {s.problem}' if s.problem else ''}" for s in found[:5])
        kind = f"{modality} series" if modality else "series"
        raise ValueError(f"{len(found)} {kind} below {folder}: choose one by its UID: {listing}")
    if found[0].problem:
        raise ValueError(f"{found[0]}: {found[0].problem}")
    return found[0]


def read_series(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Read the voxels of a series through ITK, which decodes the compressions of DICOM.

    Returns:
        The volume ``(X, Y, Z)``, a CT in HU, int16 if all values are whole numbers, else float32;
        and its ``(4, 4)`` affine in mm, RAS, with axes and affine as in nibabel and MONAI.

    Raises:
        ValueError: the series has a problem, or a file cannot be decoded.
        ModuleNotFoundError: SimpleITK is not installed.
    """
    import numpy as np

    try:
        import SimpleITK as sitk
    except ModuleNotFoundError as error:
        raise _missing("SimpleITK") from error
    if series.problem is not None or series.affine is None:
        raise ValueError(f"{series}: {series.problem}")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in series.files])
    reader.SetOutputPixelType(sitk.sitkFloat32)  # slices may differ in their rescale
    try:
        image = reader.Execute()
    except RuntimeError as error:
        path, reason = _find_undecodable(series)
        raise ValueError(f"{series}: {path} cannot be decoded ({reason}): copy it again") from error
    array = sitk.GetArrayFromImage(image).T
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


def _files(folder: Path) -> Iterator[Path]:
    from rich.console import Console
    from rich.progress import track

    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    yield from track(
        paths,
        description="Reading DICOM headers",
        console=Console(stderr=True),
        transient=True,
        disable=len(paths) < _MANY,
    )


def _describe(slices: list[SliceFile], broken: dict[Path, str], modality: str | None) -> Series:
    header = slices[0].header
    about = {
        "uid": str(header.get("SeriesInstanceUID") or ""),
        "number": str(header.get("SeriesNumber") or ""),
        "description": _clean(header.get("SeriesDescription")),
        "patient": _clean(header.get("PatientID")),
        "code": _clean(header.get("Modality")),
    }
    files = tuple(item.path for item in slices)
    try:
        if torn := next((broken[path.parent] for path in files if path.parent in broken), None):
            raise ValueError(torn)  # the torn file may be a slice of this series
        ordered, affine = arrange(slices, modality=modality)
    except ValueError as error:
        other = isinstance(error, OtherImages)
        return Series(**about, files=files, problem=str(error), is_wanted=not other)
    except Exception as error:  # an element may have any type or length
        problem = f"its headers are malformed ({_clean(error)}): export it again"
        return Series(**about, files=files, problem=problem)
    shape = (int(header.Columns), int(header.Rows), len(ordered))
    return Series(**about, files=tuple(ordered), affine=affine, shape=shape)


def _find_undecodable(series: Series) -> tuple[Path, str]:
    """Find the first file that ITK cannot read alone, and its compression."""
    import pydicom
    import SimpleITK as sitk

    for path in series.files:
        try:
            sitk.ReadImage(str(path))
        except RuntimeError:
            return path, pydicom.dcmread(path, stop_before_pixels=True).file_meta.get(
                "TransferSyntaxUID", pydicom.uid.UID("")
            ).name or "no transfer syntax"
    return series.files[0], "its slices do not fit together"


def _clean(text: object) -> str:
    """Put a value of a header on one line, without control characters."""
    return re.sub(r"[\s\x00-\x1f]+", " ", str(text or "")).strip()


def _missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"DICOM needs {name}: pip install 'attention-unet-pipeline[data]'", name=name
    )
