"""ITK's reader of one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UnfitFile

if TYPE_CHECKING:
    from SimpleITK import ImageFileReader


def open_by_itk(path: Path, kind: str) -> ImageFileReader:
    """Open a file by one of ITK's readers, which ITK would choose by the content otherwise.

    Args:
        path: of the file.
        kind: of the reader, such as ``NrrdImageIO``.

    Raises:
        UnfitFile: SimpleITK would end the process, since the path is not text.
        ModuleNotFoundError: SimpleITK is not installed.
    """
    import SimpleITK as sitk

    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UnfitFile("has a name that is not in UTF-8", "rename it, or its folder") from None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(kind)
    return reader
