"""How many voxels a training step can take: from the memory of a GPU, or the patience of a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..engines.memory import STEP_BYTES

#: Bytes that the loss keeps per voxel of a batch and per region, in float32. Measured with 12
#: regions and 2 patches of 64 x 64 x 64 voxels.
LOSS_BYTES = 73
_SHARE = 0.7  # of a GPU's memory; the rest is for the cache of cases, the weights and cuDNN


@dataclass(frozen=True)
class Device:
    """What a bundle is made for.

    Attributes:
        gigabytes: memory of the GPU; None for a CPU.
        source: where the number comes from, for the table.
    """

    gigabytes: float | None
    source: str

    def voxels(self, width: int, dims: int, regions: int) -> int | None:
        """How many voxels a step may hold, over the whole batch; None for a CPU."""
        if self.gigabytes is None:
            return None
        each = STEP_BYTES[dims] * width + LOSS_BYTES * regions
        return int(_SHARE * self.gigabytes * 1e9 / each)


def find_device(memory: float | None) -> Device:
    """The GPU whose memory is given, else this machine's, else its CPU."""
    if memory is not None:
        return Device(memory, f"--memory {memory:g}")
    if torch.cuda.is_available():
        gigabytes = torch.cuda.mem_get_info()[1] / 1e9
        return Device(gigabytes, f"the GPU of this machine has {gigabytes:.0f} GB")
    return Device(None, "this machine has no GPU; --memory 16 plans for one of 16 GB")
