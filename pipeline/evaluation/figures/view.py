"""A volume as radiologists look at it: three planes through a structure, and its surface.

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
GRID = 160  # largest number of pixels along the side of a surface


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
    window: tuple[
        float, float, float, float
    ]  # left, right, top, bottom in px, around the structure


@dataclass
class VolumeView:
    """Planes by their axis, and each region seen from the front."""

    planes: dict[int, Plane]
    prediction: list[np.ndarray]  # per region (2, H, W), see `shade_surface`
    truth: list[np.ndarray]
    side: float  # mm, of all windows and surfaces
    outside: float  # ml of the prediction that no surface shows


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
        Three planes with windows of one size around the structure, and its surfaces in this cube.

    Raises:
        ValueError: the image is not on the grid of the masks.
    """
    image, predicted, true = read_layers(path, prediction, truth, affine=affine)
    step = image.pixdim.numpy().astype(float)
    image, predicted, true = image.numpy()[0], predicted.numpy(), true.numpy()
    middle, side = find_cube((true if true.any() else predicted).any(axis=0), step)
    box = tuple(
        slice(max(0, round(centre - side / 2 / s)), max(0, round(centre + side / 2 / s)) + 1)
        for centre, s in zip(middle, step, strict=True)
    )
    corner = np.array([part.start for part in box])
    centre = (middle - corner) * step
    surfaces = [
        [shade_surface(mask[box], step, centre, side) for mask in masks]
        for masks in (predicted, true)
    ]
    for masks, seen in zip((predicted, true), surfaces, strict=True):
        places = [np.flatnonzero(mask) for mask in masks]
        for n, own in enumerate(places):
            larger = (m for m, other in enumerate(places) if len(other) > len(own))
            if any(masks[m].flat[own].all() for m in larger):
                seen[n][1] = np.minimum(seen[n][1], -1)
    union = predicted.any(axis=0)
    lost = np.count_nonzero(union) - np.count_nonzero(union[box])
    where = {"step": step, "middle": middle, "side": side}
    planes = cut_planes(image, predicted, true, window=window, **where)
    return VolumeView(planes, *surfaces, side, lost * float(np.prod(step)) / 1000)


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


def find_cube(marked: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle in voxels, and side in mm, of a cube around the marked voxels."""
    if not marked.any():
        return (np.array(marked.shape) - 1) / 2, float((marked.shape * step).max())
    spans = find_spans(marked)
    extents = (spans[:, 1] - spans[:, 0] + 1) * step
    return spans.mean(axis=1), min(extents.max() + 2 * MARGIN, (marked.shape * step).max())


def upright(plane: np.ndarray, axis: int) -> np.ndarray:
    """Turn ``(..., x, y)`` of LPS into rows, with the front or the head at the top."""
    plane = plane.swapaxes(-1, -2)
    return plane if axis == AXIAL else plane[..., ::-1, :]


def shade_surface(
    mask: np.ndarray, step: np.ndarray, middle: np.ndarray, side: float
) -> np.ndarray:
    """Shade a mask as seen from the patient's front, lit from the upper left.

    Args:
        mask: boolean ``(X, Y, Z)`` in LPS.
        step: mm per voxel.
        middle: of the view, in mm from the mask's first voxel.
        side: of the view in mm.

    Returns:
        ``(2, H, H)`` over the whole side: shade in [0, 1], nan outside the mask; and how far behind
        the front of the view it is, in px. `view_volume` sets that to -1 inside another region.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = min(GRID, int(np.ceil(side)))
    seen = np.full((2, size, size), np.nan)
    if not mask.any():
        return seen
    # Smoothing by less than a voxel removes the stairs that thick slices leave on the surface.
    smooth = gaussian_filter(np.pad(mask, 2).astype(np.float32), np.maximum(0.6, 0.8 / step))
    ticks = (np.arange(size) + 0.5) / size * side - side / 2  # mm from the middle
    down, right, back = np.meshgrid(-ticks, ticks, ticks, indexing="ij")
    points = np.stack([right, back, down]) + middle[:, None, None, None]
    solid = map_coordinates(smooth, points / step[:, None, None, None] + 2, order=1)
    hit = solid > 0.5 * min(1.0, float(smooth.max()))
    there = hit.any(axis=2)
    rows, columns = np.nonzero(there)
    first = np.stack([rows, columns, hit.argmax(axis=2)[there]])
    soft = gaussian_filter(solid, 1.2)
    normal = np.stack(
        [
            soft[tuple(np.clip(first + along, 0, size - 1))]
            - soft[tuple(np.clip(first - along, 0, size - 1))]
            for along in np.eye(3, dtype=int)[..., None]
        ]
    )  # into the mask
    light = np.array([0.45, 0.35, 0.82])  # down, to the right, and back
    lit = light @ normal / np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    seen[0, there], seen[1, there] = 0.25 + 0.75 * np.clip(lit, 0, 1), first[2]
    return seen
