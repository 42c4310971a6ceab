"""The mean of a network's answers to an image and to its mirror images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch

from ..networks.ensemble import mean_of_probabilities


def mirrored(
    run: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    *,
    mirror: bool,
    flip: float | Sequence[float] = 1.0,
) -> torch.Tensor:
    """Compute the logits of the mean probabilities over all flips, one after the other.

    Args:
        run: gives logits (B, R, *spatial) of images.
        images: (B, C, *spatial).
        mirror: False runs once, on the images as they are.
        flip: the probability with which a training flipped each spatial axis, or one for all. An
            axis that it did not flip is not flipped here: the network never saw such an image.
    """
    axes = range(2, images.ndim)
    chances = [flip] * len(axes) if isinstance(flip, int | float) else flip
    axes = [axis for axis, chance in zip(axes, chances, strict=True) if mirror and chance > 0]
    if not axes:
        return run(images)
    flips = [f for n in range(len(axes) + 1) for f in itertools.combinations(axes, n)]
    return mean_of_probabilities([run(images.flip(each)).flip(each) for each in flips])
