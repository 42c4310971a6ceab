"""One measured case, and the cases of all processes together."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from dataclasses import dataclass
from os.path import abspath, commonpath, dirname, relpath
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from monai.data import MetaTensor


@dataclass
class Case:
    """A row, and what it takes to draw the case without having kept its image."""

    row: dict[str, Any]
    path: str | None
    spacing: tuple[float, ...]
    affine: np.ndarray
    shape: tuple[int, ...]
    packed: bytes  # prediction and truth as `pack` makes them

    @property
    def score(self) -> float:
        """Mean Dice over the regions."""
        return float(np.mean([v for k, v in self.row.items() if k.startswith("dice/")]))

    def masks(self) -> np.ndarray:
        """Prediction and truth, boolean ``(2, R, *spatial)``."""
        bits = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        flat = np.unpackbits(bits, count=int(np.prod(self.shape)))
        return flat.reshape(self.shape).astype(bool)


def pack(masks: np.ndarray) -> bytes:
    """Boolean masks in one bit per pixel, compressed: some kB."""
    return zlib.compress(np.packbits(masks).tobytes(), level=1)


def gathered(cases: list[Case]) -> list[Case]:
    """The cases of all processes, by name; a sampler repeats some to even out the processes.

    Where two files have the same name, all cases are called by their folders too.
    """
    if idist.get_world_size() > 1:
        every = [case for part in idist.all_gather(cases) for case in part]
        # Two readers' labels of one image are two cases.
        files = [(case.path, case.row["label"]) if case.path else id(case) for case in every]
        cases = list(dict(zip(files, every, strict=True)).values())
    if len({case.row["case"] for case in cases}) < len(cases) and all(case.path for case in cases):
        root = commonpath([dirname(abspath(case.path)) for case in cases])
        taken: Counter[str] = Counter()
        for case in sorted(cases, key=lambda case: (case.path, case.row["label"])):
            parts = relpath(dirname(abspath(case.path)), root).split(os.sep)
            name = "_".join([*(part for part in parts if part != "."), stem(case.path)])
            taken[name] += 1
            case.row["case"] = name if taken[name] == 1 else f"{name}_{taken[name]}"
    return sorted(cases, key=lambda case: (case.row["case"], case.row["image"]))


def file_of(image: Any) -> str | None:
    """Path of the file that an image was loaded from, if it says so."""
    name = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else None
    return str(name) if name else None


def stem(path: str) -> str:
    """``scans/eye.png`` and ``scans/eye.nii.gz`` to ``eye``."""
    return Path(path.removesuffix(".gz")).stem
