"""One image to segment, before it is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..datasets.dicom.series import Series
from ..transforms.volume_file import list_files


@dataclass(frozen=True)
class InputCase:
    """One image to segment.

    Attributes:
        path: the file, without channel and ending where there are several; or the folder of the
            series.
        files: of the image, one for each channel where there are several.
        series: the DICOM series, one for each channel, if the case is of DICOM.
        problem: why it cannot be segmented, as far as its path and headers show.
        name: the stem of its outputs, different for each case of a command.
    """

    path: Path
    files: tuple[Path, ...] = ()
    series: tuple[Series, ...] = ()
    problem: str = ""
    name: str = ""

    def __str__(self) -> str:
        """The name of the case in a message."""
        return make_printable(str(self.series[0] if self.series else self.path))

    @property
    def source(self) -> str:
        """The file, or the folder and the UID of the series; several with a comma between them."""
        parts = self.series or self.files or (self.path,)
        return ", ".join(str(each) if isinstance(each, Path) else each.source for each in parts)

    def stamp(self) -> list[int]:
        """Number of files, bytes, latest change in ns: the same on all machines."""
        files = [file for each in self.series for file in each.files]
        files = files or [each for file in self.files for each in list_files(file)] or [self.path]
        states = [os.stat(file) for file in files if os.path.exists(file)]
        latest = max((state.st_mtime_ns for state in states), default=0)
        return [len(states), sum(state.st_size for state in states), latest]


def make_printable(text: str) -> str:
    """Escape what cannot be encoded: a file may have any name."""
    return text.encode(errors="backslashreplace").decode()
