"""How much memory is free, and how many cases fit into it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import ADVICE, InputError, UnfitFile
from ..transforms.volume_file import open_volume

logger = logging.getLogger(__name__)

#: Bytes that a training step keeps per voxel of a batch and per channel of the network's finest
#: level, in float32. Measured as the growth of the process, widths 16 to 256: 3D at 96 voxels and
#: batch 2, 2D at 512 px and batch 5. bfloat16 takes less.
STEP_BYTES = {2: 118, 3: 84}


def free_memory(device: str | torch.device = "cpu") -> int:
    """Count the bytes that this process can still get from a device, caches included."""
    device = torch.device(device)
    if device.type == "cuda":
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reusable
    amounts = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":") for line in lines)
        amounts.append(int(fields["MemAvailable"].split()[0]) * 1024)
        amounts += read_group_limits()
    except (OSError, KeyError, ValueError):
        if not amounts:
            import psutil

            amounts.append(psutil.virtual_memory().available)
    return max(0, min(amounts))


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory was short; MONAI wraps such an error, and cuDNN has its own."""
    words = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or any(each in str(error) for each in words):
            return True
        error = error.__cause__
    return False


def read_group_limits(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """Read how many bytes the limits of a container or a Slurm job leave.

    The figures of the machine do not show them. A limit may be set at the control group of this
    process (version 1 or 2) or at any above it. Cached files count as free.
    """
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, use, counted = root, "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            top, counted = root / "memory", "total_"  # of the groups below too
            limit, use = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            file = group / limit
            if file.is_file() and (most := file.read_text().strip()) != "max":
                lines = (group / "memory.stat").read_text().splitlines()
                stat = dict(each.split() for each in lines)
                kept = sum(int(stat[f"{counted}{kind}_file"]) for kind in ("inactive", "active"))
                yield int(most) - int((group / use).read_text()) + kept
            if group == top:
                break


def cases_that_fit(
    cases: Sequence[Mapping[str, Any]],
    *,
    spacing: Sequence[float] | None,
    device: str | torch.device = "cpu",
    share: float = 0.8,
    bytes_per_voxel: int = 3,
    least: Sequence[int] = (1, 1, 1),
    batch: Sequence[int] = (),
    after: Any = None,
) -> int:
    """Count the cases that a cache can hold, and log it before the cache is filled.

    The sizes follow from the headers: the voxels after resampling, without the crop to the body,
    so they are rather too large. Cases that do not fit are read anew in every epoch: slower, but
    nothing runs out of memory.

    Args:
        cases: each with the path of its ``image``, a volume, or the paths of its channels.
        spacing: of the cached voxels, in mm, right-left, back-front, down-up; None for pictures,
            which are all of the size ``least``.
        device: that holds the cache.
        share: of the free memory that this cache and the one before may take together. The
            processes that ``torchrun`` started on this machine share its memory.
        bytes_per_voxel: 2 for each channel in float16 and 1 for each region.
        least: size in voxels that smaller cases are padded to.
        batch: (B, C, *spatial) of the network's finest level in a training step, whose memory
            stays free; C counts the regions too, for the loss.
        after: the ``CacheDataset`` that was filled before.

    Raises:
        InputError: an image cannot be read as a volume.
    """
    import nibabel

    sizes = []
    for case in cases:
        if spacing is None:
            sizes.append(bytes_per_voxel * math.prod(least))
            continue
        files = case["image"] if isinstance(case["image"], list) else [case["image"]]
        try:
            image = open_volume(files[0])
        except UnfitFile as error:
            raise InputError(f"{files[0]}: it {error}. {ADVICE}") from None
        axes = nibabel.io_orientation(image.affine)[:, 0].astype(int)
        zooms = np.linalg.norm(image.affine[:3, :3], axis=0)
        lengths = [0.0, 0.0, 0.0]  # mm, in the order of spacing
        for axis, count, step in zip(axes, image.voxels.shape, zooms, strict=False):
            lengths[axis] = count * step
        voxels = (math.ceil(length / step) for length, step in zip(lengths, spacing, strict=True))
        sizes.append(bytes_per_voxel * math.prod(map(max, voxels, least)))
    free, total = free_memory(device), sum(sizes)
    if torch.device(device).type == "cpu":
        free //= int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cached = (each for item in getattr(after, "_cache", ()) for each in item.values())
    held = sum(each.nbytes for each in cached if isinstance(each, torch.Tensor))
    step = STEP_BYTES[len(batch) - 2] * math.prod(batch) if batch else 0
    room = max(0, min(share * (free + held), free + held - step) - held)
    count, taken = 0, 0.0
    while count < len(sizes) and taken + sizes[count] <= room:
        taken += sizes[count]
        count += 1
    text = f"cache of {len(sizes)} cases on {device}: {total / 1e9:.2f} GB of {room / 1e9:.2f} GB"
    if count < len(sizes):
        logger.warning(
            f"{text}; {count} of them fit, and the others are read anew in every epoch. Give a "
            f"{'larger --spacing' if spacing else 'smaller --roi_size'}, or --cache_device cpu if "
            "the GPU has less memory than the machine."
        )
    else:
        logger.info(text)
    return count
