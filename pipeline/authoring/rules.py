"""Rules for intensities, postprocessing and the length of a training. Pure functions of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

BODY = -500  # HU; voxels of a CT above this belong to the body
NOTHING = -1_000_000_000  # no intensity is as low
_FEW = 5  # cases with a region, below which their number of parts says little of others
_SIDES = re.compile(r"(^|[^a-z])(left|right|[lr])([^a-z]|$)", re.IGNORECASE)


def choose_window(modality: str, foreground: Sequence[float]) -> list[int] | None:
    """The HU that become 0 and 1: percentiles 0.5 and 99.5 of all labelled voxels (nnU-Net)."""
    if modality != "CT":
        return None
    low, high = math.floor(foreground[0]), math.ceil(foreground[-1])
    return [low, max(high, low + 1)]


def choose_percentiles(modality: str, dims: int) -> list[float] | None:
    """Percentiles of each image that become 0 and 1, where values have no meaning of their own."""
    if dims == 2:
        return [0, 99.9]
    return None if modality == "CT" else [0.5, 99.5]


def choose_foreground(modality: str, *, minimum_is_0: bool, zero_share: float) -> float:
    """The value above which voxels belong to the body; the empty border is cut off."""
    if modality == "CT":
        return BODY
    return 0 if minimum_is_0 and zero_share >= 0.1 else NOTHING


def choose_components(regions: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """How many parts of a region to keep: as many as all training labels have, if they agree.

    A region that few cases have keeps all its parts: a lesion may have more in the next case.

    Args:
        regions: by name, ``{"parts": cases with so many}``.
    """
    return {
        name: int(next(iter(parts)))
        for name, parts in regions.items()
        if len(parts) == 1 and sum(parts.values()) >= _FEW
    }


def choose_flip(modality: str, dims: int, regions: Sequence[str]) -> float | list[float]:
    """Probability of a flip of each axis: none where it makes another anatomy.

    A volume is turned to RAS, where an organ has its side. A picture through a microscope or of an
    eye has none; in an X-ray or an ultrasound up and down differ. A region called left or right has
    one everywhere.
    """
    free = modality == "microscopy"
    if dims == 3:
        return 0.5 if free else 0.0
    sided = any(_SIDES.search(name.replace("_", " ")) for name in regions)
    upright = modality in ("X-ray", "ultrasound")
    return [0.0 if sided else 0.5, 0.0 if upright else 0.5]


def choose_focus(extents: Sequence[Sequence[float]], patch: float) -> float:
    """Share of a picture's patches that lie about the middle of its regions: 0.7, or 0.

    Where the regions reach over more than a patch, their middle says nothing.

    Args:
        extents: of each region's bounding box, a share of the picture along each axis.
        patch: side of a patch, as a share of the picture.
    """
    return 0.0 if max(max(extent) for extent in extents) > patch else 0.7


def choose_widths(first: int, levels: int) -> list[int]:
    """Channels of each level: twice as many as the finer one, at most 320 (nnU-Net)."""
    return [min(first * 2**n, 320) for n in range(levels)]


def choose_batch(room: int | None, patch: Sequence[int], cases: int) -> int:
    """Patches a step: what the memory holds, from 2 to 8, and at least 4 steps an epoch.

    Args:
        room: voxels that a step may hold; None for a CPU, where 2 are enough.
        patch: in voxels.
        cases: for training.
    """
    fits = 2 if room is None else min(8, room // math.prod(patch))
    return max(2, min(fits, cases // 4))


def choose_epochs(steps: int, cases: int, batch: int) -> int:
    """Passes over the cases that make about so many steps: 20 to 1000, in tens."""
    epochs = steps * batch / cases
    return int(min(1000, max(20, math.ceil(epochs / 10) * 10)))


def choose_interval(epochs: int) -> int:
    """Epochs between validations, so that there are 20 to 25."""
    return max(1, round(epochs / 25))


def is_nested(regions: Mapping[str, Sequence[int]]) -> bool:
    """Tell whether the first region contains another."""
    first, *others = (set(values) for values in regions.values())
    return any(values < first for values in others)
