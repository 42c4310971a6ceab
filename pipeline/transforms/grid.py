"""Where the pixels of a batch are, in grid_sample's coordinates, and images read between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

Batch = dict[str, torch.Tensor]


def pixel_centres(length: int, device: torch.device) -> torch.Tensor:
    """Locate the pixels of an axis in grid_sample's coordinates."""
    return torch.linspace(1 / length - 1, 1 - 1 / length, length, device=device)


def find_middle(marked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the middle of each mask (B, X, Y), in grid_sample's coordinates, and its mass.

    Returns:
        (B, 2), last axis first, and (B,); the middle of an empty mask is that of the image.
    """
    mass = marked.sum(dim=(1, 2))
    middle = [
        (marked.sum(dim=other) * pixel_centres(length, marked.device)).sum(dim=1)
        for other, length in ((1, marked.shape[2]), (2, marked.shape[1]))
    ]
    return torch.stack(middle, dim=1) / mass.clamp(min=1)[:, None], mass


def resample(batch: Batch, keys: Sequence[str], grid: torch.Tensor) -> Batch:
    """Interpolate an image and its label linearly on one grid; 0 is outside."""
    image, label = keys
    stacked = torch.cat([batch[image], batch[label]], dim=1)
    moved = F.grid_sample(stacked, grid, mode="bilinear", align_corners=False)
    channels = batch[image].shape[1]
    return {**batch, image: moved[:, :channels], label: moved[:, channels:]}
