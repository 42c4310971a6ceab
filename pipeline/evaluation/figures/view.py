"""A volume as radiologists look at it: three planes through a structure.

Everything is turned to LPS first: x runs to the patient's left, y to the back, z to the head. An
axial plane then has the patient's right on its left side and the front at the top. A coronal plane
has the head at the top, and a sagittal one the front on its left side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..surface import find_spans
from .display import grey_window, read_layers

SAGITTAL, CORONAL, AXIAL = 0, 1, 2  # the axis of LPS across each plane
EDGES = {AXIAL: "RLAP", CORONAL: "RLSI", SAGITTAL: "APSI", None: ""}  # left, right, top, bottom
MARGIN = 20.0  # mm around a structure


@dataclass
class Plane:
    """One plane, rows from top to bottom."""

    axis: int | None  # None for a photograph
    index: int  # of the slice
    slices: int
    picture: np.ndarray  # (H, W), grey, in [0, 1]
    prediction: np.ndarray  # (R, H, W), boolean
    truth: np.ndarray
    step: tuple[float, float]  # mm per px along a row and along a column
    window: tuple[float, float, float, float]  # around the structure: left, right, top, bottom, px


@dataclass
class VolumeView:
    """Planes by their axis, which show the cube around a structure."""

    planes: dict[int, Plane]
    outside: float  # ml of the prediction outside of this cube


def view_volume(
    path: str | Path | None,
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    affine: np.ndarray,
    window: Sequence[float] | None = None,
) -> VolumeView:
    """Read a volume again and look at its masks.

    Args:
        path: image file on the grid of the masks; None for a black image.
        prediction: boolean masks ``(R, X, Y, Z)`` in the order of the file.
        truth: boolean masks on the same grid.
        affine: ``(4, 4)`` of the masks, voxels to mm, RAS.
        window: the values of black and white; None for percentiles of the volume.

    Returns:
        Three planes with windows of one size around the structure.

    Raises:
        ValueError: the image is not on the grid of the masks.
    """
    image, predicted, true = read_layers(path, prediction, truth, affine=affine)
    step = image.pixdim.numpy().astype(float)
    image, predicted, true = image.numpy()[0], predicted.numpy(), true.numpy()
    middle, side, box = find_cube((true if true.any() else predicted).any(axis=0), step)
    union = predicted.any(axis=0)
    lost = np.count_nonzero(union) - np.count_nonzero(union[box])
    where = {"step": step, "middle": middle, "side": side}
    planes = cut_planes(image, predicted, true, window=window, **where)
    return VolumeView(planes, lost * float(np.prod(step)) / 1000)


def view_photograph(picture: np.ndarray) -> Plane:
    """A photograph ``(H, W)`` in [0, 1] without masks."""
    height, width = picture.shape
    none = np.zeros((0, height, width), dtype=bool)
    return Plane(None, 0, 1, picture, none, none, (1, 1), (0, width, 0, height))


def cut_planes(
    image: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    step: np.ndarray,
    middle: np.ndarray,
    side: float,
    window: Sequence[float] | None = None,
) -> dict[int, Plane]:
    """In each direction, cut the slice with the largest truth or, without one, prediction.

    Args:
        image: ``(X, Y, Z)`` in LPS.
        prediction, truth: ``(R, X, Y, Z)`` on its grid.
        step: mm per voxel.
        middle, side: of the cube that the planes show around the structure, in voxels and in mm.
        window: the values of black and white; None for percentiles.
    """
    marked = (truth if truth.any() else prediction).any(axis=0)
    black, white = window or grey_window(image)
    planes = {}
    for axis in (AXIAL, CORONAL, SAGITTAL):
        across, down = others = tuple(other for other in range(3) if other != axis)
        index = int(marked.sum(axis=others).argmax()) if marked.any() else marked.shape[axis] // 2
        x, y = middle[across], middle[down]
        if axis != AXIAL:
            y = image.shape[down] - 1 - y
        width, height = side / 2 / step[across], side / 2 / step[down]
        grey = (upright(image.take(index, axis), axis) - black) / max(white - black, 1e-6)
        planes[axis] = Plane(
            axis,
            index,
            image.shape[axis],
            np.clip(grey, 0, 1),
            upright(prediction.take(index, axis + 1), axis),
            upright(truth.take(index, axis + 1), axis),
            (step[across], step[down]),
            (x - width + 0.5, x + width + 0.5, y - height + 0.5, y + height + 0.5),
        )
    return planes


def find_cube(marked: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, float, tuple[slice, ...]]:
    """Middle in voxels, side in mm, and the voxels, of a cube around the marked ones."""
    middle, side = (np.array(marked.shape) - 1) / 2, float((marked.shape * step).max())
    if marked.any():
        spans = find_spans(marked)
        extents = (spans[:, 1] - spans[:, 0] + 1) * step
        middle, side = spans.mean(axis=1), min(extents.max() + 2 * MARGIN, side)
    first, last = (np.rint(middle + end * side / 2 / step).astype(int) for end in (-1, 1))
    return middle, side, tuple(map(slice, np.maximum(first, 0), last + 1))


def upright(plane: np.ndarray, axis: int) -> np.ndarray:
    """Turn ``(..., x, y)`` of LPS into rows, with the front or the head at the top."""
    plane = plane.swapaxes(-1, -2)
    return plane if axis == AXIAL else plane[..., ::-1, :]
