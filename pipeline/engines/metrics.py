"""Validation metrics of regions, cheap enough for every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather


class RegionDice(Metric):
    """Mean Dice over cases and regions, on the network's grid.

    Attached as ``dice``, it also sets ``dice/<region>``, the mean over cases, and ``pooled_iou``,
    the intersections divided by the unions, both summed over all cases and regions. A region that
    is empty in truth and prediction has a Dice of 1. Nothing leaves the device before the epoch
    ends. Takes the logits ``pred`` and the truth ``label``, each (B, R, *spatial).

    Args:
        regions: the names of the channels.
    """

    def __init__(self, regions: Sequence[str]) -> None:
        self.regions = list(regions)
        super().__init__(output_transform=itemgetter("pred", "label"))

    def reset(self) -> None:
        # Each (B, 3, R): intersection, prediction, truth. A process may get no cases.
        self.sums = [torch.zeros(0, 3, len(self.regions), dtype=torch.int64)]

    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        prediction, truth = (torch.as_tensor(each).flatten(2) for each in output)
        prediction, truth = prediction > 0, truth > 0.5  # of logits
        if prediction.shape[1] != len(self.regions):
            raise ValueError(
                f"{prediction.shape[1]} channels for the {len(self.regions)} regions {self.regions}"
            )
        parts = (prediction & truth, prediction, truth)
        self.sums.append(torch.stack([part.sum(dim=2) for part in parts], dim=1))

    def compute(self) -> dict[str, float]:
        sums = evenly_divisible_all_gather(
            torch.cat([each.to(self.sums[-1].device) for each in self.sums])
        ).double()
        both, total = sums[:, 0], sums[:, 1] + sums[:, 2]  # (cases, R)
        dice = torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)
        means = {
            f"dice/{name}": value
            for name, value in zip(self.regions, dice.mean(dim=0).tolist(), strict=True)
        }
        union = (total - both).sum().clamp(min=1)
        return {
            "dice": dice.mean().item(),
            **means,
            "pooled_iou": (both.sum() / union).item(),
        }

    def completed(self, engine: Engine, name: str) -> None:
        """Set scalars: MONAI compares the key metric, and trackers log the rest."""
        values = self.compute()
        engine.state.metrics.update(values)
        engine.state.metrics[name] = values["dice"]
