"""Labels of several masks, one for each structure: files of their own, or segments of one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import InputError, UnfitFile
from ..files import some
from ..transforms.itk import NRRD, open_by_itk
from ..transforms.volume_checks import grid_difference
from ..transforms.volume_file import open_volume, read_voxels
from .label_values import Held, Label, LabelValues, Span, find_held, show_value
from .naming import name_values
from .sources import Source

_SEGMENT = re.compile(r"Segment(\d+)_Name")  # in the header of a segmentation of 3D Slicer


class Combinations:
    """The combinations of segments that voxels of a dataset lie in, as numbers from 1.

    A segment may lie inside another, so a voxel may lie in both. 0 is a voxel in none.

    Attributes:
        segments: all that a case names.
    """

    def __init__(self) -> None:
        self.numbers: dict[frozenset[str], int] = {frozenset(): 0}
        self.segments: set[str] = set()

    def to_numbers(self, segments: Mapping[str, np.ndarray]) -> np.ndarray:
        """Number the voxels of one case, int32 in the shape of the masks, by their combination."""
        self.segments.update(segments)
        shape = next(iter(segments.values())).shape
        numbers = np.zeros(shape, np.int32)
        here = [frozenset[str]()]  # the combination of each number, in this case
        for name, mask in segments.items():
            for number in np.unique(numbers[mask]):
                here.append(here[number] | {name})
                numbers[mask & (numbers == number)] = len(here) - 1
        table = [self.numbers.setdefault(each, len(self.numbers)) for each in here]
        return np.array(table, np.int32)[numbers]

    def name_values(self, held: Mapping[str, Held]) -> LabelValues:
        """Give each combination that a voxel lies in a value, and each segment its values."""
        found = {value for each in held.values() for value in each.values} - {0}
        sets = {value: names for names, value in self.numbers.items() if value in found}
        named = sorted({name for each in sets.values() for name in each})
        if not sets or len(sets) > 254:
            raise InputError(
                f"the labels have {len(sets)} combinations of segments; a mask takes 1 to 254, of "
                f"{some(named)}."
            )
        order = sorted(sets, key=lambda value: (len(sets[value]), sorted(sets[value])))
        names = {0: "background"}
        names |= {n: " and ".join(sorted(sets[value])) for n, value in enumerate(order, start=1)}
        spans = [(Span(v, v, False, names[n]), n) for n, v in enumerate([0, *order])]
        regions = {
            name: [n for n, value in enumerate(order, start=1) if name in sets[value]]
            for name in named
        }
        empty = sorted(self.segments - set(named))
        notes = [f"no voxel lies in {some(empty)}, so it is not a region"] if empty else []
        return LabelValues(names, spans, regions=regions, notes=notes)


@dataclass(frozen=True, kw_only=True)
class SegmentedSource(Source):
    """A case whose label is several masks; ``masks`` gives each a name, and None for no file.

    Attributes:
        combinations: of all cases.
        masks: the name and the file of each; of one name, what lies in any of them.
        spans: which values of the masks are background, see `name_values`; without, a mask holds 0
            and one other number.
    """

    combinations: Combinations
    masks: Sequence[tuple[str, Path | None]] = ()
    spans: Sequence[Span] = ()
    may_stay: ClassVar[bool] = False

    @property
    def label_files(self) -> Sequence[Path]:
        """The masks that are there."""
        return [path for _, path in self.masks if path]

    def read_segments(self) -> dict[str, np.ndarray]:
        """Read the mask of each segment, bool (H, W) or (X, Y, Z)."""
        found: dict[str, np.ndarray] = {}
        for name, path in self.masks:
            if path:
                mask = self._read_mask(path)
                found[name] = found[name] | mask if name in found else mask
        return found

    def read_label(self) -> Label:
        """Read the combination of segments that each voxel lies in."""
        return Label(self.combinations.to_numbers(self.read_segments()), False)

    def _read_mask(self, path: Path) -> np.ndarray:
        label = self._read_on_grid(path)
        held = find_held(label)
        if self.spans:
            return name_values(self.spans, {str(path): held}).to_index(label) > 0
        if len(inside := sorted(held.values - {0})) > 1:
            shown = [show_value(value, held.coloured) for value in inside]
            raise InputError(
                f"{path}: it holds {some(shown)}, and a mask of one "
                "structure holds 0 and one other number; for a JPEG or soft edges give --values "
                "0-127=background --values 128-255=inside."
            )
        return label.pixels != 0


@dataclass(frozen=True, kw_only=True)
class SegmentFile(SegmentedSource):
    """A case whose label is a segmentation of 3D Slicer, which names its segments in its header.

    A number may stand for other segments in another file, segments may overlap in layers, and the
    file may hold no more of the image's grid than the segments fill.
    """

    @property
    def label_files(self) -> Sequence[Path]:
        """None: where the file lies on the image's grid is found when it is read."""
        return ()

    def read_segments(self) -> dict[str, np.ndarray]:
        """Read the segments onto the grid of the image."""
        grid = self.read_grid()
        try:
            volume = open_volume(self.label)
            pixels = read_voxels(self.label, volume, is_label=True).voxels
        except UnfitFile as error:
            raise InputError(f"{self.label}: it {error}.") from None
        if grid.affine is None or pixels.ndim < 3:
            raise InputError(f"{self.label}: it is a slice; save its segments as masks in PNG.")
        layers = pixels if pixels.ndim == 4 else pixels[..., None]
        size, affine = np.array(layers.shape[:3]), grid.affine.copy()
        start = np.rint(np.linalg.solve(affine, volume.affine)[:3, 3]).astype(int)
        affine[:3, 3] += affine[:3, :3] @ start
        how = grid_difference(size.tolist(), volume.affine, size.tolist(), affine)
        if not how and ((start < 0).any() or (start + size > grid.shape).any()):
            how = "it reaches beyond it"
        if how:
            raise InputError(
                f"{self.label}: it is not on the grid of {self.images[0]} ({how}); export it again "
                "with the image as its reference."
            )
        place = tuple(slice(low, low + length) for low, length in zip(start, size, strict=True))
        found = {}
        for name, (layer, value) in read_segment_names(self.label).items():
            found[name] = np.zeros(grid.shape, bool)
            found[name][place] = layers[..., layer] == value
        return found


def read_segment_names(path: Path) -> dict[str, tuple[int, int]]:
    """Read which layer and value each segment has, by name; empty if the header names none.

    Raises:
        InputError: two segments have one name.
    """
    if path.suffix.lower() not in NRRD:
        return {}
    reader = open_by_itk(path)
    reader.ReadImageInformation()
    keys = set(reader.GetMetaDataKeys())
    numbers = sorted(int(match[1]) for key in keys if (match := _SEGMENT.fullmatch(key)))

    def read(number: int, what: str, default: int) -> int:
        key = f"Segment{number}_{what}"
        return int(reader.GetMetaData(key)) if key in keys else default

    found: dict[str, tuple[int, int]] = {}
    for n in numbers:
        name = reader.GetMetaData(f"Segment{n}_Name").strip()
        # Before version 4.11 each segment was a layer of 0 and 1.
        place = read(n, "Layer", n), read(n, "LabelValue", 1)
        if found.setdefault(name, place) != place:
            raise InputError(f"{path}: two of its segments are called {name}; rename one.")
    return found
