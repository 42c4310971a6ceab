"""ITK's reader of one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UnfitFile

if TYPE_CHECKING:
    from SimpleITK import ImageFileReader

NRRD = dict.fromkeys((".nrrd", ".nhdr"), "NrrdImageIO")
#: ITK's readers of volumes, by the ending of the file.
READERS = NRRD | dict.fromkeys((".mha", ".mhd"), "MetaImageIO")


def open_by_itk(path: Path, kind: str = "") -> ImageFileReader:
    """Open a file by one of ITK's readers, which ITK would choose by the content otherwise.

    Args:
        path: of the file.
        kind: of the reader, such as ``GDCMImageIO``; by default the one in ``READERS``.

    Raises:
        UnfitFile: SimpleITK is not installed, or would end the process since the path is not text.
    """
    try:
        import SimpleITK as sitk
    except ModuleNotFoundError:
        raise UnfitFile("cannot be read without SimpleITK", "pip install SimpleITK") from None
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UnfitFile("has a name that is not in UTF-8", "rename it, or its folder") from None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(kind or READERS[path.suffix.lower()])
    return reader
