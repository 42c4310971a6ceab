"""One measured case, and the collection of cases from all processes."""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import abspath, commonpath, dirname, relpath
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from monai.data import MetaTensor
from monai.utils.enums import CommonKeys


@dataclass
class MeasuredCase:
    """The row of a case, and what is needed to draw it later without keeping its image."""

    row: dict[str, Any]
    path: str | None  # of the image; of its first channel where each has a file
    spacing: tuple[float, ...]
    affine: np.ndarray
    shape: tuple[int, ...]
    packed: bytes  # prediction and truth, from `pack_masks`

    @property
    def score(self) -> float:
        """Mean Dice over the regions that some label holds; 0 if none does."""
        dice = [v for k, v in self.row.items() if k.startswith("dice/") and not np.isnan(v)]
        return float(np.mean(dice)) if dice else 0.0

    def unpack_masks(self) -> np.ndarray:
        """Prediction and truth, boolean ``(2, R, *spatial)``."""
        return unpack_masks(self.packed, self.shape)


def pack_masks(masks: np.ndarray) -> bytes:
    """Compress boolean masks, one bit per pixel, to a few kB."""
    return zlib.compress(np.packbits(masks).tobytes(), level=1)


def unpack_masks(packed: bytes, shape: Sequence[int]) -> np.ndarray:
    """The boolean masks of this shape that `pack_masks` compressed."""
    bits = np.frombuffer(zlib.decompress(packed), dtype=np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def gather_cases(cases: list[MeasuredCase]) -> list[MeasuredCase]:
    """Collect the cases of all processes, sorted by name and without repeats.

    A sampler repeats some cases so that all processes have the same number. If two files have
    the same name, all cases are named by their folders too.
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
            name = "_".join([*(part for part in parts if part != "."), case.row["case"]])
            taken[name] += 1
            case.row["case"] = name if taken[name] == 1 else f"{name}_{taken[name]}"
    return sorted(cases, key=lambda case: (case.row["case"], case.row["image"]))


def name_case(files: Sequence[str]) -> str:
    """``scans/eye.png`` and ``scans/eye.nii.gz`` to ``eye``.

    Several files, one for each channel, are named by what stands before the last ``_``, ``-`` or
    ``.`` that they share: ``head_T1.nii.gz`` and ``head_T2.nii.gz`` give ``head``.
    """
    first, *others = (Path(file.removesuffix(".gz")).stem for file in files)
    for match in reversed(list(re.finditer(r"(?<!^)[_.-]", first)) if others else []):
        if all(stem.startswith(first[: match.end()]) for stem in others):
            return first[: match.start()]
    return first


def find_file(image: Any) -> str | None:
    """Path of the (first) file that an image was loaded from, if its metadata has one."""
    name = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else None
    return str(name) if name else None


def list_paths(item: Mapping[str, Any]) -> list[str]:
    """The paths of an image in a dataset's list of cases, as its metadata says them."""
    image = item.get(CommonKeys.IMAGE)
    each = image if isinstance(image, list | tuple) else [image]
    return [str(Path(str(path)).expanduser()) for path in each]


def pick_examples(cases: Sequence[Any]) -> dict[str, Any]:
    """The worst, the median and the best of cases in this order, none of them twice."""
    places = {"Worst": 0, "Median": (len(cases) - 1) // 2, "Best": -1}
    if len(cases) < 3:
        del places["Median"]
    if len(cases) < 2:
        del places["Best"]
    return {name: cases[place] for name, place in places.items()}
