"""The loss of regions, in which ignored voxels do not count, and that of several outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.losses import DeepSupervisionLoss
from torch import nn

from ..transforms.regions import Regions

_SURE = 30.0  # a logit whose sigmoid is 0 or 1 in float32, without gradient
_ROUNDING = 0.01  # of a resampled channel that was 0 there


class RegionLoss(nn.Module):
    """Apply a loss with sigmoids, such as MONAI's ``DiceFocalLoss(sigmoid=True)``, to regions.

    Where the last of R + 1 channels of the truth is above 0, the voxel is ignored: its prediction
    and truth are set to a background without a gradient.

    Args:
        loss: takes logits and truth, each (B, R, *spatial).
        regions: see `Regions`.
    """

    def __init__(self, loss: nn.Module, regions: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.loss, self.count = loss, len(Regions(regions))

    def take_soft_labels(self) -> None:
        """Use the Dice that is best where the prediction is the soft label.

        The usual one, 2 sum(p t) / (sum(p) + sum(t)), is best at a prediction of 0 and 1: the
        pixels whose share t is above half that Dice. The other is (|p| + |t| - |p - t|) /
        (|p| + |t|) with sums of absolute values, the same for hard labels (Wang et al. 2023, "Dice
        semimetric losses", arXiv:2303.16296). MONAI has it as ``soft_label``, which its combined
        losses do not pass on.
        """
        for part in self.loss.modules():
            if hasattr(part, "soft_label"):
                part.soft_label = True

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compute the loss of ``logits`` (B, R, *spatial) and ``truth`` (B, R or R + 1, ...)."""
        if truth.shape[1] > self.count:
            ignored = truth[:, self.count :] > _ROUNDING
            logits = torch.where(ignored, -_SURE, logits)
            truth = torch.where(ignored, 0.0, truth[:, : self.count])
        return self.loss(logits, truth)


class LevelLoss(nn.Module):
    """Compute a loss; MONAI's ``DeepSupervisionLoss`` without its wait for the GPU in each step.

    Args:
        loss: takes the network's output and the truth.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: torch.Tensor | list[torch.Tensor], truth: torch.Tensor) -> Any:
        """Sum the weighted losses of ``outputs``, a list of (B, R, *spatial), or compute one."""
        if not (isinstance(self.loss, DeepSupervisionLoss) and isinstance(outputs, list)):
            return self.loss(outputs, truth)
        weights = self.loss.get_weights(len(outputs))
        pairs = zip(weights, outputs, strict=True)
        return sum(weight * self.loss.get_loss(each.float(), truth) for weight, each in pairs)
