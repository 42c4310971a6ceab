"""A drawn pancreas: head, neck, body and tail, its surface, duct, tumour, and nearest vessels.

Coordinates are the patient's, RAS in mm: the head lies to the right (+x) of the spine, the tail to
the left, behind and above. The origin is the middle of the vertebra behind the neck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .ct_shapes import Ellipsoid, Tube, Waves, smooth_curve

#: Middle line of an average gland, from the lowest point of the head to the tip of the tail.
_LINE = (
    ((44, 43, -44), 10.5),
    ((44, 47, -25), 15.5),
    ((37, 54, -4), 14.5),
    ((14, 65, 6), 9.8),
    ((-14, 66, 11), 10.8),
    ((-44, 46, 16), 11.3),
    ((-66, 17, 19), 10.0),
)
_NECK = 3  # of the points of _LINE


@dataclass
class Pancreas:
    """The gland and its course, for the organs that touch it."""

    gland: Tube
    line: np.ndarray  # (40, 3) mm, from head to tail
    radii: np.ndarray  # (40,) mm
    neck: int  # index on the line
    lump: Ellipsoid  # where a tumour grows, if there is one
    duct: Tube | None  # the part that a tumour widens

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of gland and tumour, mm."""
        low, high = zip(self.gland.bounds(), self.lump.bounds(), strict=True)
        return np.min(low, 0), np.max(high, 0)

    def beside(self, place: int, right: float, front: float, up: float) -> np.ndarray:
        """Move from the middle line at ``place`` by mm."""
        return self.line[place] + (right, front, up)


def draw_pancreas(rng: np.random.Generator) -> Pancreas:
    """Draw size, course and lobulation."""
    course = np.array([point for point, _ in _LINE], float)
    radii = np.array([radius for _, radius in _LINE])
    # transverse, rising or hanging tail; a long or short head
    tail = rng.normal(0, 15) * np.array([0, 0, 0, 0.1, 0.3, 0.7, 1.1])
    head = rng.normal(0, 8) * np.array([1, 0.5, 0, 0, 0, 0, 0])
    arch = rng.normal(0, 7) * np.array([0, 0, 0.3, 0.8, 1, 0.4, 0])
    course[:, 2] += tail - head
    course[:, 1] += arch
    course += rng.normal(0, 3.0, course.shape)
    course = course[_NECK] + (course - course[_NECK]) * np.exp(
        rng.normal((-0.14, -0.02, -0.12), (0.2, 0.16, 0.14))
    )
    # thin and thick glands, and an atrophic or plump end
    radii = radii * np.exp(np.clip(rng.normal(0.05, 0.2), -0.4, 0.3))
    radii *= np.exp(rng.normal(0, 0.1, len(radii)))
    radii *= np.linspace(1, np.exp(rng.normal(-0.05, 0.22)), len(radii))
    line = smooth_curve(course, 40)
    where = np.sort([np.linalg.norm(line - point, axis=1).argmin() for point in course])
    radii = np.interp(np.arange(40), where, np.maximum(radii, 5.5))
    lobes = rng.uniform(0.4, 1.2)
    gland = Tube(
        line,
        radii,
        flat=rng.uniform(0.72, 1.0),
        uneven=(
            Waves.draw(rng, (18, 40), rng.uniform(0.6, 1.6)),
            Waves.draw(rng, (7, 14), lobes, 8),
        ),
    )
    neck = int(where[_NECK])
    return Pancreas(gland, line, radii, neck, *_draw_tumour(rng, line, radii, neck))


def _draw_tumour(
    rng: np.random.Generator, line: np.ndarray, radii: np.ndarray, neck: int
) -> tuple[Ellipsoid, Tube | None]:
    """Draw a lump of 8 to 50 mm, often in the head, and the widened duct upstream of one there."""
    in_head = rng.random() < 0.65
    place = int(rng.uniform(3, neck) if in_head else rng.uniform(neck + 3, 36))
    size = np.clip(np.exp(rng.normal(np.log(12.5), 0.42)), 4.5, 26)
    sizes = size * np.exp(rng.normal(0, 0.15, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    centre = line[place] + rng.normal(0, 0.3, 3) * radii[place]
    uneven = Waves.draw(rng, (1.1 * size, 2.2 * size), 0.08 * size)
    lump = Ellipsoid(centre, sizes, turn, uneven)
    wide = rng.uniform(1.2, 3.2)
    if not in_head or rng.random() < 0.3:
        return lump, None
    line = line[place:36]
    return lump, Tube(line, np.linspace(wide, 0.6 * wide, len(line)))


def place_vessels(rng: np.random.Generator, pancreas: Pancreas) -> tuple[list[Tube], list[Tube]]:
    """Place veins and arteries along the gland; they cut grooves into it.

    The superior mesenteric vein climbs behind the neck, takes up the splenic vein that runs along
    the back of body and tail, and goes on as the portal vein; the artery lies to its left.
    """
    neck, wide = pancreas.neck, rng.uniform(4.2, 6.5)
    behind = -pancreas.gland.flat * pancreas.radii
    meeting = pancreas.beside(neck, 0, behind[neck] - 0.7 * wide, 2)
    way = [(-4, 6, -110), (0, 3, -55), (-1, 1, -22), (0, 0, 0), (14, -4, 22), (38, 2, 48)]
    portal = smooth_curve(meeting + np.array(way, float))
    course = [meeting] + [
        pancreas.beside(place, 0, behind[place] - rng.uniform(-0.5, 2.5), rng.uniform(0, 6))
        for place in range(neck + 5, 39, 6)
    ]
    course.append(pancreas.beside(-1, -14, -8, 8))
    splenic = smooth_curve(course, 24)
    veins = [
        Tube(portal, np.full(20, wide)),
        Tube(splenic, np.linspace(0.75 * wide, 0.5 * wide, 24)),
    ]
    root = np.array((-9.0, 36.0, meeting[2] + 8))  # on the front of the aorta
    mesenteric = smooth_curve(
        [
            root,
            (-8, meeting[1] - 6, meeting[2] - 12),
            (meeting[0] - 16, meeting[1] - 2, meeting[2] - 45),
            (meeting[0] - 16, meeting[1] + 6, meeting[2] - 110),
        ]
    )
    arteries = [Tube(mesenteric, np.full(20, rng.uniform(2.8, 4.0)))]
    # the splenic artery winds along the upper border
    places = range(neck, 39, 5)
    winding = [(-8.0, 40.0, root[2] + 16)] + [
        pancreas.beside(p, 0, 0.7 * behind[p], pancreas.radii[p] * rng.uniform(0.6, 1.2))
        for p in places
    ]
    arteries.append(Tube(smooth_curve(winding, 30), np.full(30, rng.uniform(1.8, 3.0))))
    return veins, arteries
