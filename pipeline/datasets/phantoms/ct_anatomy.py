"""The organs of the upper abdomen around a drawn pancreas, as shapes with a density.

Places are those of an average abdomen until `Body.at` moves them. Organs are painted in the order
of their list, so that the later one shows where two meet.
"""

from __future__ import annotations

import numpy as np

from .ct_body import FAT, Body, Density, Organ, draw_spine_and_muscles, fill_to_level, new_body
from .ct_pancreas import place_vessels
from .ct_shapes import Box, Ellipsoid, Lattice, Tube, Union, Waves, smooth_curve


def draw_body(rng: np.random.Generator, *, tumour: bool) -> Body:
    """Draw a patient; one with and one without ``tumour`` are the same otherwise."""
    body = new_body(rng)
    body.organs += [*_draw_bowel(body), *_draw_upper_organs(body)]
    # a layer of fat around the gland, thick, thin or with gaps
    gap = Waves.draw(rng, (25, 60), 2.0)
    halo = Tube(body.pancreas.line, body.pancreas.radii + 1.5 - 3 * body.slim, uneven=(gap,))
    body.organs.append(Organ(halo, [(0, FAT)]))
    body.organs += [
        *draw_spine_and_muscles(body),
        *_draw_behind(body),
        *_draw_gland(body, tumour=tumour),
    ]
    return body


def _draw_bowel(body: Body) -> list[Organ]:
    """Draw loops of small bowel, as dense as the pancreas, their vessels, and the colon."""
    rng, organs = body.rng, []
    oral_contrast = rng.random() < 0.35

    def inside_of_loop(height: float) -> Density:
        kind = rng.choice(["fluid", "gas", "contrast"], p=[0.6, 0.15, 0.25])
        if kind == "contrast" and oral_contrast:
            return rng.uniform(150, 350)
        return fill_to_level(height, 15.0, -850.0) if kind == "gas" else rng.uniform(8, 35)

    starts = [
        body.at(rng.uniform(-100, 100), rng.uniform(35, 100), rng.uniform(-130, -25))
        for _ in range(44)
    ]
    for place in rng.integers(body.pancreas.neck + 2, 40, 16):  # some lean on body and tail
        away = body.pancreas.radii[place] + rng.uniform(4, 24)
        angle = rng.uniform(-0.6, 2.8)  # in front or below
        starts.append(
            body.pancreas.beside(
                place, rng.normal(0, 12), away * np.sin(angle), -away * np.cos(angle)
            )
        )
    for start in starts:
        way = rng.normal(size=3)
        points = [start]
        for _ in range(4):
            way = 0.7 * way / np.linalg.norm(way) + 0.6 * rng.normal(size=3)
            points.append(points[-1] + 26 * way / np.linalg.norm(way))
        radii = rng.uniform(8, 13) * (1 + 0.12 * rng.normal(size=11).clip(-2, 2))
        density = body.like_pancreas()
        layers = [(-2.5 * (1 - body.slim), FAT), (0, density)]
        if rng.random() < 0.4:
            layers.append((rng.uniform(2.5, 4.5), inside_of_loop(points[2][1])))
        organs.append(Organ(Tube(smooth_curve(points, 11), radii), layers, grain=6))
    for _ in range(24):  # vessels of the mesentery
        end = body.at(rng.uniform(-85, 85), rng.uniform(40, 95), rng.uniform(-120, 10))
        root = np.array((rng.normal(5, 8), 58, rng.uniform(-80, -5)))
        bend = (root + end) / 2 + rng.normal(0, 9, 3)
        curve = smooth_curve([root, bend, end], 8)
        density = body.hu[str(rng.choice(["vein", "artery"]))]
        organs.append(Organ(Tube(curve, np.linspace(2.6, 1.0, 8)), [(0, density)]))
    colon = [(112, 12, -140), (112, 22, -30), (88, 70, -38), (20, 100, -46), (-60, 88, -10)]
    colon += [(-108, 38, 24), (-116, 8, -40), (-116, 6, -140)]
    points = [body.at(*place) + rng.normal(0, 7, 3) for place in colon]
    radii = rng.uniform(14, 24) * (1 + 0.15 * np.sin(np.arange(40) * 1.9))
    stool, gas = Waves.draw(rng, (9, 25), 1.0), rng.uniform(60, 110)

    def content(lattice: Lattice, box: Box) -> np.ndarray:
        lumps = 20 - 400 * np.clip(stool(lattice, box), 0, 1)
        return np.where(lattice.linear(box, (0, 1, 0)) > gas, np.float32(-900), lumps)

    layers = [(-2.0, FAT), (0, body.like_pancreas()), (2.5, content)]
    organs.append(Organ(Tube(smooth_curve(points, 40), radii), layers))
    return organs


def _draw_upper_organs(body: Body) -> list[Organ]:
    """Draw lungs, stomach, liver, gall bladder and spleen."""
    rng, hu = body.rng, body.hu
    organs = [
        Organ(Ellipsoid(body.at(side, 5, 175), (78, 95, 95)), [(0, -840.0)], grain=25)
        for side in (-85, 85)
    ]
    stomach = [(-22, 22, 80), (-62, 40, 62), (-72, 78, 24), (-42, 98, -2), (8, 96, -8), (42, 76, 0)]
    points = [body.at(*place) + rng.normal(0, 5, 3) for place in stomach]
    radii = np.interp(np.linspace(0, 5, 18), range(6), (14, 32, 30, 24, 17, 11))
    fill = fill_to_level(
        rng.uniform(60, 115), rng.choice([18.0, 30.0, rng.uniform(80, 250)]), -900.0
    )
    layers = [(-2.0, FAT), (0, body.like_pancreas()), (rng.uniform(4, 7), fill)]
    size = rng.uniform(0.65, 1.05)
    organs.append(Organ(Tube(smooth_curve(points, 18), size * radii), layers, grain=6))
    bumps = Waves.draw(rng, (60, 140), 4)
    low = rng.uniform(-15, 15)
    liver = Union(
        [
            Ellipsoid(body.at(84, 18, 40 + low), (72, 88, 88), uneven=bumps),
            Ellipsoid(body.at(25, 80, 52 + low), (75, 36, 36), uneven=bumps),
        ]
    )
    organs.append(Organ(liver, [(-1.5, FAT), (0, hu["liver"])]))
    for _ in range(9):  # its veins
        end = body.at(rng.uniform(50, 130), rng.uniform(-40, 70), rng.uniform(0, 90))
        curve = smooth_curve([body.at(40, 40, 50), (body.at(60, 30, 48) + end) / 2, end], 7)
        tube = Tube(curve, np.linspace(4.5, 1.5, 7))
        organs.append(Organ(tube, [(0, hu["vein"])]))
    bladder = Ellipsoid(body.at(58, 76, -6 + low), (13, 20, 25))
    organs.append(Organ(bladder, [(0, 60.0), (1.5, 10.0)]))
    spleen = Ellipsoid(body.at(-104, -8, 46), (27, 46, 50), uneven=bumps)
    organs.append(Organ(spleen, [(-1.5, FAT), (0, hu["spleen"])]))
    return organs


def _draw_behind(body: Body) -> list[Organ]:
    """Draw kidneys, adrenals, aorta and vena cava."""
    rng, hu = body.rng, body.hu
    organs = []
    for side, height in ((1, -28), (-1, -16)):
        middle = body.at(side * rng.uniform(64, 74), -8, height + rng.normal(0, 7))
        tilt = 0.25 * side
        turn = np.array(
            [[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]]
        )
        bumps = Waves.draw(rng, (25, 60), 1.8)
        kidney = Ellipsoid(middle, (24, 29, rng.uniform(48, 58)), turn, bumps)
        sinus = Ellipsoid(middle - (side * 17, -6, 0), (17, 9, 24), turn, bumps)
        renal = smooth_curve([(side * 6, 28, height), middle - (side * 14, -8, 0)], 8)
        organs += [
            Organ(kidney, [(-1.5, FAT), (0, hu["kidney"]), (7, 0.8 * hu["kidney"])]),
            Organ(sinus, [(0, -70.0), (4.5, 15.0)], grain=15),
            Organ(Tube(renal, np.full(8, 4.0)), [(0, 0.9 * hu["vein"])]),
        ]
        for limb in (-6, 8):
            places = [(side * 30, 14, 32), (side * 38, 6 + limb / 2, 36 + limb), (side * 44, 0, 40)]
            curve = smooth_curve(places, 6)
            organs.append(Organ(Tube(curve, np.full(6, 3.0)), [(0, body.like_pancreas())]))
    aorta = np.array([(-12, 27, -160), (-11, 29, 0), (-6, 26, 160)]) + rng.normal(0, 2, (3, 3))
    wide = rng.uniform(8.5, 12)
    organs.append(
        Organ(Tube(smooth_curve(aorta, 8), np.full(8, wide)), [(-1, FAT), (0, hu["artery"])])
    )
    if rng.random() < 0.4:  # calcified wall
        plaque = Ellipsoid((aorta[1, 0] + 0.8 * wide, 26, rng.uniform(-40, 30)), (1.5, 4, 8))
        organs.append(Organ(plaque, [(0, 600.0)]))
    cava = np.array([(14, 25, -160), (16, 27, 0), (24, 36, 110)]) + rng.normal(0, 2, (3, 3))
    radii = np.full(8, rng.uniform(9, 13))
    flat = rng.uniform(0.6, 0.95)
    cava_hu = 0.9 * hu["vein"]
    organs.append(Organ(Tube(smooth_curve(cava, 8), radii, flat), [(-1, FAT), (0, cava_hu)]))
    return organs


def _draw_gland(body: Body, *, tumour: bool) -> list[Organ]:
    """Draw duodenum, pancreas, what grows in it, and the vessels that touch it."""
    rng, hu, pancreas = body.rng, body.hu, body.pancreas
    wide = rng.uniform(9, 13)
    beside = pancreas.radii + 0.75 * wide
    course = [pancreas.beside(10, 12, 14, 12)]
    course += [pancreas.beside(place, beside[place], -6, 0) for place in (7, 4, 1)]
    course += [pancreas.beside(0, 6, -8, -16), (10, 45, pancreas.line[0][2] - 20), (-22, 48, -50)]
    radii = wide * (1 + 0.1 * rng.normal(size=24).clip(-2, 2))
    layers = [(0, body.like_pancreas())]
    if rng.random() < 0.5:
        layers.append((3.5, rng.choice([15.0, 25.0, -300.0])))
    organs = [Organ(Tube(smooth_curve(course, 24), radii), layers, grain=6)]
    fatty = rng.uniform(4, 15)
    organs.append(Organ(pancreas.gland, [(0, hu["pancreas"])], grain=fatty, role="pancreas"))
    darker = rng.uniform(22, 50) * (1 if hu["pancreas"] > 60 else 0.4)
    if tumour:
        if pancreas.duct:
            organs.append(Organ(pancreas.duct, [(0, 15.0)]))
        density = hu["pancreas"] - darker
        organs.append(Organ(pancreas.lump, [(0, density)], grain=6, role="tumour"))
    veins, arteries = place_vessels(rng, pancreas)
    organs += [Organ(vein, [(0, hu["vein"])], role="cover") for vein in veins]
    organs += [Organ(artery, [(0, hu["artery"])], role="cover") for artery in arteries]
    return organs
