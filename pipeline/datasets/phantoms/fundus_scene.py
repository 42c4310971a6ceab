"""The parts of a drawn fundus photograph: retina, nerve head, vessels, light.

Lengths are in pixels. ``(u, v)`` are a disc's own coordinates, in which its border is the unit
circle; ``temporal`` is the image direction (+1 right, -1 left) in which the macula lies. Pictures
are float32 ``(H, W, 3)``, RGB in about 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

#: Tones of real fundi under different lamps and pigments, RGB in 0..1.
_TONES = (
    (0.30, 0.13, 0.06),
    (0.72, 0.36, 0.12),
    (0.66, 0.24, 0.09),
    (0.70, 0.42, 0.31),
    (0.46, 0.31, 0.15),
)


@dataclass
class Scene:
    """The places and sizes of things in one photograph."""

    rng: np.random.Generator
    y: np.ndarray  # (H, 1) rows
    x: np.ndarray  # (1, W) columns
    radius: float  # of the field of view
    centre: tuple[float, float]  # of the field of view, (y, x)
    disc: tuple[float, float]  # centre of the disc, (y, x)
    size: float  # vertical radius of the disc
    temporal: int

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def blob(self, y: float, x: float, sigma_y: float, sigma_x: float | None = None) -> np.ndarray:
        """Draw a Gaussian spot with peak 1, ``(H, W)``."""
        rows = np.exp(-0.5 * ((self.y - y) / sigma_y) ** 2)
        return rows * np.exp(-0.5 * ((self.x - x) / (sigma_x or sigma_y)) ** 2)

    def noise(self, cell: float) -> np.ndarray:
        """Draw smooth normal noise of unit deviation, grains about ``cell`` px wide, ``(H, W)``."""
        spreads = []
        for places in (self.y, self.x):
            count = int(places.size / cell) + 4
            weights = np.exp(-1.2 * (places.reshape(-1, 1) / cell - np.arange(count) + 1.5) ** 2)
            weights = weights.astype(np.float32)
            spreads.append(weights / np.linalg.norm(weights, axis=1, keepdims=True))
        shape = (spreads[0].shape[1], spreads[1].shape[1])
        return spreads[0] @ self.rng.standard_normal(shape, np.float32) @ spreads[1].T

    def ellipse(self, unevenness: float) -> tuple[np.ndarray, np.ndarray]:
        """Draw ``(u, v)`` of a tilted, slightly uneven disc, each ``(H, W)`` float64."""
        tilt, wide = self.between(-0.25, 0.25), self.between(0.82, 1.0)
        dy, dx = self.y.astype(float) - self.disc[0], self.x.astype(float) - self.disc[1]
        u = (math.cos(tilt) * dx + math.sin(tilt) * dy) / (self.size * wide)
        v = (math.cos(tilt) * dy - math.sin(tilt) * dx) / self.size
        waves = [(k, unevenness / k) for k in (2, 3, 5)]
        around = 1 + _waves(u, v, [(k, size, self.between(0, 2 * math.pi)) for k, size in waves])
        return u / around, v / around


def _waves(u: np.ndarray, v: np.ndarray, waves: list[tuple[int, float, float]]) -> np.ndarray:
    """Sum ``size * cos(k * angle + phase)`` by complex powers, the same on every machine."""
    unit = (u + 1j * v) / np.maximum(np.sqrt(u * u + v * v), 1e-9)
    total = np.zeros(u.shape)
    for k, size, phase in waves:
        power = unit
        for _ in range(k - 1):
            power = power * unit
        total += size * (power.real * math.cos(phase) - power.imag * math.sin(phase))
    return total


def new_scene(rng: np.random.Generator) -> Scene:
    """Choose the field of view, the eye, and the place and size of its disc."""
    width = int(rng.integers(420, 641))
    height = int(width * rng.uniform(0.8, 1.0))
    radius = width * rng.uniform(0.46, 0.5)  # wider than high: top and bottom are cut off
    centre = (height / 2 + rng.uniform(-0.02, 0.02) * height, width / 2)
    temporal = 1 if rng.random() < 0.5 else -1
    offset = (rng.uniform(-0.2, 0.2) * radius, -temporal * rng.uniform(-0.1, 0.45) * radius)
    return Scene(
        rng=rng,
        y=np.arange(height, dtype=np.float32)[:, None],
        x=np.arange(width, dtype=np.float32)[None, :],
        radius=radius,
        centre=centre,
        disc=(centre[0] + offset[0], centre[1] + offset[1]),
        size=width * rng.uniform(0.075, 0.115),
        temporal=temporal,
    )


def measure_from_cup(scene: Scene, u: np.ndarray, v: np.ndarray, ratio: float) -> np.ndarray:
    """Measure the distance from the cup, 1 at its border, whose height is ``ratio`` discs."""
    room = min(0.85 * (0.97 - ratio), 0.3)  # a rim stays all around
    way, angle = room * scene.between(0, 1), scene.between(-1.2, 1.2)
    dv = v - way * math.sin(angle)
    du = u - scene.temporal * way * math.cos(angle)  # cups lean to the temporal side
    wide = ratio * scene.between(0.88, 1.0)
    uneven = 1 + _waves(du, dv, [(3, 0.02, scene.between(0, 2 * math.pi))])
    return np.sqrt((du / wide) ** 2 + (dv / ratio) ** 2) / uneven


def _soft(distance: np.ndarray, softness: float) -> np.ndarray:
    """1 inside the border at distance 1, 0 outside, one half on it."""
    return expit((1 - distance) * (4 / softness))


def _grey_to_colour(amount: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """``(H, W)`` times a colour, ``(H, W, 3)``."""
    return amount[..., None] * np.float32(colour)


def paint_retina(scene: Scene) -> np.ndarray:
    """Paint the retina without disc and vessels: tone, grain, choroid and macula."""
    weights = scene.rng.dirichlet(np.full(len(_TONES), 0.5))
    tone = np.float32(weights @ np.array(_TONES)) * np.float32(scene.between(0.6, 1.3))
    grain = 0.03 * scene.noise(5) + 0.05 * scene.noise(40) + 0.08 * scene.noise(120)
    if scene.chance(0.4):  # choroidal vessels shine through as bright, branching bands
        bands = 1 - 1.3 * np.abs(scene.noise(14))
        grain += scene.between(0.04, 0.10) * np.clip(bands, 0, 1) * (scene.noise(90) > -0.5)
    tint = grain[..., None] * np.float32((0.7, 1.0, 1.1))
    picture = tone * (1 + tint)
    away = scene.size * scene.between(4.2, 5.4)
    macula = (
        scene.disc[0] + scene.size * scene.between(0.1, 0.9),
        scene.disc[1] + scene.temporal * away,
    )
    dark = scene.blob(*macula, scene.size * scene.between(0.6, 1.3))
    picture *= 1 - _grey_to_colour(scene.between(0.15, 0.5) * dark, (0.6, 0.9, 1.0))
    return picture.astype(np.float32)


def add_atrophy(
    scene: Scene, picture: np.ndarray, distance: np.ndarray, u: np.ndarray
) -> np.ndarray:
    """Add a pale or pigmented crescent, most often at the temporal border of the disc."""
    if not scene.chance(0.45):
        return picture
    side = scene.temporal if scene.chance(0.8) else -scene.temporal
    reach = 1 + scene.between(0.1, 0.4) * np.clip(side * u / np.maximum(distance, 0.1), 0, 1)
    alpha = _soft(distance / reach, 0.1) * np.float32(scene.between(0.15, 0.5))
    if scene.chance(0.3):
        return picture * (1 - alpha[..., None] * np.float32(0.6))
    pale = picture * np.float32(1.15) + np.float32((0.16, 0.14, 0.09))
    return picture + alpha[..., None] * (pale - picture)


def paint_nerve_head(
    scene: Scene, picture: np.ndarray, to_disc: np.ndarray, to_cup: np.ndarray
) -> np.ndarray:
    """Paint the rim, brighter than the retina, and the paler cup in it, with soft borders."""
    mean = picture.reshape(-1, 3).mean(0)
    lift = scene.between(0.10, 0.30)
    rim = mean * np.float32(scene.between(0.95, 1.25)) + lift * np.float32((1.0, 0.62, 0.30))
    pallor = scene.between(0.10, 0.34)
    yellow = scene.between(0.45, 0.95)
    cup = rim + pallor * np.float32((0.75, 1.05, yellow))
    fibres = (1 + 0.02 * scene.noise(4) + 0.035 * scene.noise(20))[..., None]
    alpha = _soft(to_disc, scene.between(0.08, 0.3))[..., None]
    picture = picture + alpha * (rim * fibres - picture)
    alpha = (_soft(to_cup, scene.between(0.2, 0.7)) * _soft(to_disc, 0.1))[..., None]
    shine = 1 + 0.10 * np.clip(1 - to_cup, 0, 1)[..., None]
    return (picture + alpha * (cup * fibres * shine - picture)).astype(np.float32)


def add_bright_distractors(scene: Scene, picture: np.ndarray, to_disc: np.ndarray) -> np.ndarray:
    """Add bright things that are not the disc: exudates, reflexes, and glare at the border."""
    outside = 1 - _soft(to_disc / 1.25, 0.2)

    def place(low: float, high: float) -> tuple[float, float]:
        angle, way = scene.between(0, 2 * math.pi), scene.between(low, high) * scene.radius
        return scene.centre[0] + way * math.sin(angle), scene.centre[1] + way * math.cos(angle)

    if scene.chance(0.35):  # hard exudates: small, yellow, in groups
        y, x = place(0.2, 0.75)
        spread = scene.between(0.04, 0.12) * scene.radius
        spots = np.zeros(outside.shape, np.float32)
        for _ in range(int(scene.rng.integers(6, 30))):
            dy, dx = scene.rng.normal(0, spread, 2)
            spots = np.maximum(spots, scene.blob(y + dy, x + dx, scene.between(0.8, 2.8)))
        picture = picture + _grey_to_colour(spots * outside, (0.30, 0.30, 0.14))
    if scene.chance(0.5):  # sheen of the nerve fibres, broad and pale, around the disc
        sheen = np.exp(-0.5 * ((to_disc - scene.between(1.6, 2.6)) / 0.6) ** 2)
        sheen *= np.clip(scene.noise(30) * 0.5 + 0.3, 0, 1) * outside
        picture = picture + _grey_to_colour(sheen * scene.between(0.04, 0.12), (0.8, 1.0, 0.9))
    if scene.chance(0.35):  # a reflex as large as a disc
        size = scene.size * scene.between(0.5, 1.1)
        spot = scene.blob(*place(0.35, 0.85), size, size * scene.between(0.7, 1.4)) * outside
        picture = picture + _grey_to_colour(spot * scene.between(0.1, 0.35), (0.9, 0.8, 0.55))
    if scene.chance(0.35):  # glare through the edge of the pupil
        glow = scene.blob(*place(1.0, 1.15), scene.radius * scene.between(0.12, 0.35))
        picture = picture + _grey_to_colour(glow * scene.between(0.15, 0.5), (0.8, 0.62, 0.1))
    return picture


def draw_illumination(scene: Scene) -> np.ndarray:
    """Draw vignetting, a slope of light and, in some, a shadow, as a factor ``(H, W)``."""
    dy, dx = scene.y - scene.centre[0], scene.x - scene.centre[1]
    light = 1 - scene.between(0.05, 0.45) * (dy**2 + dx**2) / scene.radius**2
    angle, slope = scene.between(0, 2 * math.pi), scene.between(0, 0.3)
    light += slope * (math.sin(angle) * dy + math.cos(angle) * dx) / scene.radius
    if scene.chance(0.45):
        angle, way = scene.between(0, 2 * math.pi), scene.between(0.6, 0.95) * scene.radius
        shadow = scene.blob(
            scene.centre[0] + way * math.sin(angle),
            scene.centre[1] + way * math.cos(angle),
            scene.radius * scene.between(0.2, 0.45),
        )
        light *= 1 - scene.between(0.3, 0.8) * shadow
    return np.clip(light, 0.05, None).astype(np.float32)


def draw_field_of_view(scene: Scene) -> np.ndarray:
    """Draw 1 where the camera sees the eye and 0 around it, ``(H, W)``; some have a notch."""
    dy, dx = scene.y - scene.centre[0], scene.x - scene.centre[1]
    seen = expit(scene.radius - np.hypot(dy, dx))
    if scene.chance(0.5):  # cameras mark the upper right so
        along, across = (dx - dy) / math.sqrt(2), (dx + dy) / math.sqrt(2)
        notch = (np.abs(across) < 0.05 * scene.radius) & (along > 0)
        seen = np.maximum(seen, notch & (along < 1.05 * scene.radius))
    return seen.astype(np.float32)
