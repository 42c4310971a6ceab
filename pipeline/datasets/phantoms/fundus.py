"""Drawn fundus photographs with an exact disc and cup: data for tests and for a first run.

They are not medical data. They have what makes the real task hard: vessels that cross disc and
cup, a cup without a sharp border, haze, uneven light, and bright things that are not the disc.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from . import fundus_scene as parts
from .folder import write_phantoms
from .fundus_vessels import draw_vessels

#: As in Drishti-GS: the whole disc is rim and cup together.
ABOUT = {
    "modality": "photograph",
    "channel_names": ["red", "green", "blue"],
    "labels": {"0": "background", "1": "disc rim", "2": "cup"},
    "regions": {"optic_disc": [1, 2], "optic_cup": [2]},
}


def fundus_phantom(seed: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one fundus photograph of a left or right eye.

    Args:
        seed: one number or several, such as ``(seed, index)``; the same on every machine.

    Returns:
        The photograph, uint8 ``(H, W, 3)``, and its label, uint8 ``(H, W)``: 0 background,
        1 disc rim, 2 cup. W is 420 to 640, H 0.8 to 1 times W; the vertical cup-to-disc ratio
        0.3 to 0.85; the cup lies inside the disc.
    """

    rng = np.random.Generator(np.random.PCG64(seed))
    scene = parts.new_scene(rng)
    u, v = scene.ellipse(0.035)
    from_disc = np.sqrt(u * u + v * v)
    ratio = scene.between(0.3, 0.84)
    from_cup = parts.measure_from_cup(scene, u, v, ratio)
    label = np.where(from_disc < 1, 1 + (from_cup < 1), 0).astype(np.uint8)
    u, from_disc, from_cup = (part.astype(np.float32) for part in (u, from_disc, from_cup))

    picture = parts.paint_retina(scene)
    picture = parts.add_atrophy(scene, picture, from_disc, u)
    picture = parts.paint_nerve_head(scene, picture, from_disc, from_cup)
    picture = parts.add_bright_distractors(scene, picture, from_disc)
    # vessels come out in the nasal part of the cup
    start = (scene.disc[0], scene.disc[1] - scene.temporal * scene.size * scene.between(0, 0.3))
    veins, arteries = draw_vessels(scene, start)
    for mask, colour in ((arteries, (0.20, 0.52, 0.50)), (veins, (0.42, 0.68, 0.58))):
        picture *= 1 - mask[..., None] * np.float32(scene.between(0.7, 1.05)) * np.float32(colour)
    picture *= parts.draw_illumination(scene)[..., None]

    if scene.chance(0.5):  # haze of the lens: grey light is added, contrast is lost
        haze = np.float32(scene.between(0.05, 0.35))
        grey = picture.mean((0, 1)) * np.float32((0.9, 1.05, 1.25))
        picture = picture * (1 - haze) + haze * grey
    blur = scene.between(0.4, 1.0) if scene.chance(0.7) else scene.between(1.0, 2.2)
    picture = gaussian_filter(picture, (blur, blur, 0))
    grain = rng.standard_normal((*label.shape, 3), dtype=np.float32)
    picture += grain * np.float32(scene.between(0.004, 0.016))
    picture = np.clip(picture, 0, 1) ** np.float32(scene.between(0.85, 1.2))
    seen = parts.draw_field_of_view(scene)[..., None]
    picture = seen * picture + (1 - seen) * np.float32(0.012)
    return np.rint(picture * 255).astype(np.uint8), label


def write_fundus_phantoms(output: str | Path, *, seed: int = 0, **options: Any) -> Path:
    """Write ``images/``, ``labels/`` and ``datalist.json`` of drawn photographs.

    Args:
        output: folder to make.
        seed: photograph ``i`` is drawn from ``(seed, i)``, whatever the count.
        options: ``count``, ``testing`` and ``overwrite`` of `write_phantoms`.

    Returns:
        The path of the datalist.

    Raises:
        ValueError, FileExistsError: see `write_phantoms`.
    """

    def draw(index: int, image_path: Path, label_path: Path) -> None:
        image, label = fundus_phantom((seed, index))
        Image.fromarray(image).save(image_path, compress_level=3)
        Image.fromarray(label).save(label_path)

    names = {"stem": "phantom", "suffix": ".png", "title": "Fundus phantoms"}
    return write_phantoms(output, draw, **names, about=ABOUT, seed=seed, **options)
