"""Interpolate on a grid whose axes are those of the volume, one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

# Voxels of the output that are computed at a time, so that temporary memory stays small.
_SLAB = 2**23
_SKEW = 0.1  # voxels that a line may leave its axis by, over the whole volume


def sample_slabs(
    volume: torch.Tensor, coordinates: Sequence[np.ndarray]
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Interpolate a volume (C, X[, Y, Z]) linearly on a grid parallel to its own, in parts.

    Trilinear interpolation on such a grid is linear along each axis in turn. It does not need the
    coordinates of every voxel, which take three times the memory of the result, six in float64.

    Args:
        volume: any real type; the result is float32.
        coordinates: for each axis, where its points lie, in voxels of ``volume``; a point beyond
            the first or last voxel has the value of that voxel.

    Yields:
        A range of the first spatial axis of the result, and the result there (C, x[, Y, Z]).
    """
    spatial = volume.shape[1:]
    clipped = [np.clip(line, 0, n - 1) for line, n in zip(coordinates, spatial, strict=True)]
    lengths = [len(line) for line in clipped]
    # The memory held at a time follows the larger of the two grids.
    across = volume.shape[0] * math.prod(map(max, lengths[1:], spatial[1:]))
    step = max(1, _SLAB // max(1, across))
    for start in range(0, lengths[0], step):
        rows = slice(start, min(start + step, lengths[0]))
        first = clipped[0][rows]
        low, high = int(first.min()), math.ceil(first.max())
        part = volume[:, low : high + 1].float()
        lines = [first - low, *clipped[1:]]
        # First the axes that lose most voxels, so that the later ones have less to do.
        for axis in sorted(range(len(lines)), key=lambda a: len(lines[a]) / part.shape[a + 1]):
            part = _interpolate(part, axis + 1, lines[axis])
        yield rows, part


def along_axes(matrix: np.ndarray, shape: Sequence[int]) -> list[tuple[int, float, float]] | None:
    """Split an affine between two grids into its axes, or return None if these are not parallel.

    Args:
        matrix: (n + 1, n + 1), voxels of a first grid to voxels of a second.
        shape: of the first grid.

    Returns:
        For each axis of the first grid: which axis of the second it runs along, the step there,
        and where it starts.
    """
    n = len(shape)
    linear = np.abs(matrix[:n, :n])
    targets = linear.argmax(axis=0)
    aside = linear.copy()
    aside[targets, range(n)] = 0
    if sorted(targets) != list(range(n)) or (aside @ np.asarray(shape)).max() > _SKEW:
        return None
    return [(int(a), float(matrix[a, j]), float(matrix[a, n])) for j, a in enumerate(targets)]


def _interpolate(part: torch.Tensor, dim: int, line: np.ndarray) -> torch.Tensor:
    """Interpolate ``part`` at ``line`` along one dimension."""
    # A millionth of a voxel is a rounding error: a point on a voxel has the voxel's own value.
    line = np.round(line, 6)
    if np.array_equal(line, np.arange(part.shape[dim])):
        return part
    low = np.floor(line).astype(np.int64)
    weight = line - low
    below = part.index_select(dim, torch.as_tensor(low, device=part.device))
    if not weight.any():
        return below
    high = np.minimum(low + 1, part.shape[dim] - 1)
    above = part.index_select(dim, torch.as_tensor(high, device=part.device))
    shape = [-1 if d == dim else 1 for d in range(part.ndim)]
    weights = torch.as_tensor(weight, dtype=part.dtype, device=part.device).reshape(shape)
    return above.sub_(below).mul_(weights).add_(below)
