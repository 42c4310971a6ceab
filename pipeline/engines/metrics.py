"""Validation metrics of regions, cheap enough for every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather

from ..transforms.regions import Regions


class RegionDice(Metric):
    """Mean Dice over cases and regions, on the network's grid.

    Attached as ``dice``, it also sets ``dice/<region>``, the mean over cases, and ``pooled_iou``,
    the intersections divided by the unions, both summed over all cases and regions. A region that
    is empty in truth and prediction has a Dice of 1. Nothing leaves the device before the epoch
    ends. Takes the logits ``pred`` (B, R, *spatial) and the truth ``label``, whose last channel, if
    it has R + 1, marks the voxels that do not count.

    Args:
        regions: see `Regions`, which decides what the logits mark.
    """

    def __init__(self, regions: Mapping[str, Sequence[int]]) -> None:
        self.regions = Regions(regions)
        super().__init__(output_transform=itemgetter("pred", "label"))

    def reset(self) -> None:
        # Each (B, 3, R): intersection, prediction, truth. A process may get no cases.
        self.sums = [torch.zeros(0, 3, len(self.regions), dtype=torch.int64)]

    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        prediction, truth = (torch.as_tensor(each).flatten(2) for each in output)
        count, names = len(self.regions), self.regions.names
        if prediction.shape[1] != count:
            raise ValueError(f"{prediction.shape[1]} channels for the {count} regions {names}")
        prediction, truth = self.regions.mark(prediction, dim=1), truth > 0.5
        if truth.shape[1] > count:
            counts, truth = ~truth[:, count:], truth[:, :count]
            prediction, truth = prediction & counts, truth & counts
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
            for name, value in zip(self.regions.names, dice.mean(dim=0).tolist(), strict=True)
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
