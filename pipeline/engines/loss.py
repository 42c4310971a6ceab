"""The loss of regions: exclusive ones compete, and ignored voxels do not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..transforms.regions import Regions

_SURE = 30.0  # a logit whose sigmoid is 0 or 1 in float32, without gradient


class RegionLoss(nn.Module):
    """Apply a loss with sigmoids, such as MONAI's ``DiceFocalLoss(sigmoid=True)``, to regions.

    Regions that exclude each other share a softmax, in which the background around them has the
    logit 0: the loss gets the logit of each one's probability in it. So the sigmoids of exclusive
    classes never add up to more than 1, and the regions that `Regions.mark` finds are the likeliest
    ones. A region without such a sibling keeps its sigmoid.

    Where the last of R + 1 channels of the truth is above 0, the voxel is ignored: its prediction
    and truth are set to a background without a gradient.

    Args:
        loss: takes logits and truth, each (B, R, *spatial).
        regions: see `Regions`.
        softmax: False leaves every region its own sigmoid.
    """

    def __init__(
        self, loss: nn.Module, regions: Mapping[str, Sequence[int]], *, softmax: bool = True
    ) -> None:
        super().__init__()
        self.loss, self.regions, self.softmax = loss, Regions(regions), softmax
        self.groups = [group for group in self.regions.groups() if len(group) > 1]

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compute the loss of ``logits`` (B, R, *spatial) and ``truth`` (B, R or R + 1, ...)."""
        if self.softmax and self.groups:
            logits = self.compete(logits)
        count = len(self.regions)
        if truth.shape[1] > count:
            ignored = truth[:, count:] > 0
            logits = torch.where(ignored, -_SURE, logits)
            truth = torch.where(ignored, 0.0, truth[:, :count])
        return self.loss(logits, truth)

    def compete(self, logits: torch.Tensor) -> torch.Tensor:
        """Give each of several exclusive regions the logit of its probability in a softmax."""
        channels = list(logits.unbind(1))
        for group in self.groups:
            scores = [logits[:, n] for n in group]
            for n in group:
                others = [torch.zeros_like(scores[0])]
                others += [score for m, score in zip(group, scores, strict=True) if m != n]
                channels[n] = logits[:, n] - torch.stack(others).logsumexp(dim=0)
        return torch.stack(channels, dim=1)
