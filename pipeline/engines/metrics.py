"""Validation metrics of regions, cheap enough for every epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from operator import itemgetter

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather

from ..transforms.regions import Regions

logger = logging.getLogger(__name__)


class RegionDice(Metric):
    """Mean Dice over cases and regions, on the network's grid.

    Attached as ``dice``, it also sets ``dice/<region>``, the mean over cases, and ``pooled_iou``,
    the intersections divided by the unions, both summed over all cases and regions. In a case
    without a region Dice is 1 if nothing is predicted, and else 0. A region that no case holds has
    no Dice and no part in the others; without any region ``dice`` is nan, the only value. Nothing
    leaves the device before the epoch ends. Takes the logits ``pred`` (B, R, *spatial) and the
    truth ``label``, whose last channel, if it has R + 1, marks the voxels that do not count.

    Args:
        regions: see `Regions`, which decides what the logits mark.
    """

    def __init__(self, regions: Mapping[str, Sequence[int]]) -> None:
        self.regions = Regions(regions)
        self.told = False
        super().__init__(output_transform=itemgetter("pred", "label"))

    def reset(self) -> None:
        # Each (B, 3, R): intersection, prediction, truth. A process may get no cases.
        self.sums = [torch.zeros(0, 3, len(self.regions), dtype=torch.int64)]

    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        prediction, truth = (torch.as_tensor(each).flatten(2) for each in output)
        count, names = len(self.regions), self.regions.names
        if prediction.shape[1] != count:
            raise ValueError(f"{prediction.shape[1]} channels for the {count} regions {names}")
        # A volume too large for a GPU is put together on the CPU.
        truth = truth.to(prediction.device)
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
        held = sums[:, 2].sum(dim=0) > 0  # (R,)
        names = [name for name, each in zip(self.regions.names, held.tolist(), strict=True) if each]
        self.tell_absent([name for name in self.regions.names if name not in names])
        if not names:
            return {"dice": math.nan}
        sums = sums[:, :, held]
        both, total = sums[:, 0], sums[:, 1] + sums[:, 2]  # (cases, regions that are held)
        dice = torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)
        means = zip(names, dice.mean(dim=0).tolist(), strict=True)
        return {
            "dice": dice.mean().item(),
            **{f"dice/{name}": value for name, value in means},
            "pooled_iou": (both.sum() / (total - both).sum()).item(),
        }

    def tell_absent(self, names: Sequence[str]) -> None:
        """Log, once, the regions that no case holds."""
        if names and not self.told and idist.get_rank() == 0:
            logger.warning(f"no validation label holds {', '.join(names)}: not in the Dice")
        self.told = True

    def completed(self, engine: Engine, name: str) -> None:
        """Set scalars: MONAI compares the key metric, and trackers log the rest."""
        values = self.compute()
        engine.state.metrics.update(values)
        engine.state.metrics[name] = values["dice"]
