"""The frame of a drawn abdomen: its wall, spine and ribs, and one patient's densities in HU.

Coordinates are the patient's, RAS in mm. The origin is the middle of the vertebra behind the neck
of the pancreas; the back lies at y = -88.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from .ct_pancreas import Pancreas, draw_pancreas
from .ct_shapes import Box, Ellipsoid, Lattice, Shape, Tube, Union, smooth_curve

Density = float | Callable[[Lattice, Box], np.ndarray]
_ENDLESS = 1e5  # mm; the length of what runs through from top to bottom
FAT = -104.0


@dataclass
class Organ:
    """A shape, painted from the outside in.

    Attributes:
        layers: pairs of a depth in mm below the surface (negative: around it) and a density.
        grain: deviation of the density within the organ, HU.
        inside: whether the abdominal wall cuts it.
        role: what it does to the label.
    """

    shape: Shape
    layers: list[tuple[float, Density]]
    grain: float = 3.0
    inside: bool = True
    role: Literal["pancreas", "tumour", "cover"] | None = None


@dataclass
class Body:
    """The parts of one patient."""

    rng: np.random.Generator
    hu: dict[str, float]
    slim: float  # 0 much fat between the organs, 1 hardly any
    wide: float  # of the inner abdomen against the average
    deep: float
    cavity: Union  # within the abdominal wall
    pancreas: Pancreas
    organs: list[Organ]

    def at(self, x: float, y: float, z: float) -> np.ndarray:
        """Move a place in an average abdomen to this one."""
        return np.array((x * self.wide, y * (self.deep if y > 0 else 1.0), z))

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corners of the organs, each ``(N, 3)`` mm."""
        low, high = zip(*(organ.shape.bounds() for organ in self.organs), strict=True)
        return np.array(low), np.array(high)

    def like_pancreas(self) -> float:
        """Draw the density of a bowel wall, HU, which differs from the gland's only by noise."""
        return float(self.hu["pancreas"] + self.rng.normal(0, 5))


def new_body(rng: np.random.Generator) -> Body:
    """Draw skin, fat and muscles, the densities of the organs, and where the pancreas lies."""
    portal = rng.random() < 0.85  # else without contrast medium
    names = ("liver", "spleen", "kidney", "vein", "artery", "muscle")
    table = (105, 118, 178, 158, 150, 62) if portal else (56, 48, 32, 41, 41, 52)
    hu = {name: value * rng.normal(1, 0.07) for name, value in zip(names, table, strict=True)}
    hu["pancreas"] = rng.normal(92, 11) if portal else rng.normal(40, 4)

    width, depth = 168 * rng.uniform(0.86, 1.14), 120 * rng.uniform(0.88, 1.15)
    fat, wall = rng.uniform(8, 32), rng.uniform(8, 13)
    middle = depth - 88

    def outline(inset: float) -> Union:
        size = (width - 30 - inset, depth - inset, _ENDLESS)
        return Union([Ellipsoid((side, middle, 0), size) for side in (-30, 30)])

    cavity = outline(fat + wall)
    return Body(
        rng,
        hu,
        slim=rng.uniform(0, 1),
        wide=float(np.clip((width - fat - wall) / 137, 0.85, 1.2)),
        deep=float(np.clip((middle + depth - fat - wall) / 122, 0.85, 1.2)),
        cavity=cavity,
        pancreas=draw_pancreas(rng),
        organs=[
            Organ(outline(0), [(0, 20.0), (2, FAT)], grain=6, inside=False),
            Organ(outline(fat), [(0, hu["muscle"])], grain=6, inside=False),
            Organ(cavity, [(0, FAT)], grain=7, inside=False),
        ],
    )


def draw_spine_and_muscles(body: Body) -> list[Organ]:
    """Draw back muscles, vertebrae with discs, and ribs."""
    rng, muscle = body.rng, body.hu["muscle"]
    organs = []
    for side in (-1, 1):
        back = Ellipsoid((side * 36, -50, 0), (34, 27, _ENDLESS))
        organs.append(Organ(back, [(-2, FAT), (0, muscle)], grain=8, inside=False))
        psoas = np.array([(side * 26, -6, 30), (side * 38, -5, -40), (side * 52, 0, -150)], float)
        radii = np.linspace(7, 24, 8)
        organs.append(Organ(Tube(smooth_curve(psoas, 8), radii), [(-1, FAT), (0, muscle)], 6))
        crus = np.array([(side * 11, 22, -25), (side * 14, 22, 20), (side * 26, 14, 90)], float)
        organs.append(Organ(Tube(smooth_curve(crus, 6), np.linspace(3, 7, 6)), [(0, muscle)]))
    start, bone = rng.uniform(0, 34), rng.uniform(140, 230)

    def body_and_disc(lattice: Lattice, box: Box) -> np.ndarray:
        # 0 in the middle of a disc
        from_disc = np.abs(lattice.linear(box, (0, 0, 1), (0, 0, start)) % 34 - 17)
        return np.where(from_disc < 4, 85, np.where(from_disc < 5.5, 300, bone)).astype(np.float32)

    column = Ellipsoid((0, 0, 0), (25, 18, _ENDLESS))
    organs.append(Organ(column, [(0, 380.0), (2, body_and_disc)], grain=20, inside=False))
    arch = Ellipsoid((0, -27, 0), (15, 13, _ENDLESS))
    organs.append(Organ(arch, [(0, 330.0), (4.5, 35.0)], grain=10, inside=False))
    for z in start + 34 * np.arange(-6.0, 7.0):
        for centre, radii in (((0, -27, z), (40, 5, 6)), ((0, -52, z - 8), (4, 15, 11))):
            process = Organ(Ellipsoid(centre, radii), [(0, 330.0), (2.0, 180.0)], inside=False)
            organs.insert(-1, process)  # before the arch, so that its canal stays free
    inner = body.cavity.parts[1]
    reach = inner.radii[0] + 34, inner.radii[1] + 4  # within the muscles
    angle = np.linspace(-1.35, 0.5, 8)
    for side in (-1, 1):
        x, y = side * reach[0] * np.cos(angle), inner.centre[1] + reach[1] * np.sin(angle)
        for number in range(6):
            z = 30 + 27 * number - 55 * np.linspace(0, 1, 8)
            rib = Tube(smooth_curve(np.column_stack([x, y, z]), 11), np.full(11, 5.0), flat=0.8)
            organs.append(Organ(rib, [(0, 420.0), (1.8, 160.0)], inside=False))
    return organs


def fill_to_level(height: float, below: float, above: float) -> Density:
    """Fill with fluid below and gas above, as in a patient who lies on the back."""
    gas, fluid = np.float32(above), np.float32(below)
    return lambda lattice, box: np.where(lattice.linear(box, (0, 1, 0)) > height, gas, fluid)
