"""Write a mask as a DICOM segmentation (SEG) of its series."""

from __future__ import annotations

import colorsys
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..datasets.dicom.segmentation import import_highdicom
from ..datasets.dicom.series import Series
from ..errors import InputError
from ..files import replacing

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

    from ..transforms.regions import Regions

log = logging.getLogger(__name__)


class Meaning(NamedTuple):
    """What a segment is, by keywords of SNOMED CT in DICOM PS3.16, and its colour in viewers.

    What has no code of its own is tissue, as in 3D Slicer; its label says which.
    """

    category: str  # CID 7150
    type: str  # CID 7154 (abdomen) or CID 7159 (lesions)
    colour: tuple[int, int, int]  # RGB
    region: str | None = None  # CID 4, if the type does not say it


_GOLDEN = 0.618  # part of the circle of hues from one colour to the next, which stay apart
#: Without one of these, viewers cannot lay the mask on its series.
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID")
_OF_ALL = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID")
#: These may be empty in DICOM, and anonymization removes them.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


def write_dicom_seg(
    path: str | Path,
    mask: np.ndarray,
    regions: Regions,
    series: Series,
    *,
    meanings: Mapping[str, Meaning],
    algorithm: str,
    version: str,
) -> Path:
    """Write an index mask as a binary DICOM segmentation with a segment per region.

    Every region becomes a segment with all that lies inside it, so segments may overlap. They are
    numbered from 1 in the order of the regions. One without a voxel says that the structure was
    looked for and not found. All segments have a frame for each slice
    from the first to the last that holds anything, since viewers misplace segments with gaps
    between their frames and hang on segments without a frame. An empty mask has one empty frame
    per segment, in the middle slice. Frames lie exactly on their slices of the series and refer to
    them. Two calls with the same arguments differ only in UIDs and dates.

    If anonymization emptied the UIDs of the study and the series, the segmentation gets new ones,
    with a warning: readers find its place by the frame of reference and the images.

    Args:
        path: file to write.
        mask: ``(X, Y, Z)``, unsigned integers, on the grid of
            :func:`pipeline.datasets.dicom.read_series`; 0 is background.
        regions: their names and the values of each.
        series: the series; its headers are read again.
        meanings: what the regions are, by name; see `Meaning` for others.
        algorithm: name of what made the mask, as a viewer shows it.
        version: of the algorithm.

    Returns:
        The path.

    Raises:
        InputError: the mask or the headers of the series do not fit.
        OSError: the file cannot be written.
        ModuleNotFoundError: the optional dependency is not installed.
    """
    highdicom = import_highdicom()
    import torch

    path = Path(path)
    _check_mask(mask, regions, series)
    headers = _headers(series, mask.shape)
    marked = np.flatnonzero(mask.any(axis=(0, 1)))
    first, last = (marked[0], marked[-1]) if marked.size else (len(headers) // 2,) * 2
    held = np.ascontiguousarray(mask[:, :, first : last + 1].T, np.uint8)  # (slices, rows, columns)
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=headers,
            # (slices, rows, columns, segments)
            pixel_array=np.moveaxis(regions.from_index(torch.from_numpy(held)).numpy(), 0, -1),
            plane_positions=[
                highdicom.PlanePositionSequence("PATIENT", header.ImagePositionPatient)
                for header in headers[first : last + 1]
            ],
            segmentation_type="BINARY",
            segment_descriptions=[
                _segment(number, name, meanings, algorithm, version)
                for number, name in enumerate(regions.names, 1)
            ],
            omit_empty_frames=False,
            series_instance_uid=highdicom.UID(),
            series_number=300,
            series_description=f"{algorithm} segmentation"[:64],
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="attention-unet-pipeline",
            manufacturer_model_name=algorithm[:64],
            software_versions=version[:64],
            device_serial_number="1",
            content_label="SEGMENTATION",
        )
        segmentation.ContentCreatorName = ""  # required, and no person made it
        with replacing(path, sync=True, alone=True) as temporary:
            segmentation.save_as(temporary, enforce_file_format=True)
    except (AttributeError, TypeError, ValueError) as error:  # what odd headers can make
        raise InputError(
            f"{series}: its headers do not fit into a DICOM SEG ({error}): export it again"
        ) from error
    return path


def _check_mask(mask: np.ndarray, regions: Regions, series: Series) -> None:
    if series.problem is not None:
        raise InputError(f"{series}: {series.problem}")
    if len(series.slices) != len(series.files):
        raise InputError(f"{series} has multi-frame files, to which this command cannot refer")
    if mask.dtype.kind not in "bu":
        raise InputError(f"the mask holds {mask.dtype}: give unsigned integers")
    if mask.ndim != 3 or mask.shape[2] != len(series.files):
        raise InputError(
            f"the mask has the grid {mask.shape} but {series} has {len(series.files)} slices: "
            "give a mask on the grid of read_series"
        )
    if strange := sorted(set(np.unique(mask).tolist()) - {0, *regions.known}):
        raise InputError(
            f"the mask has the value {strange[0]}, which the regions {regions.names} lack"
        )


def _headers(series: Series, shape: tuple[int, ...]) -> list[Dataset]:
    """Read the headers of the series, and complete what a segmentation copies from them."""
    import pydicom

    headers = [pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in series.files]
    for header in headers:
        for name in ("SOPClassUID", "SOPInstanceUID"):  # which the file's own header repeats
            if not header.get(name):
                setattr(header, name, header.file_meta.get(f"MediaStorage{name}", ""))
    count = len(headers)
    for name in _NEEDED:
        if lacking := sum(not header.get(name) for header in headers):
            raise InputError(
                f"{series}: {lacking} of {count} files have no {name}, which a DICOM SEG refers "
                "to: export it again"
            )
    for name in _OF_ALL[:2]:
        if not any(header.get(name) for header in headers):
            own = pydicom.uid.generate_uid(entropy_srcs=[headers[0].FrameOfReferenceUID, name])
            for header in headers:
                setattr(header, name, own)
            log.warning("%s has no %s: its DICOM SEG gets a new one", series, name)
    for name, expected in {**dict.fromkeys(_OF_ALL, 1), "SOPInstanceUID": count}.items():
        values = len({header.get(name) for header in headers})
        if values != expected:
            raise InputError(
                f"{series}: its {count} files have {values} different {name}, not {expected}, so "
                "a DICOM SEG cannot refer to them: export it again"
            )
    first = headers[0]
    if (first.Columns, first.Rows) != shape[:2]:
        raise InputError(
            f"the mask has the grid {shape} but the slices of {series} have {first.Columns} x "
            f"{first.Rows} px: give a mask on the grid of read_series"
        )
    step = float(np.linalg.norm(series.affine[:3, 2]))
    # The texts of a segmentation are those of its first image.
    for name in _MAY_BE_EMPTY:
        if name not in first:
            setattr(first, name, "")
    if first.PatientSex not in ("", "F", "M", "O"):
        first.PatientSex = ""
    try:
        pydicom.valuerep.DA(first.PatientBirthDate)
    except ValueError:
        first.PatientBirthDate = ""
    first.decode()  # from the character sets of the series; East Asian ones mix several
    first.SpecificCharacterSet = "ISO_IR 192"
    for header in headers:
        # These differ in the last digits.
        header.ImageOrientationPatient = first.ImageOrientationPatient
        # Scanners write other things here; readers take it for the distance of the frames.
        header.SpacingBetweenSlices = step
        header.SliceThickness = header.get("SliceThickness") or step
    return headers


def _segment(
    number: int, name: str, meanings: Mapping[str, Meaning], algorithm: str, version: str
) -> SegmentDescription:
    """Describe one segment."""
    import highdicom
    from pydicom.sr.codedict import codes

    hue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.7, 1)
    generic = Meaning("Tissue", "Tissue", tuple(round(255 * part) for part in hue))
    meaning = meanings.get(name, generic)
    region = getattr(codes.SCT, meaning.region) if meaning.region else None
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=getattr(codes.SCT, meaning.category),
        segmented_property_type=getattr(codes.SCT, meaning.type),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm, version=version, family=codes.DCM.ArtificialIntelligence
        ),
        anatomic_regions=[region] if region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*meaning.colour),
    )
