"""What the headers of a case's files say against a training, which a check reports too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import UnfitFile, one_line
from ..transforms.content import COPY_AGAIN
from ..transforms.picture import read_grid
from ..transforms.volume_checks import grid_difference, grid_problems
from ..transforms.volume_file import read_header
from .channels import is_volume
from .listing import Fault


def find_faults(
    images: Sequence[Path], label: Path, *, modality: str, channels: Sequence[str] = ()
) -> Iterator[tuple[Path, str, str]]:
    """Yield what is wrong with the files of a case, as far as their headers show.

    Args:
        images: one file, or one for each channel.
        label: the file of the label.
        modality: of the images.
        channels: their names; one volume may hold all of several in its fourth axis.

    Yields:
        A file, its problem and the fix.
    """
    inside = len(channels) if len(images) == 1 else 1
    grids: dict[Path, tuple[Sequence[int], Any]] = {}
    for path in (*images, label):
        try:
            if is_volume(path):
                volume = read_header(path, channels=1 if path == label else inside)
                faults = list(grid_problems(volume, modality=modality))
                grids[path] = volume.voxels.shape[:3], volume.affine
            else:
                grids[path], faults = (_read_picture(path, is_label=path == label), None), []
        except Exception as error:
            faults = [explain_failure(error)]
        for problem, fix in faults:
            yield path, problem, fix
    first = images[0]
    for path in (*images[1:], label) if first in grids else ():
        if path in grids and (how := grid_difference(*grids[path], *grids[first])):
            yield (
                path,
                f"is not on the grid of {first.name}: {how}",
                "resample it to that, a mask without interpolation of its values",
            )


def explain_failure(error: Exception) -> Fault:
    """The problem and the fix of a file whose reader raised, which may be about anything."""
    if isinstance(error, UnfitFile):
        return error.args
    return f"cannot be read: {one_line(error, None)}", COPY_AGAIN


def _read_picture(path: Path, *, is_label: bool) -> Sequence[int]:
    """Read the size of a picture, width first as people say it."""
    grid = read_grid(path, is_mask=is_label)
    if is_label and grid.channels > 1:
        raise UnfitFile(f"has {grid.channels} channels", "export the mask again with one channel")
    return grid.size
