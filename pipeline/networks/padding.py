"""Allow any input size for networks that need a multiple of their total stride."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F


def total_stride(strides: Sequence[Sequence[int]]) -> list[int]:
    """Multiply the strides of all levels, for each axis."""
    return [math.prod(axis) for axis in zip(*strides, strict=True)]


def pad_to_multiple(x: torch.Tensor, multiple: list[int]) -> torch.Tensor:
    """Pad the end of each spatial axis of ``x`` (B, C, H, W[, D]) with zeros to a multiple."""
    pads: list[int] = []
    for i in range(len(multiple)):
        axis = len(multiple) - 1 - i  # F.pad counts axes from the last
        size = x.shape[2 + axis]
        # A rounded-up quotient: symbolic shapes can divide it by the stride again.
        pads += [0, (size + multiple[axis] - 1) // multiple[axis] * multiple[axis] - size]
    return F.pad(x, pads)


def crop_to(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Crop the end of each spatial axis of ``x`` to the size of ``like``.

    A negative pad rather than a view: whether a view is contiguous depends on the size, and
    torch.export would accept only sizes for which the answer is that of its example.
    """
    pads: list[int] = []
    for i in range(x.dim() - 2):
        axis = x.dim() - 1 - i
        pads += [0, like.shape[axis] - x.shape[axis]]
    return F.pad(x, pads)
