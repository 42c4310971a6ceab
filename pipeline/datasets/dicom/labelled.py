"""DICOM series with labels, as cases that are imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...errors import InputError, UnfitFile
from ...transforms.volume_checks import grid_difference
from ...transforms.volume_file import read_volume
from ..images import Grid, turn_like
from ..label_values import Label
from ..segments import Combinations
from ..sources import Source
from . import series as dicom
from .segmentation import read_segments


@dataclass(frozen=True, kw_only=True)
class LabelledSeries(Source):
    """A series with a mask in a file of its own, such as a NIfTI."""

    series: dicom.Series
    may_stay: ClassVar[bool] = False

    def read_grid(self) -> Grid:
        """The grid of the series."""
        return Grid(self.series.shape, self.series.affine, 1)

    def read_grids(self) -> list[Grid]:
        """The same; that of the label is compared when it is read."""
        return [self.read_grid()]

    def read_label(self) -> Label:
        """Read the mask, and put its axes in the order of the series'."""
        try:
            volume = read_volume(self.label, is_label=True)
        except UnfitFile as error:
            raise InputError(f"{self.label}: it {error}.") from None
        pixels, affine = turn_like(volume.voxels, volume.affine, self.read_grid())
        how = grid_difference(pixels.shape, affine, self.series.shape, self.series.affine)
        if how:
            raise InputError(
                f"{self.label}: it is not on the grid of its series ({how}); resample it to that, "
                "without interpolation of its values."
            )
        return Label(pixels, False)

    def write_images(self, folder: Path) -> list[str]:
        """Write the series as NIfTI."""
        dicom.write_nifti(folder / f"{self.name}.nii.gz", *dicom.read_series(self.series))
        return [f"{self.name}.nii.gz"]


@dataclass(frozen=True, kw_only=True)
class SegmentedSeries(LabelledSeries):
    """A series with one or more DICOM segmentations."""

    segmentations: Sequence[Path]
    combinations: Combinations

    def read_label(self) -> Label:
        """Read the combination of segments that each voxel lies in."""
        segments = read_segments(self.segmentations, self.series)
        return Label(self.combinations.to_numbers(segments), False)
