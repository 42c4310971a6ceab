"""Rules for grids: spacing, patches, and the strides of the network. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

_ANISOTROPIC = 3.0  # ratio of the largest to the smallest spacing (nnU-Net)
_UNEVEN = 2.0  # an axis whose voxels are this much longer than the shortest is not pooled (nnU-Net)
_LEAST = 4  # voxels along an axis on the coarsest level (nnU-Net)
_ACROSS, _SIDE = 16, 1024  # px: of the thinnest region at least, and of a picture's side at most
LEVELS = 4  # poolings at most (Oktay et al. 2018)


def choose_spacing(
    median: Sequence[float], tenth: Sequence[float], size: Sequence[float]
) -> list[float]:
    """The spacing that the network sees: the median, and the 10th percentile of a coarse axis.

    An axis is coarse if its voxels are over 3 times longer, and its image over 3 times shorter in
    voxels, than along the others (nnU-Net).

    Args:
        median: of each axis, mm.
        tenth: 10th percentile of each axis, mm.
        size: median number of voxels along each axis.
    """
    spacing = list(median)
    worst = max(range(len(spacing)), key=lambda n: spacing[n])
    others = [n for n in range(len(spacing)) if n != worst]
    coarse = spacing[worst] > _ANISOTROPIC * min(spacing[n] for n in others)
    short = size[worst] * _ANISOTROPIC < min(size[n] for n in others)
    if coarse and short:
        finest = max(spacing[n] for n in others)
        spacing[worst] = max(tenth[worst], finest)
    return [round(s, 3) for s in spacing]


def resize(size: Sequence[float], old: Sequence[float], new: Sequence[float]) -> list[int]:
    """The number of voxels along each axis at another spacing."""
    return [max(1, round(n * a / b)) for n, a, b in zip(size, old, new, strict=True)]


def coarsen(
    spacing: Sequence[float],
    size: Sequence[float],
    *,
    voxels: float,
    thickness: float,
) -> list[float]:
    """Coarser voxels, so that an image has at most ``voxels`` of them, for a slow machine.

    The finest axes are coarsened first, until the voxels are cubes (nnU-Net's low resolution), but
    no voxel becomes longer than a third of the thinnest region.

    Args:
        spacing: mm.
        size: median number of voxels along each axis, at that spacing.
        voxels: that the image may have.
        thickness: of the thinnest region, mm.
    """
    found, count = list(spacing), math.prod(size)
    length = [n * s for n, s in zip(size, spacing, strict=True)]
    while count > voxels:
        finest = min(found)
        grown = [s * 1.05 if s < finest * 1.05 else s for s in found]
        if max(grown) > max(max(spacing), thickness / 3):
            break
        found = grown
        count = math.prod(each / s for each, s in zip(length, found, strict=True))
    return [float(f"{s:.3g}") for s in found] if found != list(spacing) else list(spacing)


def choose_patch(size: Sequence[float], spacing: Sequence[float], voxels: float) -> list[int]:
    """The largest cube in mm, within the median image, that has at most ``voxels`` (as nnU-Net).

    Args:
        size: median number of voxels along each axis.
        spacing: mm.
        voxels: that a patch may have.
    """

    def cut(side: float) -> list[float]:
        return [min(n, side / s) for n, s in zip(size, spacing, strict=True)]

    low, high = 0.0, max(n * s for n, s in zip(size, spacing, strict=True))
    if math.prod(cut(high)) <= voxels:
        return [math.ceil(n) for n in size]
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if math.prod(cut(middle)) <= voxels else (low, middle)
    return [max(1, round(n)) for n in cut(low)]


def choose_strides(
    patch: Sequence[int], spacing: Sequence[float], *, levels: int = LEVELS
) -> list[list[int]]:
    """The factor between levels along each axis; an axis of long voxels is pooled later (nnU-Net).

    A level halves an axis that keeps 4 voxels or more and whose voxels are less than twice as long
    as the shortest of such axes.
    """
    size, length, steps = list(patch), list(spacing), []
    while len(steps) < levels:
        fit = [n for n, count in enumerate(size) if count >= 2 * _LEAST]
        if not fit:
            break
        finest = min(length[n] for n in fit)
        step = [2 if n in fit and length[n] < _UNEVEN * finest else 1 for n in range(len(size))]
        size = [math.ceil(count / by) for count, by in zip(size, step, strict=True)]
        length = [s * by for s, by in zip(length, step, strict=True)]
        steps.append(step)
    return steps or [[1] * len(size)]


def fit_patch(
    patch: Sequence[int], size: Sequence[float], strides: Sequence[Sequence[int]]
) -> list[int]:
    """The patch in multiples of the total stride: up where it holds the whole image, else down."""
    total = [math.prod(axis) for axis in zip(*strides, strict=True)]
    return [
        max(by, (math.ceil(n / by) if n >= whole else n // by) * by)
        for n, whole, by in zip(patch, size, total, strict=True)
    ]


def choose_margin(patch: Sequence[int]) -> int:
    """Voxels around a patch, from which a rotation brings in anatomy: a twelfth of its shortest."""
    return max(1, round(min(patch) / 12))


def choose_rotation(patch: Sequence[int]) -> float | list[float]:
    """Largest angle about each axis in degrees: in a flat patch, only within its plane (nnU-Net).

    A patch is flat if it has over 3 times fewer voxels along one axis than along the others.
    """
    flat = min(range(3), key=lambda n: patch[n])
    if patch[flat] * _ANISOTROPIC < min(patch[n] for n in range(3) if n != flat):
        return [25.0 if n == flat else 5.0 for n in range(3)]
    return 25.0


def choose_warp(patch: Sequence[int], spacing: Sequence[float]) -> float:
    """Standard deviation of the random warp in mm: 3.5 % of the patch along its shortest axis.

    So the warp bends a small structure as much as the shipped 5 mm bend a patch of 144 mm.
    """
    return round(0.035 * min(n * s for n, s in zip(patch, spacing, strict=True)), 1)


def choose_picture_size(longest: float, thickness: float, *, usual: int) -> int:
    """Side of the square that pictures are scaled to, px: more than usual for thin regions.

    The thinnest region should keep 16 px across, and validation takes a whole picture at a time, so
    a side has 1024 px at most. A size within a fifth of the pictures' own becomes their own, so
    that nothing is resampled.

    Args:
        longest: median of the longer side of a picture, px.
        thickness: of the thinnest region, px of the picture.
        usual: size where all regions are thick enough.
    """
    wanted = max(usual, longest * _ACROSS / max(thickness, 1.0))
    if wanted >= 0.8 * longest:
        wanted = longest
    return round(longest) if wanted == longest <= _SIDE else round(min(wanted, _SIDE) / 16) * 16
