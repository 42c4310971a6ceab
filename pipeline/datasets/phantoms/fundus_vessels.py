"""Retinal vessels, drawn as branching walks that start in the cup and cross disc and retina."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from .fundus_scene import Scene

#: Deviations (px) of the Gaussian profiles; a vessel's width falls on the nearest.
_PROFILES = np.array((0.7, 1.1, 1.6, 2.3, 3.2))
_STEP = 0.7  # px between the points of a walk
#: Points of centre lines, gathered before they are drawn all at once: y, x and width of each line.
_Ink = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def draw_vessels(scene: Scene, start: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Draw veins and arteries, each ``(H, W)`` float32, 1 on the middle of a wide vessel.

    Args:
        scene: the photograph.
        start: ``(y, x)`` where the vessels come out, in the nasal part of the cup.
    """
    trees = []
    unit = scene.radius / 250
    for base in (3.0, 2.3):  # veins are wider and darker
        ink: _Ink = []
        width = base * unit * scene.between(0.8, 1.2)
        for vertical in (-1, 1):
            # arcade: leaves upwards or downwards, then bends around the macula
            for side, bend in ((1, scene.between(0.3, 1.1)), (-1, scene.between(0.0, 0.6))):
                tilt = scene.between(0.05, 0.9) * side * scene.temporal
                angle = np.arctan2(vertical, tilt)
                turn = -vertical * side * scene.temporal * bend
                size = width * (1.0 if side == 1 else 0.75)
                _grow(scene, ink, start, angle, turn, scene.between(0.9, 1.5), size, depth=0)
        for _ in range(int(scene.rng.integers(1, 4))):  # small ones across the rim
            angle = scene.between(-0.9, 0.9) + (np.pi if scene.chance(0.5) else 0)
            _grow(scene, ink, start, angle, 0.0, scene.between(0.3, 0.8), width * 0.4, depth=1)
        trees.append(_blur_lines(ink, scene.y.size, scene.x.size))
    return trees[0], trees[1]


def _grow(
    scene: Scene,
    ink: _Ink,
    start: tuple[float, float],
    angle: float,
    turn: float,
    length: float,
    width: float,
    depth: int,
) -> None:
    """Walk from ``start``, and let branches leave; ``length`` in radii of the field of view."""
    count = max(int(length * scene.radius / _STEP), 12)
    along = np.linspace(0, 1, count)
    knots = max(count // 22, 4)
    wander = np.interp(along, np.linspace(0, 1, knots), scene.rng.normal(0, 0.20, knots))
    if depth == 0:  # tortuous where it climbs out of the cup
        near = np.exp(-along * length * scene.radius / (0.9 * scene.size))
        wander += near * scene.between(-1.3, 1.3) * np.sin(along * length * scene.radius / 9)
    heading = angle + turn * along**0.8 + wander
    y = start[0] + np.cumsum(np.sin(heading)) * _STEP
    x = start[1] + np.cumsum(np.cos(heading)) * _STEP
    widths = width * (1 - 0.65 * along)
    ink.append((y, x, widths))
    if depth == 2:
        return
    for _ in range(int(scene.rng.integers(2, 6)) - depth):
        at = int(count * scene.between(0.12, 0.85))
        fork = scene.between(0.35, 0.9) * (1 if scene.chance(0.5) else -1)
        _grow(
            scene, ink, (y[at], x[at]), heading[at] - wander[at] + fork, -0.6 * fork,
            length * scene.between(0.35, 0.8), widths[at] * scene.between(0.5, 0.8), depth + 1,
        )  # fmt: skip


def _blur_lines(ink: _Ink, height: int, width: int) -> np.ndarray:
    """Lay Gaussian profiles along the centre lines, one blur for each width."""
    y, x, widths = map(np.concatenate, zip(*ink, strict=True))
    inside = (y > 0) & (y < height - 1.001) & (x > 0) & (x < width - 1.001)
    y, x, widths = y[inside], x[inside], widths[inside]
    nearest = np.abs(widths[:, None] / 2 - _PROFILES).argmin(1)
    result = np.zeros((height, width), np.float32)
    for index, sigma in enumerate(_PROFILES):
        chosen = nearest == index
        if not chosen.any():
            continue
        row, column = y[chosen].astype(int), x[chosen].astype(int)
        fy, fx = y[chosen] - row, x[chosen] - column
        line = np.zeros(height * width, np.float32)
        for dy, dx, part in (
            (0, 0, (1 - fy) * (1 - fx)),
            (0, 1, (1 - fy) * fx),
            (1, 0, fy * (1 - fx)),
            (1, 1, fy * fx),
        ):
            place = (row + dy) * width + column + dx
            line += np.bincount(place, part, minlength=line.size).astype(np.float32)
        # a line of unit density keeps the height 1 / (sigma sqrt(2 pi)) under the blur
        line *= _STEP * sigma * np.sqrt(2 * np.pi)
        profile = gaussian_filter(line.reshape(height, width), sigma, truncate=3)
        # thin vessels are faint, wide ones have a flat top
        strength = min(1.0, 0.35 + 0.3 * sigma)
        result = np.maximum(result, strength * (1 - np.exp(-1.8 * profile)))
    return result
