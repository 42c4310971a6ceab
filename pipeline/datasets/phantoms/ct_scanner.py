"""A drawn CT scan: the grid of its voxels, partial volume, blur and noise."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter

from .ct_body import Body
from .ct_shapes import Lattice, Waves

_STEP = 1.25  # mm between the points at which shapes are sampled, unless all voxels are larger
_BRICK = 80  # points along each side: what a processor's cache holds
_GRAIN = Waves.draw(np.random.Generator(np.random.PCG64(0)), (4, 15), 1.0)  # of all tissues
#: Order of the axes on disk, and how often it occurs.
ORIENTATIONS = {"RAS": 0.3, "LAS": 0.3, "LPS": 0.3, "RPS": 0.05, "PIR": 0.05}


def draw_grid(
    rng: np.random.Generator,
    body: Body,
    *,
    size: tuple[int, int, int] | None = None,
    field_of_view: float | None = None,
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Choose voxels that hold the whole pancreas; the third axis counts the slices.

    Args:
        rng: of the scan, not of the patient.
        body: the patient.
        size: number of voxels; by default what the field of view and the spacing give.
        field_of_view: width of a slice, mm, more where the pancreas needs it; by default what
            it needs or, with ``size``, what voxels of 0.6 to 1 mm make of that.

    Returns:
        The affine, ``(4, 4)`` in patient coordinates, and the number of voxels.
    """
    low, high = body.pancreas.bounds()
    middle, extent = (low + high) / 2, high - low
    tilt = np.zeros(3)
    if rng.random() < 0.4:  # oblique: the patient lies askew, or the gantry leans
        tilt = np.radians(rng.normal(0, (6, 3, 4)).clip(-12, 12))
    slices = float(rng.choice([1.0, 2.5, 5.0, rng.uniform(1, 5)], p=[0.1, 0.5, 0.15, 0.25]))
    margin = rng.uniform(6, 30)
    wanted, spacing = rng.uniform(150, 230), rng.uniform(0, 1)
    if field_of_view is None:
        if size:
            wanted = min(size[:2]) * (0.6 + 0.4 * spacing)
        field_of_view = wanted
    field_of_view = max(field_of_view, float(extent[:2].max()) + 16)
    if size is None:
        finest = max(0.6, field_of_view / (256 if field_of_view < 256 else 512))
        pixels = round(field_of_view / (finest + spacing * (1 - finest)))
        size = (pixels, pixels, int(np.ceil((extent[2] + 2 * margin) / slices)))
    slices = max(slices, (extent[2] + 12) / size[2])
    steps = np.array([field_of_view / min(size[:2])] * 2 + [slices])

    affine = np.eye(4)
    affine[:3, :3] = _turn(tilt) * steps
    room = (steps * size - extent) / 2 - 6
    # a wide slice shows the whole body, whose middle is behind the gland and to its right
    whole = np.clip((steps * size - 230) / 130, 0, 1) * (1, 1, 0)
    middle = middle + whole * ((0, body.cavity.parts[0].centre[1], 0) - middle)
    middle += rng.uniform(-1, 1, 3) * np.clip(room, 0, (12, 12, 60))
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(size) - 1) / 2)
    return affine, size


def _turn(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix of angles (radians) around x, y and z, in this order."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one[a, a] = one[b, b] = np.cos(angle)
        one[b, a], one[a, b] = np.sin(angle), -np.sin(angle)
        turn = one @ turn
    return turn


def paint(
    body: Body, affine: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Paint all organs, brick by brick.

    Each voxel is the mean of several points along its coarse axes: the partial volume effect.

    Returns:
        HU without noise, float32 ``(X, Y, Z)``, and the label, uint8: a voxel belongs to the gland
        if at least half of it does, and to the tumour if that has the larger part.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    factors = np.ceil(spacing / max(_STEP, spacing.min()) - 1e-6).astype(int)
    fine = affine @ np.diag((*1 / factors, 1))
    fine[:3, 3] -= affine[:3, :3] @ (0.5 - 0.5 / factors)
    layers = np.empty((3, *shape), np.float32)
    spans = [
        [slice(at, min(at + step, count)) for at in range(0, count, step)]
        for count, step in zip(shape, np.maximum(_BRICK // factors, 1).tolist(), strict=True)
    ]
    for brick in product(*spans):
        place = fine.copy()
        place[:3, 3] += fine[:3, :3] @ ([s.start for s in brick] * factors)
        split = [(s.stop - s.start, int(f)) for s, f in zip(brick, factors, strict=True)]
        painted = _paint_brick(body, Lattice(place, tuple(n * f for n, f in split)))
        layers[:, *brick] = painted.reshape(3, *(n for pair in split for n in pair)).mean((2, 4, 6))
    hu, gland, tumour = layers
    label = np.where(gland + tumour < 0.5, 0, np.where(tumour > gland, 2, 1))
    return hu, label.astype(np.uint8)


def _paint_brick(body: Body, lattice: Lattice) -> np.ndarray:
    """HU, and the shares of gland and tumour, ``(3, X, Y, Z)``."""
    result = np.zeros((3, *lattice.shape), np.float32)
    hu, gland, tumour = result
    hu -= 1000
    texture = _GRAIN(lattice, lattice.everywhere)
    half = lattice.edge / 2
    wall = body.cavity.distance(lattice, lattice.everywhere) + 1
    far_inside = wall.max() < -lattice.reach
    low, high = body.bounds
    for number, box in lattice.boxes(low - lattice.reach, high + lattice.reach):
        organ = body.organs[number]
        distance = organ.shape.distance(lattice, box)
        if organ.inside and not far_inside:
            np.maximum(distance, wall[box], out=distance)
        nearest, furthest = distance.min() - half, distance.max() + half
        if nearest > lattice.reach:
            continue
        covering = [n for n, (depth, _) in enumerate(organ.layers) if furthest + depth <= 0]
        for depth, density in organ.layers[covering[-1] if covering else 0 :]:
            if organ.role is None and nearest + depth >= 0:
                break
            part = np.float32(0.5) - (distance + np.float32(depth)) / lattice.edge
            np.clip(part, 0, 1, out=part)
            value = density(lattice, box) if callable(density) else np.float32(density)
            value = value + np.float32(organ.grain) * texture[box]
            if furthest + depth <= 0:
                hu[box] = value
            else:
                value -= hu[box]
                hu[box] += part * value
        if organ.role == "pancreas":
            gland[box] = part
        elif organ.role == "tumour":
            tumour[box] = part
        if organ.role in ("tumour", "cover"):
            gland[box] *= 1 - part
        if organ.role == "cover":
            tumour[box] *= 1 - part
    return result


def scan(rng: np.random.Generator, hu: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Add the blur and the grain of a scanner, and round to int16 HU."""
    step = float(np.linalg.norm(affine[:3, 0]))
    blur, width = rng.uniform(0.4, 0.7) / step, rng.uniform(0.5, 0.9) / step
    hu = gaussian_filter(hu, (blur, blur, 0))
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = gaussian_filter(noise, (width, width, 0.4))  # the filter of the reconstruction
    noise *= np.float32(rng.uniform(9, 22) / noise.std())
    hu += noise
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
