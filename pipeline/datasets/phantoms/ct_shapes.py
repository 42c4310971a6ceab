"""Shapes in millimetres, and the lattice of points on which they are evaluated.

A shape knows nothing of voxels: it gives the signed distance to its surface in mm, negative
inside. So a scene is the same on every grid. Coordinates are the patient's, RAS in mm; arrays are
float32 over ``(X, Y, Z)`` points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline

_FAR = np.float32(1e3)
Box = tuple[slice, slice, slice]
Vector = tuple[float, float, float] | np.ndarray


@dataclass
class Lattice:
    """Points at even steps: ``affine`` (4, 4) maps their indices to mm, at right angles."""

    affine: np.ndarray
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        self.inverse = np.linalg.inv(self.affine)
        #: width (mm) over which an edge passes through the cell of one point
        self.edge = np.float32(np.linalg.norm(self.affine[:3, :2], axis=0).mean())
        #: how far (mm) around a shape it may change anything: its fat, and half an edge
        self.reach = 3.0 + float(self.edge) / 2

    @property
    def everywhere(self) -> Box:
        return tuple(slice(0, n) for n in self.shape)

    def boxes(self, low: np.ndarray, high: np.ndarray) -> Iterator[tuple[int, Box]]:
        """Find the parts that hold blocks given in mm, ``(N, 3)``; blocks outside are left out."""
        middle = (low + high) / 2 @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        reach = (high - low) / 2 @ abs(self.inverse[:3, :3]).T
        start = np.maximum(np.floor(middle - reach), 0).astype(int)
        stop = np.minimum(np.ceil(middle + reach) + 1, self.shape).astype(int)
        for number in np.flatnonzero((start < stop).all(1)).tolist():
            pairs = zip(start[number].tolist(), stop[number].tolist(), strict=True)
            yield number, tuple(slice(*pair) for pair in pairs)

    def steps(self, box: Box, origin: Vector = (0, 0, 0)) -> list[np.ndarray]:
        """Indices along each axis, counted from the place ``origin`` (mm)."""
        index = self.inverse[:3, :3] @ origin + self.inverse[:3, 3]
        return [np.arange(s.start, s.stop) - at for s, at in zip(box, index, strict=True)]

    def linear(self, box: Box, weights: Vector, origin: Vector = (0, 0, 0)) -> np.ndarray:
        """``weights . (place - origin)``."""
        i, j, k = self.steps(box, origin)
        a, b, c = self.affine[:3, :3].T @ weights
        plane = (a * i[:, None] + b * j).astype(np.float32)
        return plane[..., None] + (c * k).astype(np.float32)

    def square(self, box: Box, form: np.ndarray, origin: Vector) -> np.ndarray:
        """``v . form . v`` of the way v from ``origin``; ``form`` is ``(3, 3)``, symmetric."""
        i, j, k = self.steps(box, origin)
        q = self.affine[:3, :3].T @ form @ self.affine[:3, :3]
        plane = q[0, 0] * i[:, None] ** 2 + q[1, 1] * j**2 + 2 * q[0, 1] * i[:, None] * j
        result = plane.astype(np.float32)[..., None] + (q[2, 2] * k**2).astype(np.float32)
        if abs(q[:2, 2]).max() > 1e-9 * abs(q).max():
            plane = 2 * (q[0, 2] * i[:, None] + q[1, 2] * j)
            result += plane.astype(np.float32)[..., None] * k.astype(np.float32)
        return result


@dataclass
class Waves:
    """A smooth random function of place: the sum of plane waves, 0 on average."""

    vectors: np.ndarray  # (K, 3), radians per mm
    phases: np.ndarray  # (K,)
    height: float  # root mean square

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        wavelength: tuple[float, float],
        height: float,
        count: int = 6,
    ) -> Waves:
        """Waves in all directions, ``wavelength`` in mm."""
        ways = rng.normal(size=(count, 3))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelength, (count, 1))
        return cls(2 * np.pi * ways / lengths, rng.uniform(0, 2 * np.pi, count), height)

    def __call__(self, lattice: Lattice, box: Box) -> np.ndarray:
        # the turns along the three axes multiply, so that the sum is one product of matrices
        turns = self.vectors @ lattice.affine[:3, :3]
        i, j, k = (
            np.exp(1j * step[:, None] * turn)
            for step, turn in zip(lattice.steps(box), turns.T, strict=True)
        )
        plane = i[:, None] * j * np.exp(1j * self.phases)
        plane = np.concatenate([plane.real, -plane.imag], axis=-1).astype(np.float32)
        total = plane @ np.concatenate([k.real, k.imag], axis=-1).T.astype(np.float32)
        return total * np.float32(self.height * np.sqrt(2 / len(self.phases)))


@dataclass
class Ellipsoid:
    """An ellipsoid, turned around the patient's axes, with an uneven surface."""

    centre: Vector
    radii: Vector
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))  # (3, 3), own axes as columns
    uneven: Waves | None = None

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.sqrt(((self.turn * self.radii) ** 2).sum(1))
        return self.centre - reach, self.centre + reach

    def distance(self, lattice: Lattice, box: Box) -> np.ndarray:
        """Near the surface the distance is right to first order."""
        radii = np.asarray(self.radii, float)
        level = lattice.square(box, self.turn / radii**2 @ self.turn.T, self.centre)
        slope = lattice.square(box, self.turn / radii**4 @ self.turn.T, self.centre)
        np.sqrt(level, out=level)
        level *= level - 1
        level /= np.sqrt(slope + np.float32(1e-9))
        return level if self.uneven is None else level + self.uneven(lattice, box)


@dataclass
class Tube:
    """A round rod along a curve; ``flat`` squeezes it in the direction from front to back."""

    curve: np.ndarray  # (N, 3) mm
    radii: np.ndarray  # (N,) mm
    flat: float = 1.0
    uneven: tuple[Waves, ...] = ()  # push the surface in and out

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        reach = self.radii[:, None] + self._slack()
        return (self.curve - reach).min(0), (self.curve + reach).max(0)

    def _slack(self) -> float:
        """Bound how far (mm) the surface may lie outside the plain rod."""
        return sum(2.5 * waves.height for waves in self.uneven)

    def distance(self, lattice: Lattice, box: Box) -> np.ndarray:
        """Right within the reach of the lattice; further away only known to be far."""
        result = np.full([s.stop - s.start for s in box], _FAR)
        form = np.diag((1, 1 / self.flat**2, 1))
        reach = np.maximum(self.radii[:-1], self.radii[1:])[:, None] + self._slack() + lattice.reach
        starts, stops = self.curve[:-1], self.curve[1:]
        blocks = np.minimum(starts, stops) - reach, np.maximum(starts, stops) + reach
        for number, part in lattice.boxes(*blocks):
            a, b, first, last = (*self.curve[number:][:2], *self.radii[number:][:2])
            part = _intersect(part, box)
            if not part:
                continue
            way = form @ (b - a)
            length = float((b - a) @ way)
            along = lattice.linear(part, way / length, a)
            inner = np.clip(along, 0, 1)
            along *= -2
            along += inner
            along *= inner
            along *= np.float32(length)
            along += lattice.square(part, form, a)  # now the squared distance to the middle line
            np.sqrt(np.maximum(along, 0, out=along), out=along)
            inner *= np.float32(last - first)
            along -= inner
            along -= np.float32(first)
            inner = zip(part, box, strict=True)
            there = result[tuple(slice(p.start - s.start, p.stop - s.start) for p, s in inner)]
            np.minimum(there, along, out=there)
        result *= np.float32((1 + self.flat) / 2)  # about mm again
        for waves in self.uneven:
            result += waves(lattice, box)
        return result


@dataclass
class Union:
    """Several shapes as one."""

    parts: list[Ellipsoid | Tube]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = zip(*(part.bounds() for part in self.parts), strict=True)
        return np.min(low, 0), np.max(high, 0)

    def distance(self, lattice: Lattice, box: Box) -> np.ndarray:
        return np.minimum.reduce([part.distance(lattice, box) for part in self.parts])


Shape = Ellipsoid | Tube | Union


def _intersect(one: Box, other: Box) -> Box | None:
    parts = [
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    ]
    return tuple(parts) if all(part.start < part.stop for part in parts) else None


def smooth_curve(points: list[Vector] | np.ndarray, count: int = 20) -> np.ndarray:
    """``(count, 3)`` places at even steps on a smooth curve through the points."""
    points = np.asarray(points, float)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(np.sqrt(lengths))])  # centripetal: no loops
    fine = CubicSpline(along, points)(np.linspace(0, along[-1], 8 * count))
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    even = np.linspace(0, steps[-1], count)
    return np.stack([np.interp(even, steps, axis) for axis in fine.T], axis=1)
