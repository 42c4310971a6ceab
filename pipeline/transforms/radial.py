"""Change the size of an inner region, and keep the border of the outer one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch

from .augment import send, uniform
from .grid import Batch, pixel_centres, resample


@dataclass(eq=False)
class RandRadialBatchd:
    """Bulge or pinch the inside of the label's first region, and keep its border.

    The first region is treated as the ellipse with its moments. A point at the fraction r of the
    way from its centre to its border shows what was at r (1 + a (1 - r)). A region inside it
    becomes smaller for a > 0 and larger for a < 0: sizes that few images have.

    Args:
        keys: the image and the label, each (B, C, X, Y).
        prob: share of the cases that are changed.
        amount: smallest and largest a, between -1 and 1, where the map is one to one.
    """

    keys: tuple[str, str] = ("image", "label")
    _: KW_ONLY
    prob: float = 0.7
    amount: tuple[float, float] = (-0.4, 0.8)

    def __call__(self, batch: Batch) -> Batch:
        label = batch[self.keys[1]]
        count = len(label)
        amount = (torch.rand(count) < self.prob).float() * uniform(*self.amount, count)
        offset, radius, centre = self.polar(label[:, :1])
        (amount,) = send(label.device, amount[:, None, None, None])
        stretch = 1 + amount * (1 - radius).clamp(min=0)
        grid = (centre + offset * stretch).permute(0, 2, 3, 1)
        return resample(batch, self.keys, grid)

    def polar(self, region: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Locate every pixel relative to the ellipse with the moments of a region (B, 1, X, Y).

        Returns:
            The offset from the centre (B, 2, X, Y), the offset's length in units of the ellipse
            (B, 1, X, Y), 1 on its border, and the centre (B, 2, 1, 1), all in grid_sample's
            coordinates. The ellipse of an empty region holds no pixel.
        """
        axes = [pixel_centres(length, region.device) for length in region.shape[:1:-1]]
        points = torch.stack(torch.meshgrid(*axes, indexing="xy"))  # last axis first
        share = region / region.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
        centre = (share * points).sum(dim=(2, 3))[..., None, None]
        offset = points - centre
        # The variance of an ellipse's points along an axis is a quarter of its half length squared.
        xx, xy, yy = (
            4 * (share * offset[:, i : i + 1] * offset[:, j : j + 1]).sum(dim=(2, 3), keepdim=True)
            for i, j in ((0, 0), (0, 1), (1, 1))
        )
        # A pixel's own extent keeps the ellipse of a line, or of one pixel, from being flat; the
        # determinant is that of the sum, written so that rounding cannot make it zero.
        pixel = 1 / (3 * max(region.shape[2:]) ** 2)
        area = (xx * yy - xy**2).clamp(min=0) + pixel * (xx + yy) + pixel**2
        x, y = offset[:, :1], offset[:, 1:]
        square = (yy + pixel) * x**2 - 2 * xy * x * y + (xx + pixel) * y**2
        radius = (square / area).clamp(min=0).sqrt()
        return offset, radius, centre
