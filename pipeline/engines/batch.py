"""How a batch reaches the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch


class AugmentedBatch(PrepareBatch):
    """Move image and label to the device, then augment the whole batch there.

    Args:
        augment: takes and returns a dictionary of tensors (B, C, *spatial); None for none.
    """

    def __init__(self, augment: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> None:
        self.augment = augment

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        batch = {
            key: torch.as_tensor(batchdata[key]).to(device, non_blocking=non_blocking, **kwargs)
            for key in ("image", "label")
        }
        if self.augment is not None:
            with torch.no_grad():
                batch = self.augment(batch)
        return batch["image"], batch["label"]
