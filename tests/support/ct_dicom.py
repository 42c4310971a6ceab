"""A CT volume as a DICOM series, one file per slice, for tests of what reads such series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.dicom.series import Series, find_series

_DAY, _TIME = "20200101", "120000"


def select_series(folder: Path, **options: str | None) -> Series:
    """The only series that is wanted; the problem of one that is not a volume is an error."""
    found = find_series(folder, **options)
    wanted = [each for each in found if each.is_wanted] or found
    if faults := [f"{each}: {each.problem}" for each in wanted if each.problem]:
        raise ValueError("; ".join(faults))
    (series,) = wanted
    return series


def write_dicom_series(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    patient: str = "phantom",
    description: str = "CT phantom",
    number: int = 1,
    slope: float = 1.0,
    intercept: float = -1024.0,
    change: Callable[[int, Any], None] | None = None,
    **tags: Any,
) -> list[Path]:
    """Write CT images (DICOM PS3.3 A.3) with the attributes that their modules require.

    The same arguments give the same identifiers; two series of one ``patient`` share their study
    and frame of reference. The names of the files say nothing about their order.

    Args:
        folder: where to add the files.
        array: HU, ``(X, Y, Z)``; ``array[:, :, k]`` becomes one file, X its columns, Y its rows.
        affine: maps voxel indices to mm, RAS, ``(4, 4)``, with columns at right angles.
        patient: ID and family name.
        description: of the series.
        number: of the series.
        slope: HU per stored value.
        intercept: HU of the stored value 0.
        change: called with the index and the dataset of each slice before it is written.
        tags: elements of all slices, in the place of those written otherwise.

    Returns:
        The files, in the order of the slices.
    """
    pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = np.diag((-1.0, -1.0, 1.0)) @ affine[:3, :3] / spacing  # RAS to DICOM's LPS
    stored = np.rint((array - intercept) / slope)
    study = generate_uid(entropy_srcs=[patient, "study"])
    frame = generate_uid(entropy_srcs=[patient, "frame of reference"])
    series = generate_uid(entropy_srcs=[patient, description, str(number), str(tags)])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{(k * 7 + 3) % 997:02d} ä {number}" for k in range(array.shape[2])]
    for k, path in enumerate(paths):
        place = np.diag((-1.0, -1.0, 1.0)) @ (affine @ (0, 0, k, 1))[:3]
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
        image.SpecificCharacterSet = "ISO_IR 192"
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.SOPClassUID = meta.MediaStorageSOPClassUID
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = _DAY
        image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = _TIME
        image.Modality, image.Manufacturer = "CT", "drawn by code"
        image.AccessionNumber = image.ReferringPhysicianName = image.PositionReferenceIndicator = ""
        image.PatientName, image.PatientID = f"{patient}^", patient
        image.PatientBirthDate = image.PatientSex = ""
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = frame
        image.StudyID, image.SeriesNumber, image.AcquisitionNumber = "1", number, 1
        image.SeriesDescription, image.InstanceNumber = description, k + 1
        image.PatientPosition, image.BodyPartExamined, image.KVP = "HFS", "ABDOMEN", 120
        image.SliceThickness = _decimal(spacing[2])
        image.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]  # rows, columns
        image.ImagePositionPatient = [_decimal(value) for value in place]
        image.ImageOrientationPatient = [_decimal(value) for value in axes[:, :2].T.ravel()]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = array.shape[1], array.shape[0]
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = 0
        image.RescaleSlope, image.RescaleIntercept = _decimal(slope), _decimal(intercept)
        image.RescaleType = "HU"
        image.WindowCenter, image.WindowWidth = 40, 400
        image.PixelData = stored[:, :, k].T.astype("<u2").tobytes()
        for name, value in tags.items():
            setattr(image, name, value)
        if change:
            change(k, image)
        image.save_as(path, enforce_file_format=True)
    return paths


def _decimal(value: float) -> str:
    """A DICOM decimal string: 16 characters at most."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))
