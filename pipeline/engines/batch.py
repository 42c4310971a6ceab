"""Prepare a batch for the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch


class AugmentedBatch(PrepareBatch):
    """Move image and label to the device as float32, then augment the whole batch there.

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
        batch = {}
        for key in ("image", "label"):
            tensor = as_plain(batchdata[key])
            if tensor.device.type == "cpu" and torch.device(device or "cpu").type == "cuda":
                tensor, non_blocking = tensor.pin_memory(), True  # nothing waits for the copy
            batch[key] = tensor.to(device, non_blocking=non_blocking, **kwargs).float()
        if self.augment is not None:
            with torch.no_grad():
                batch = self.augment(batch)
        return batch["image"], batch["label"]


def as_plain(tensor: torch.Tensor) -> torch.Tensor:
    """Drop the metadata of a MetaTensor, which cost time in every operation."""
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
