"""What is known of a DICOM series from its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...walk import LeftOut
from .arrange import arrange
from .headers import PAGE, SliceFile
from .screening import (
    Incidental,
    OtherImages,
    describe_types,
    is_derived,
    refuse_other_modality,
)


@dataclass(frozen=True)
class Series:
    """One series; `read_series` reads one without a ``problem``."""

    files: tuple[Path, ...]  # along the slice axis, if there is no problem
    uid: str = ""  # empty if anonymization removed it
    number: str = ""
    description: str = ""
    patient: str = ""
    code: str = "CT"  # its modality in DICOM; empty if the files are of no series
    problem: str | None = None  # why it is not a volume of the modality
    is_wanted: bool = True  # slices of the modality, valid or not; else the problem says why not
    left_out: tuple[LeftOut, ...] = ()  # files of it that are not slices, each with the reason
    torn: tuple[Path, ...] = ()  # files beside it that may be slices and cannot be read
    study: str = ""  # UID; what is common to the series of an examination
    incidental: str = ""  # why it is left out where its study has a volume
    affine: np.ndarray | None = field(default=None, compare=False, repr=False)  # (4, 4), mm, RAS
    shape: tuple[int, ...] = ()  # voxels: columns, rows, slices
    slices: tuple[tuple[Path, int], ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        """Name the series in a message."""
        if not self.code:
            return str(self.files[0])
        title = f'"{self.description}", ' if self.description else ""
        name = " ".join(part for part in ("series", self.uid) if part)
        return f"{name} ({title}{len(self.files)} files in {self.folder})"

    @property
    def folder(self) -> Path:
        """The folder of its first file."""
        return self.files[0].parent

    @property
    def source(self) -> str:
        """Its folder and what tells it from others there; or a file that is of no series."""
        if not self.code:
            return str(self.files[0])
        return "#".join(part for part in (str(self.folder), self.uid or self.number) if part)

    def has_name(self, text: str) -> bool:
        """Whether a text is its number, its description or its UID."""
        text = clean(text).casefold()
        return text in (self.number, self.description.casefold(), self.uid) and text != ""


def describe_series(
    slices: Sequence[SliceFile], torn: Mapping[Path, Mapping[Path, str]], modality: str | None
) -> Series:
    """Describe the slices of one series, in order if they are a volume.

    Args:
        slices: and other files of the series.
        torn: the files of each folder that may be slices and cannot be read, and why.
        modality: that they have to be of, one of ``MODALITIES``; None for any of these.
    """
    kept = [item for item in slices if not item.stray]
    left_out = {item.path: item.stray for item in slices if item.stray}
    header = (kept or slices)[0].header
    files = tuple(dict.fromkeys(item.path for item in kept or slices))
    faults = {
        path: why
        for place in {p.parent for p in files}
        for path, why in torn.get(place, {}).items()
    }
    series = Series(
        uid=str(header.get("SeriesInstanceUID") or ""),
        number=str(header.get("SeriesNumber") or ""),
        description=clean(header.get("SeriesDescription")),
        patient=clean(header.get("PatientID")),
        files=files,
        torn=tuple(faults) if kept else (),
        code=clean(header.get("Modality")),
        left_out=tuple(left_out.items()) if kept else (),
        study=str(header.get("StudyInstanceUID") or ""),
        incidental=f"it is derived ({describe_types(header)})" if is_derived(header) else "",
    )
    try:
        found = refuse_other_modality([item.header for item in kept or slices], modality)
        if not kept:
            stray = slices[0].stray
            raise (Incidental if stray == PAGE else OtherImages)(stray)
        if faults := faults | {item.path: item.fault for item in kept if item.fault}:
            raise ValueError(tell_torn(faults))
        ordered, affine = arrange(kept, modality=found)
    except Incidental as error:
        problem = f"{error}: give the series of a volume"
        return replace(series, problem=problem, incidental=str(error))
    except ValueError as error:
        other = isinstance(error, OtherImages)
        return replace(series, problem=str(error), is_wanted=not other)
    except Exception as error:  # an element may have any type or length
        problem = f"its headers are malformed ({clean(error)}): export it again"
        return replace(series, problem=problem)
    copies = dict.fromkeys((item.path for item in kept), "it is a copy of a slice")
    left_out = copies | left_out
    for item in ordered:
        left_out.pop(item.path, None)
    return replace(
        series,
        files=tuple(dict.fromkeys(item.path for item in ordered)),
        left_out=tuple(left_out.items()),
        affine=affine,
        shape=(int(header.Columns), int(header.Rows), len(ordered)),
        slices=tuple((item.path, item.frame) for item in ordered),
    )


def tell_torn(faults: Mapping[Path, str]) -> str:
    """Say what is wrong with the first of some files, and how many more there are."""
    more = f" (and so for {len(faults) - 1} more)" if len(faults) > 1 else ""
    return next(iter(faults.values())) + more


def clean(text: object) -> str:
    """Put a value of a header on one line, without control characters."""
    return re.sub(r"[\s\x00-\x1f]+", " ", str(text or "")).strip()
