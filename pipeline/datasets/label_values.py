"""What the values of label files mean, and the index masks that the files become."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .images import read_image_grid, read_pixels

BACKGROUND, IGNORE = "background", "ignore"
OTHER = "other"  # every value without a name


class Label(NamedTuple):
    """The pixels of a label file, (H, W) or (X, Y, Z); colours are numbers, 0xRRGGBB."""

    pixels: np.ndarray
    coloured: bool


class Held(NamedTuple):
    """The values that a label file holds."""

    values: frozenset[float]
    coloured: bool


class Span(NamedTuple):
    """Some values of label files, both ends included, and what they mean."""

    low: float
    high: float
    coloured: bool
    name: str

    def __str__(self) -> str:
        """How the command line gives them."""
        if self.low == -math.inf:
            return OTHER
        return show_value(self.low, self.coloured) + (
            f"-{show_value(self.high, False)}" if self.high != self.low else ""
        )


@dataclass(frozen=True)
class LabelValues:
    """The meaning of the values.

    Attributes:
        names: of the values of the index masks; 0 is the background.
        spans: what becomes of the values of the files, the first that fits.
        coloured: whether files with three channels hold colours, rather than grey.
        ignore_label: the value of an index mask that is not counted, or None.
        regions: what is segmented, where the labels say it.
        notes: what the user should know of them.
    """

    names: Mapping[int, str]
    spans: Sequence[tuple[Span, int]]
    coloured: bool = False
    ignore_label: int | None = None
    regions: Mapping[str, Sequence[int]] | None = None
    notes: Sequence[str] = ()

    def find_value(self, value: float, *, coloured: bool) -> int | None:
        """The value of an index mask for one of a file; None if it has no meaning."""
        coloured, value = self._as_read(value, coloured=coloured)
        return next(
            (
                index
                for span, index in self.spans
                if span.coloured == coloured and span.low <= value <= span.high
            ),
            None,
        )

    def names_in(self, held: Held) -> set[int]:
        """The values that the index mask of a file holds; the others do not count."""
        found = {self.find_value(value, coloured=held.coloured) for value in held.values}
        return {value for value in found if value in self.names}

    def keeps(self, held: Held) -> bool:
        """Tell whether the file is an index mask already."""
        return not held.coloured and all(
            self.find_value(value, coloured=False) == value for value in held.values
        )

    def to_index(self, label: Label) -> np.ndarray:
        """Make the index mask of a file, uint8."""
        pixels, coloured = label
        if coloured and not self.coloured:
            pixels, coloured = pixels & 255, False
        index = np.zeros(pixels.shape, np.uint8)
        for span, value in reversed(self.spans):
            if span.coloured == coloured:
                index[(pixels >= span.low) & (pixels <= span.high)] = value
        return index

    def _as_read(self, value: float, *, coloured: bool) -> tuple[bool, float]:
        return (False, int(value) & 255) if coloured and not self.coloured else (coloured, value)


def read_label(path: Path) -> Label:
    """Read a label file: a grey, RGB or palette picture, or a volume.

    Raises:
        InputError: it cannot be read, or has another number of channels.
    """
    pixels = read_pixels(path, is_label=True)
    coloured = pixels.ndim == 3 and read_image_grid(path).affine is None
    if coloured:
        if pixels.dtype == np.uint16 and not (pixels % 257).any():  # 8 bits, stored in 16
            pixels = (pixels // 257).astype(np.uint8)
        if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
            raise InputError(
                f"{path}: it has {pixels.shape[2]} channels of {pixels.dtype}; save the colours "
                "with 8 bits, or one number per pixel."
            )
        red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
        pixels = red << 16 | green << 8 | blue
    if pixels.ndim > 3:
        raise InputError(f"{path}: it is {pixels.dtype} {pixels.shape}; give one number per pixel.")
    return Label(pixels, coloured)


def find_held(label: Label) -> Held:
    """Find the values in a label."""
    pixels = label.pixels
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize < 4:  # faster than to sort them
        present = np.zeros(np.iinfo(pixels.dtype).max + 1, bool)
        present[pixels] = True
        return Held(frozenset(np.flatnonzero(present).tolist()), label.coloured)
    return Held(frozenset(np.unique(pixels).tolist()), label.coloured)


def show_value(value: float, coloured: bool) -> str:
    """Write a value as the command line does."""
    if coloured:
        return f"#{int(value):06x}"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
