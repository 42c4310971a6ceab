"""Bring a network's logits back to the grid of the image's file."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

from ..errors import InputError
from .mark import PROBABILITIES, as_bytes
from .regions import Regions
from .sampling import along_axes, sample_slabs


class RestoreGridd(MapTransform):
    """Convert logits (R, *spatial) on the network's grid to binary uint8 on the grid of the file.

    Undoes the orientation, crops, paddings and resampling of the image, like MONAI's ``Invertd``
    with ``nearest_interp=False``: the logits are interpolated linearly, and decide the regions, see
    `Regions.mark`. What was cropped away is 0. Unlike ``Invertd``, it works slab by slab, in hardly
    more memory than the result takes, and only around what is marked.

    The result carries the image's metadata and its file's own affine, and no operations.

    Attributes:
        keeps_probabilities: whether the probabilities stay, (R, *spatial) on the grid of the file,
            uint8 in 1/255, under ``probabilities``.

    Args:
        keys: the logits.
        regions: see `Regions`.
        threshold: probability above which a region is marked.
        orig_keys: the preprocessed image of each, on the grid of the logits, with the operations
            that MONAI's transforms recorded on it.

    Raises:
        InputError: the axes of a file are not at right angles; the message names the file.
        ValueError: the logits and the image differ in size, or an operation cannot be undone.
    """

    keeps_probabilities = False

    def __init__(
        self,
        keys: KeysCollection,
        regions: Mapping[str, Sequence[int]],
        threshold: float = 0.5,
        orig_keys: KeysCollection = "image",
    ) -> None:
        super().__init__(keys)
        self.regions, self.threshold = Regions(regions), threshold
        self.orig_keys = ensure_tuple_rep(orig_keys, len(self.keys))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out, level = dict(data), math.log(self.threshold / (1 - self.threshold))
        for key, orig_key in self.key_iterator(out, self.orig_keys):
            out[key], chances = restore_grid(
                out[key], out[orig_key], self.regions, level, keep=self.keeps_probabilities
            )
            if chances is not None:
                out[PROBABILITIES] = chances
        return out


class Line(NamedTuple):
    """The voxels along one axis of some grid, each by its place on the network's grid."""

    axis: int  # of the network's grid
    places: np.ndarray  # in voxels, float64
    inside: np.ndarray  # bool: not cropped away


def restore_grid(
    logits: torch.Tensor, image: MetaTensor, regions: Regions, level: float, *, keep: bool
) -> tuple[MetaTensor, torch.Tensor | None]:
    """Convert ``logits`` (R, *spatial) to binary uint8 on the grid that ``image`` was read on.

    With ``keep``, also to the probabilities there, uint8 in 1/255.
    """
    if logits.shape[1:] != image.shape[1:]:
        raise ValueError(f"the logits are {logits.shape[1:]}, their image {image.shape[1:]}.")
    lines = find_file_lines(image)
    logits = logits.as_tensor() if isinstance(logits, MetaTensor) else logits
    size = [len(line.places) for line in lines]
    mask = torch.zeros((len(logits), *size), dtype=torch.uint8, device=logits.device)
    chances = torch.zeros_like(mask) if keep else None
    if not keep:
        lines = near_marks(lines, (logits > level).any(dim=0))
    # Only the box that the crops kept is filled.
    boxes = [kept_range(line.inside) for line in lines]
    if all(boxes):
        turned = logits.permute(0, *(line.axis + 1 for line in lines))
        places = [line.places[part] for line, part in zip(lines, boxes, strict=True)]
        target = mask[(slice(None), *boxes)]
        for rows, values in sample_slabs(turned, places):
            target[:, rows] = regions.mark(values, level)
            if chances is not None:
                chances[(slice(None), *boxes)][:, rows] = as_bytes(values.sigmoid())
    meta = deepcopy(image.meta)
    affine = meta.get("original_affine", np.eye(4))  # a picture has none
    meta["affine"] = torch.as_tensor(affine, dtype=torch.float64)
    return MetaTensor(mask, meta=meta), chances


def find_file_lines(image: MetaTensor) -> list[Line]:
    """Find the axes of the file that ``image`` (C, *spatial) was read from, as lines of voxels."""
    n = image.ndim - 1
    affine = to_affine_nd(n, np.asarray(image.affine, dtype=np.float64))
    lines = [
        Line(a, np.arange(size, dtype=float), np.full(size, True))
        for a, size in enumerate(image.shape[1:])
    ]
    for record in reversed(unpack_paddings(image.applied_operations)):
        before = [int(size) for size in record["orig_size"]][:n]
        matrix = step_matrix(record, affine, before, [len(line.places) for line in lines])
        ways = along_axes(matrix, before)
        if ways is None:
            name = image.meta.get("filename_or_obj", "the image")
            raise InputError(
                f"{name}: its axes are not at right angles, so a prediction cannot be put back on "
                "its grid; resample it to an upright grid first."
            )
        crop = "cropped" in record.get("extra_info", {})
        lines = [
            follow(lines[axis], pace * np.arange(size) + start, crop=crop)
            for (axis, pace, start), size in zip(ways, before, strict=True)
        ]
        affine = affine @ matrix
    return lines


def unpack_paddings(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the records, with a crop that holds a padding as the two that it is."""
    pairs = ((record, record.get("extra_info", {}).get("pad_info")) for record in records)
    return [each for pair in pairs for each in pair if each]


def step_matrix(
    record: Mapping[str, Any], affine: np.ndarray, before: Sequence[int], after: Sequence[int]
) -> np.ndarray:
    """Map the voxels before an operation to those after it, whose affine is ``affine``."""
    n, info = len(affine) - 1, record.get("extra_info", {})
    matrix = np.eye(n + 1)
    if "cropped" in info:
        matrix[:n, n] = [-int(cut) for cut in info["cropped"][: 2 * n : 2]]
    elif "padded" in info:
        matrix[:n, n] = [int(added[0]) for added in info["padded"][1 : n + 1]]
    elif record["class"] in ("Resize", "ResizePictured"):
        scale = np.divide(after, before)
        matrix[range(n), range(n)], matrix[:n, n] = scale, (scale - 1) / 2
    elif "src_affine" in info or "original_affine" in info:
        source = info["src_affine"] if "src_affine" in info else info["original_affine"]
        source = to_affine_nd(n, np.asarray(source, dtype=np.float64))
        matrix = np.linalg.solve(affine, source)
    else:
        raise ValueError(f"RestoreGridd cannot undo {record['class']}; use MONAI's Invertd.")
    return matrix


def follow(line: Line, places: np.ndarray, *, crop: bool) -> Line:
    """Make the line whose voxels lie at ``places``, in voxels of ``line``."""
    last = len(line.places) - 1
    places = np.round(places, 6)  # rounding of the affines
    clipped = np.clip(places, 0, last)
    # Beside a voxel that was cropped away, the logit fades to 0 and keeps its sign.
    inside = line.inside[np.floor(clipped).astype(int)] | line.inside[np.ceil(clipped).astype(int)]
    if crop:
        inside &= places == clipped
    return Line(line.axis, np.interp(clipped, np.arange(last + 1), line.places), inside)


def near_marks(lines: Sequence[Line], marked: torch.Tensor) -> list[Line]:
    """Keep of each line what lies beside a marked voxel: between others, no logit is above a level.

    Args:
        lines: the axes of the file.
        marked: bool (*spatial), on the network's grid.
    """
    out = []
    for line in lines:
        others = [axis for axis in range(marked.ndim) if axis != line.axis]
        found = np.flatnonzero(marked.any(dim=others).cpu())
        low, high = (found[0] - 1, found[-1] + 1) if len(found) else (np.inf, -np.inf)
        near = (line.places > low) & (line.places < high)
        out.append(line._replace(inside=line.inside & near))
    return out


def kept_range(inside: np.ndarray) -> slice | None:
    """Find the range of one axis that was not cropped away."""
    kept = np.flatnonzero(inside)
    return slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) else None
