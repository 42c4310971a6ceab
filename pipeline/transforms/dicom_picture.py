"""A picture in DICOM: a photograph, an X-ray or another single frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnfitFile, one_line
from .content import COPY_AGAIN, explain_content, read_start
from .itk import open_by_itk
from .modality import OF_BODIES, find_modality

if TYPE_CHECKING:
    from SimpleITK import ImageFileReader


_TABLE, _PIXELS = b"\x28\x00\x00\x30", b"\xe0\x7f\x10\x00"  # elements, as files begin them


class OtherImage(UnfitFile):
    """A file in DICOM that is not a picture of the modality, as there may be others beside it."""


def is_dicom(path: Path) -> bool:
    """Tell a file in DICOM by its beginning, or by its name."""
    if path.name.lower().endswith(".dcm"):
        return True
    try:
        return _has_mark(path)
    except OSError:
        return False


def _has_mark(path: Path) -> bool:
    return read_start(path, 132)[128:] == b"DICM"


def open_dicom(path: Path, modality: str | None = None) -> ImageFileReader:
    """Read the header of one frame, which ITK decodes whatever its compression is.

    Args:
        path: of the file.
        modality: that it must be of, see ``MODALITIES``; None or empty for any.

    Raises:
        OtherImage: it is a slice of a volume, or of another modality.
        UnfitFile: it cannot be read, holds several frames, or its values stand in a table.
    """
    reader = open_by_itk(path, "GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    code = reader.GetMetaData("0008|0060").strip() if reader.HasMetaDataKey("0008|0060") else ""
    found = find_modality(code)
    if found is None:
        told = f"has the modality {code}" if code else "has no modality"
        raise OtherImage(f"{told}, which is not that of a picture", "save it as a PNG")
    if found in OF_BODIES:
        fix = "convert its series by `data prepare dicom`, or predict with a bundle for volumes"
        raise OtherImage(f"is a slice of a {found}, not a picture", fix)
    if modality and found != modality:
        raise OtherImage(f"is of the modality {code} ({found}), not {modality}", "leave it out")
    if _TABLE in read_start(path).partition(_PIXELS)[0]:  # ITK lists no sequences
        told = "gives its values by a table (ModalityLUTSequence), which is not read"
        raise UnfitFile(told, "export it again with RescaleSlope and RescaleIntercept")
    if (frames := int(np.prod(reader.GetSize()[2:]))) > 1:
        raise UnfitFile(f"holds {frames} frames", "save each in a file of its own")
    return reader


def tell_other(path: Path, modality: str | None = None) -> str:
    """Say that a file in DICOM is not a picture of the modality; empty if it is, or is broken."""
    try:
        if is_dicom(path):
            open_dicom(path, modality)
    except OtherImage as error:
        return f"it {error.args[0]}"
    except UnfitFile:
        pass
    return ""


def read_dicom(path: Path, modality: str | None = None) -> np.ndarray:
    """Read (H, W), or (H, W, 3) in RGB, with rescale and palette applied and white as the largest.

    Raises:
        UnfitFile: see `open_dicom`.
    """
    import SimpleITK as sitk

    reader = open_dicom(path, modality)
    try:
        pixels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    return pixels.reshape(*reader.GetSize()[1::-1], *pixels.shape[reader.GetDimension() :])


def _unreadable(path: Path, error: RuntimeError) -> UnfitFile:
    told = None if _has_mark(path) else explain_content(path)
    reason = one_line(error).rpartition("): ")[2]  # without the names of ITK's objects
    return UnfitFile(*told) if told else UnfitFile(f"cannot be read ({reason})", COPY_AGAIN)
