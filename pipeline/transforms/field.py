"""Show a case as a camera with another round field of view would."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch

from .augment import send, uniform
from .grid import Batch, find_middle, pixel_centres


@dataclass(eq=False)
class RandFieldBatchd:
    """Make image and label black outside a random circle, whose edge passes near the label.

    The circle's edge is drawn at a distance from the middle of the label's first region, in any
    direction; of an empty one, at a distance from any point. All lengths are in units of half the
    shorter side of the patch.

    Args:
        keys: images and, last, the label, each (B, C, X, Y).
        prob: share of the cases that are changed.
        radius: smallest and largest radius of the circle.
        distance: smallest and largest distance of the edge from the region's middle, at most the
            circle's diameter. What lies beyond the edge is cut off, the label's regions too.
    """

    keys: Sequence[str] = ("image", "label")
    _: KW_ONLY
    prob: float = 0.4
    radius: tuple[float, float] = (0.7, 2.5)
    distance: tuple[float, float] = (0.2, 1.0)

    def __call__(self, batch: Batch) -> Batch:
        region = batch[self.keys[-1]][:, 0]
        anywhere, away, radius = send(region.device, *self.draw(len(region)))
        half = min(region.shape[1:]) / 2
        units = [length / 2 / half for length in region.shape[1:]]
        x, y = (
            pixel_centres(length, region.device) * unit
            for length, unit in zip(region.shape[1:], units, strict=True)
        )
        middle, mass = find_middle(region)
        middle = torch.stack([middle[:, 1] * units[0], middle[:, 0] * units[1]], dim=1)
        centre = torch.where(mass[:, None] > 0, middle, anywhere) + away
        down, across = x - centre[:, :1], y - centre[:, 1:]
        length = (down[:, :, None] ** 2 + across[:, None] ** 2).sqrt()
        inside = ((radius[:, None, None] - length) * half + 0.5).clamp(0, 1)[:, None]
        return {**batch, **{key: batch[key] * inside for key in self.keys}}

    def draw(self, count: int) -> tuple[torch.Tensor, ...]:
        """Draw any point (count, 2), the way to the circle's centre (count, 2), and its radius.

        The radius of a case that stays as it is is infinite.
        """
        angle, radius = uniform(-math.pi, math.pi, count), uniform(*self.radius, count)
        distance = torch.minimum(uniform(*self.distance, count), 2 * radius)
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        still = torch.rand(count) >= self.prob
        anywhere = uniform(-1, 1, count, 2)
        return (
            anywhere,
            direction * (radius - distance)[:, None],
            radius.masked_fill(still, math.inf),
        )
