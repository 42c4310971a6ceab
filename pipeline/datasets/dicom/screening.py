"""Tell slices of a volume from the other images of a study, by their headers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...transforms.modality import find_modality
from .headers import PAGE, image_types

if TYPE_CHECKING:
    from pydicom import Dataset

#: What all files of a series share, if they have it.
IDENTITY = (
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "SeriesNumber",
)
_NEEDED = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
_NUMBERS = ("RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit")
_PROJECTIONS = {"MIP", "MINIP", "MNIP", "PROJECTION", "CPR", "VRT", "SSD"}
_REFORMATTED = {"MPR", "REFORMATTED"}
RTSTRUCT = "RTSTRUCT"
CONTOURS = (
    "contours are not read: load them with their series in 3D Slicer, and save them as DICOM SEG "
    "or as masks in NIfTI"
)


class OtherImages(ValueError):
    """A series that does not consist of slices of the modality, as another beside it may."""


class Incidental(ValueError):
    """Images that a study holds beside its volumes, such as those that watch for a bolus."""


def refuse_other_modality(headers: Sequence[Dataset], modality: str | None) -> str:
    """Give the modality of the headers, one of ``MODALITIES``.

    Raises:
        OtherImages: it is not the one that is wanted, or not one of images.
        ValueError: there are several or none.
    """
    code = read_shared(headers, "modality", lambda h: str(h.get("Modality") or "unknown"))
    if code == "unknown":
        raise ValueError("it has no Modality: set it, such as to CT")
    found = find_modality(code)
    if found is None or found != (modality or found):
        fix = f"; {CONTOURS}" if code == RTSTRUCT else ""
        raise OtherImages(f"its modality is {code}, not {modality or 'one of images'}{fix}")
    return found


def refuse_other_images(headers: Sequence[Dataset], modality: str) -> None:
    """Refuse headers of a modality that are not those of slices, those of a CT in HU.

    Raises:
        OtherImages, Incidental, ValueError: see `arrange`.
    """
    if modality == "CT" and all(_words_of(header) & _PROJECTIONS for header in headers):
        raise OtherImages(f"it is a projection ({describe_types(headers[0])}), not slices")
    for name, counts in find_conflicts(headers).items():
        listing = ", ".join(str(count) for _, count in counts.most_common(5))
        raise ValueError(
            f"its files have {len(counts)} different {name} ({listing} files), so they are not one "
            "volume: put those of each into a folder of its own"
        )
    kind = read_shared(
        headers,
        "photometric interpretation",
        lambda header: header.get("PhotometricInterpretation") or "MONOCHROME2",
    )
    if kind != "MONOCHROME2":
        raise ValueError(f"its pixels are {kind}, not MONOCHROME2: export it again")
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in headers):
        raise ValueError("it has files of many frames: export it with one slice per file")
    if not any(header.get("ImagePositionPatient") for header in headers):
        raise Incidental(PAGE)
    for name in _NEEDED:
        if lacking := sum(not header.get(name) for header in headers):
            raise ValueError(f"{lacking} of {len(headers)} files have no {name}: export it again")
    _refuse_other_values(headers, modality)


def find_conflicts(headers: Iterable[Dataset]) -> dict[str, Counter[str]]:
    """Find what should be the same in all headers of a series, and count its different values."""
    known = list(headers)
    counts = {
        name: Counter(str(header.get(name)) for header in known if header.get(name))
        for name in IDENTITY
    }
    return {name: count for name, count in counts.items() if len(count) > 1}


def is_derived(header: Dataset) -> bool:
    """Whether a CT was computed from slices after the examination: PS3.3 C.7.6.1.1.2."""
    types = image_types(header)
    if find_modality(str(header.get("Modality"))) != "CT":
        return False
    secondary = types[1:2] == ["SECONDARY"] or bool(_words_of(header) & _REFORMATTED)
    return types[:1] == ["DERIVED"] and secondary


def describe_types(header: Dataset) -> str:
    """Write ImageType as DICOM does, such as ``DERIVED\\SECONDARY\\MPR``."""
    return "\\".join(image_types(header))


def read_shared(headers: Sequence[Dataset], name: str, value_of: Any) -> Any:
    """Find the value that all headers share."""
    counts = Counter(map(value_of, headers))
    if len(counts) > 1:
        listing = ", ".join(f"{value} ({count} files)" for value, count in counts.most_common(3))
        raise ValueError(f"its files differ in {name}: {listing}: keep those of one kind")
    return next(iter(counts))


def read_numbers(header: Dataset, name: str, count: int) -> np.ndarray:
    """Read the numbers of an element."""
    value = header[name].value
    try:
        numbers = np.array(value, dtype=float).ravel()
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        what = "a number" if count == 1 else f"{count} numbers"
        raise ValueError(f"its {name} is {value}, not {what}: export it again")
    return numbers


def _words_of(header: Dataset) -> set[str]:
    """The words of ImageType: makers put several into a value, such as ``CT_SOM5 MIP``."""
    return set(re.findall(r"[A-Z0-9]+", " ".join(image_types(header)).upper()))


def _refuse_other_values(headers: Sequence[Dataset], found: str) -> None:
    """Refuse a CT that is not in Hounsfield units, and a rescale that is not two numbers."""
    if any(header.get("ModalityLUTSequence") for header in headers):
        raise ValueError(
            "its values stand in a table (ModalityLUTSequence), which is not read: export it again "
            "with RescaleSlope and RescaleIntercept"
        )
    for name in ("RescaleSlope", "RescaleIntercept"):
        lacking = sum(header.get(name) is None for header in headers)
        if lacking and (found == "CT" or lacking < len(headers)):  # only a CT needs a unit
            needs = ", which Hounsfield units need" if found == "CT" else ""
            raise ValueError(f"{lacking} of {len(headers)} files have no {name}{needs}")
    for header in headers:
        for name in _NUMBERS:
            if header.get(name) is not None:
                read_numbers(header, name, 1)
        high, stored = header.get("HighBit"), header.get("BitsStored")
        if high is not None and stored and high != stored - 1:
            raise ValueError(
                f"its HighBit is {high} and its BitsStored {stored}, not one more: export it again"
            )
        if header.get("RescaleSlope") == 0:
            raise ValueError("its RescaleSlope is 0: export it again")
    if found != "CT":
        return
    unit = read_shared(headers, "rescale type", lambda header: header.get("RescaleType") or "HU")
    if unit not in ("HU", "HU_MOD", "US"):  # many CTs call their HU US, unspecified
        raise Incidental(f"its values are in {unit}, not in Hounsfield units (HU)")
