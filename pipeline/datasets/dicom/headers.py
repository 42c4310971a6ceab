"""Read the header of a DICOM file: the slices in it, or why it holds none."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...transforms.content import read_start

if TYPE_CHECKING:
    from pydicom import Dataset

#: The elements that are read, which is much faster than to read the whole header.
TAGS = [
    "BitsAllocated", "BitsStored", "Columns", "FrameOfReferenceUID", "HighBit",
    "ImageOrientationPatient", "ImagePositionPatient", "ImageType", "Modality",
    "ModalityLUTSequence", "NumberOfFrames", "PatientID", "PatientName",
    "PerFrameFunctionalGroupsSequence", "PhotometricInterpretation", "PixelPaddingRangeLimit",
    "PixelPaddingValue", "PixelRepresentation", "PixelSpacing", "RescaleIntercept", "RescaleSlope",
    "RescaleType", "Rows", "SOPClassUID", "SamplesPerPixel", "SeriesDescription",
    "SeriesInstanceUID", "SeriesNumber", "SharedFunctionalGroupsSequence", "StudyInstanceUID",
]  # fmt: skip
_DICOMDIR = "1.2.840.10008.1.3.10"
_CLASS = "1.2.840.10008.5.1.4.1.1."
_DEFLATED = "1.2.840.10008.1.2.1.99"
_CAPTURE = "7"
_SLICES = {"2": "CT", "4": "MR", "128": "PT"}  # classes of images, and the modality of each
_ENDINGS = (".dcm", ".dicom", ".ima")
#: Of an image without a place, such as a page of the protocol.
PAGE = "it has no position (ImagePositionPatient), as a page of the protocol has none"
_START = 132  # bytes: the preamble, and the mark DICM
#: The functional groups that hold what a file of one slice has at its top: PS3.3 C.7.6.16.2.
_GROUPS = (
    "PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence",
    "PixelValueTransformationSequence", "CTImageFrameTypeSequence",
)  # fmt: skip


class SliceFile(NamedTuple):
    """One slice: a file, or a frame of it."""

    path: Path
    header: Dataset
    frame: int = 0
    stray: str = ""  # why it is not a slice of a volume
    fault: str = ""  # why its pixels cannot be read


class DiscIndex(ValueError):
    """A DICOMDIR, the index of a disc."""


def read_slices(path: Path) -> list[SliceFile]:
    """Read the header of a DICOM file, with or without preamble and file meta, as ITK does.

    Returns:
        Its slice, or a slice for each frame of an enhanced multi-frame CT; none if the file is
        not DICOM.

    Raises:
        DiscIndex: it is the index of a disc.
        ValueError: it starts like DICOM, or its name says so, and it cannot be read.
    """
    import pydicom

    try:
        start = read_start(path, _START)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}: allow reading it") from error
    if not _is_dicom(start):
        if _is_packed(path, start):
            raise ValueError(f"{path} is DICOM packed by gzip: unpack it")
        if is_torn(path, start):
            raise ValueError(f"{path} is not DICOM: copy it again, or remove it")
        return []
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=TAGS)
        header.SOPClassUID = header.get("SOPClassUID") or header.file_meta.get(
            "MediaStorageSOPClassUID", ""
        )
        if not header.get("Modality"):  # which anonymization may remove
            header.Modality = _SLICES.get(_class_of(header), "")
    except Exception as error:  # pydicom raises about anything on a broken file
        raise ValueError(f"{path} cannot be read: {error}: copy it again") from error
    if header.SOPClassUID == _DICOMDIR:
        raise DiscIndex(f"{path} is the index of a disc")
    known = header.SOPClassUID or header.get("Modality") or header.get("SeriesInstanceUID")
    of_slices = _SLICES.get(_class_of(header)) == header.Modality
    if not known or (of_slices and not header.get("Rows")):
        raise ValueError(f"{path} is cut off or not an image: copy it again, or remove it")
    stray, fault = _find_stray(header), _find_fault(path, header)
    if header.Modality == "CT" and header.get("PerFrameFunctionalGroupsSequence"):
        return [
            SliceFile(path, frame, number, _find_stray(frame), fault)
            for number, frame in enumerate(_split_frames(header))
        ]
    return [SliceFile(path, header, 0, stray, fault)]


def image_types(header: Dataset) -> list[str]:
    """List the values of ImageType, such as ``["DERIVED", "SECONDARY", "MPR"]``."""
    value = header.get("ImageType") or []
    return [value] if isinstance(value, str) else [str(each) for each in value]


def _is_dicom(start: bytes) -> bool:
    """Tell DICOM by its mark, or by a first element of group 0002 or 0008 without one."""
    if start[128:] == b"DICM":
        return True
    if start[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        return False
    # Then the kind of the value in two letters, or a length in four bytes.
    return bool(re.match(rb"[A-Z]{2}", start[4:6])) or start[6:8] == b"\0\0"


def _is_packed(path: Path, start: bytes) -> bool:
    if not start.startswith(b"\x1f\x8b"):
        return False
    try:
        with gzip.open(path) as file:
            return _is_dicom(file.read(_START))
    except (OSError, EOFError, zlib.error):
        return False


def is_torn(path: Path, start: bytes = b"") -> bool:
    """Whether a file that does not start like DICOM was meant to be, by its name and start."""
    ending = path.suffix.lower()
    if ending in _ENDINGS:
        return True
    binary = not start or b"\0" in start or start.startswith(b"version https://git-lfs")
    return binary and not re.search("[a-z]", ending)


def is_encoded(meta: Dataset) -> bool:
    """Whether the pixels are compressed, or encoded in a way that is not of DICOM."""
    syntax = meta.get("TransferSyntaxUID")
    return bool(syntax) and (not syntax.is_transfer_syntax or syntax.is_compressed)


def _class_of(header: Dataset) -> str:
    """Give the first number of the file's class below those of DICOM's images, such as 7."""
    uid = str(header.SOPClassUID)
    return uid.removeprefix(_CLASS).split(".")[0] if uid.startswith(_CLASS) else ""


def _find_stray(header: Dataset) -> str:
    """Say why an image is not a slice; empty if it may be one."""
    types = image_types(header)
    if "LOCALIZER" in types:
        return "it is a scout view (LOCALIZER)"
    if _class_of(header) == _CAPTURE:
        return "it is a picture of the screen (secondary capture)"
    if not header.get("Rows"):
        return "it holds no image"
    colour = not str(header.get("PhotometricInterpretation") or "MONO").startswith("MONO")
    if colour or header.get("SamplesPerPixel", 1) != 1:
        return "it is in colour"
    placed = header.get("ImagePositionPatient") or header.get("PerFrameFunctionalGroupsSequence")
    if types[:1] == ["DERIVED"] and not placed:
        return PAGE
    return ""


def _find_fault(path: Path, header: Dataset) -> str:
    """Say that a file is too short for its pixels."""
    if is_encoded(header.file_meta) or header.file_meta.get("TransferSyntaxUID") == _DEFLATED:
        return ""
    sizes = [header.get(name) for name in ("Rows", "Columns", "BitsAllocated")]
    frames = int(header.get("NumberOfFrames") or 1)
    short = sizes[0] and not (all(sizes) and path.stat().st_size >= math.prod(sizes) * frames // 8)
    return f"{path} is too short for its pixels: copy it again" if short else ""


def _split_frames(header: Dataset) -> Iterator[Dataset]:
    """Make of each frame's functional groups a header, as a file of one slice has it."""
    from pydicom import Dataset

    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for own in header.PerFrameFunctionalGroupsSequence:
        frame = Dataset()
        frame.update({e.tag: e for e in header if e.VR != "SQ" and e.keyword != "NumberOfFrames"})
        for name in _GROUPS:
            for item in own.get(name) or shared[0].get(name) or ():
                frame.update(item)
        if "FrameType" in frame:
            frame.ImageType = frame.FrameType
        yield frame
