"""The device of a run: taken, seeded, and what to do where its memory ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.utils import set_determinism

from ..errors import InputError, one_line
from .rules import DEVICE


def use_device(device: str | torch.device) -> None:
    """Make a GPU the current one of this process; ``cuda`` is the first, or torchrun's own.

    Raises:
        InputError: this machine has no such device, or fewer than processes.
    """
    if not DEVICE.holds(device):
        raise InputError(f"device is {str(device)!r}: {DEVICE.fix} (--device).")
    device = torch.device(device)
    if device.type == "cuda":
        own = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
        torch.cuda.set_device(torch.device("cuda", own if device.index is None else device.index))


def seed_generators(seed: int, deterministic: bool = False) -> None:
    """Seed every generator of this process, each process of a group in a way of its own.

    Args:
        seed: of the run; that of the first process.
        deterministic: cuDNN computes in the same way each time. Otherwise it takes the fastest way
            that it finds for each size of patch.
    """
    if rank := idist.get_rank():  # seed + rank would be that of another run's process
        seed = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    set_determinism(seed=seed)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def tell_out_of_memory(error: torch.OutOfMemoryError, config: Mapping[str, Any]) -> str:
    """Say in one line what a training needs less memory with; empty for another run."""
    if "train" not in config or "ckpt_path" in config:
        return ""
    sizes = (f"--{name} (now {config.get(name)})" for name in ("batch_size", "patch_size"))
    return (
        f"the GPU has too little memory for this training: give a smaller {' or '.join(sizes)}, "
        f"or --recompute True, or --cache_device cpu ({one_line(error, 120)})."
    )
