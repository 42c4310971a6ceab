"""A case before it is imported: its files, and how they are read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..bundle.channels import NIFTI
from ..errors import InputError
from ..transforms import picture
from ..transforms.volume_checks import grid_difference
from ..transforms.volume_file import open_volume
from .images import (
    Grid,
    ending,
    link,
    place_image,
    read_image_grid,
    turn_like,
    write_picture,
    write_volume,
)
from .label_values import Held, Label, LabelValues, read_label

TESTING = "testing"


@dataclass(frozen=True)
class Source:
    """A case in files of images and labels.

    Attributes:
        name: of the case, and of its files in the prepared folder.
        images: one file, or one for each channel.
        label: the file of its label.
        part: its fold, or ``TESTING``, where the dataset says so.
        key: what a pattern finds the patient in; the name where it is empty.
        patient: where the dataset says it; the name where it is empty.
    """

    name: str
    images: tuple[Path, ...]
    label: Path
    part: int | str | None = None
    key: str = ""
    patient: str = ""
    may_stay: ClassVar[bool] = True  # the file of a label that is an index mask already

    @property
    def files(self) -> Sequence[Path]:
        """All files that are read."""
        return [*dict.fromkeys((*self.images, self.label, *self.label_files))]

    @property
    def label_files(self) -> Sequence[Path]:
        """Files of the label, each on the grid of the images."""
        return [self.label]

    def find_missing(self) -> list[Path]:
        """Find the files that are not there."""
        return [path for path in self.files if not path.is_file()]

    def read_grid(self) -> Grid:
        """Read the grid of the image."""
        return read_image_grid(self.images[0])

    def read_grids(self) -> list[Grid]:
        """Read the grids of the images, and refuse files that are on others.

        A label may have the axes of its image in another order or direction.

        Raises:
            InputError: names the file, and says how its grid differs.
        """
        grids = [read_image_grid(path) for path in self.images]
        first = grids[0]
        others = [*zip(self.images[1:], grids[1:], strict=True)]
        for path in self.label_files:
            grid = read_image_grid(path)
            turned, affine = turn_like(np.broadcast_to(0, grid.shape), grid.affine, first)
            others.append((path, Grid(turned.shape, affine, grid.channels)))
        for path, grid in others:
            if (grid.affine is None) != (first.affine is None):
                how = "one is a picture and the other a volume"
            else:
                how = grid_difference(grid.shape, grid.affine, first.shape, first.affine)
            if how:
                raise InputError(
                    f"{path}: it is not on the grid of {self.images[0]} ({how}); resample it to "
                    "the image, a label without interpolation of its values."
                )
        return grids

    def read_label(self) -> Label:
        """Read all pixels of the label, on the grid of the image."""
        return self._read_on_grid(self.label)

    def _read_on_grid(self, path: Path) -> Label:
        """Read a file of the label, with its axes as those of the image."""
        label, affine = read_label(path), read_image_grid(path).affine
        return label._replace(pixels=turn_like(label.pixels, affine, self.read_grid())[0])

    def write_images(self, folder: Path) -> list[str]:
        """Put the images into a folder; the names of the files."""
        if len(self.images) == 1:
            return place_image(self.images[0], folder, self.name)
        return [
            name
            for number, path in enumerate(self.images)
            for name in place_image(path, folder, f"{self.name}_{number:04d}")
        ]

    def write_label(self, folder: Path, values: LabelValues, held: Held) -> str:
        """Write the index mask, or link the file where it is one; the name of the file."""
        grid, kind = self.read_grid(), ending(self.label)
        target = folder / f"{self.name}{'.png' if grid.affine is None else '.nii.gz'}"
        if self.may_stay and values.keeps(held) and _is_index(self.label, grid, kind):
            link(self.label, target, pack=kind == ".nii")
        elif grid.affine is None:
            write_picture(target, values.to_index(self.read_label()), self.label)
        else:
            index = values.to_index(self.read_label())
            write_volume(target, index.reshape(grid.shape), grid.affine)
        return target.name


def _is_index(path: Path, grid: Grid, kind: str) -> bool:
    """Tell whether the file of an index mask can stay as it is."""
    if grid.affine is None:
        return kind == ".png" and picture.read_grid(path).plain
    own = read_image_grid(path)
    if kind not in NIFTI or grid_difference(own.shape, own.affine, grid.shape, grid.affine):
        return False
    volume = open_volume(path)
    return volume.voxels.dtype.kind in "iu" and not volume.step  # else it may be off by rounding
