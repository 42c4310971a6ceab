"""A square picture with the outlines of its regions."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.figures.colours import COLOURS, FILL

if TYPE_CHECKING:
    from PIL import Image

    from ..transforms.regions import Regions

TILE = 360  # px of a side
_FINE = 2  # lines are drawn this much larger, and made smooth by shrinking
_LINE, _RIM = 2.0, 3.4  # px in a tile; the dark rim keeps a colour legible on any ground


def draw_tile(
    picture: np.ndarray,
    masks: np.ndarray,
    step: tuple[float, float] = (1, 1),
    letters: str = "",
) -> Image.Image:
    """Draw a picture and the outlines of its regions in a black square.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)``.
        masks: boolean ``(R, H, W)``, or coarser, see `thin`.
        step: length of a pixel along a row and along a column.
        letters: of the patient's sides at the left, right, top and bottom edge.
    """
    from PIL import Image, ImageDraw, ImageFont
    from skimage.measure import find_contours

    side = TILE * _FINE
    size = np.multiply(picture.shape[1::-1], step)
    width, height = np.maximum(np.rint(size * (side / size.max())), 1).astype(int)
    tile = Image.fromarray(picture)
    tile = tile.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2).convert("RGB")
    lines = []
    for colour, mask in zip(cycle(COLOURS), masks, strict=False):
        if mask.any():
            tint = Image.fromarray(np.uint8(mask) * round(255 * FILL)).resize((width, height))
            tile.paste(colour, mask=tint)
            scale = np.divide([width, height], mask.shape[::-1])
            for line in find_contours(np.pad(mask, 1).astype(float), 0.5):
                lines.append((colour, [tuple(each) for each in (line[:, ::-1] - 0.5) * scale]))
    pen = ImageDraw.Draw(tile)
    for thickness, ink in ((_RIM, "#241a18"), (_LINE, None)):
        for colour, line in lines:
            pen.line(line, fill=ink or colour, width=round(thickness * _FINE), joint="curve")
    square = Image.new("RGB", (side, side))
    square.paste(tile, (int(side - width) // 2, int(side - height) // 2))
    square = square.resize((TILE, TILE), Image.Resampling.BOX)
    pen, end = ImageDraw.Draw(square), TILE - 5
    places = ((5, TILE // 2), (end, TILE // 2), (TILE // 2, 4), (TILE // 2, end))
    font = ImageFont.load_default(14) if letters else None
    for letter, place, anchor in zip(letters, places, ("lm", "rm", "mt", "mb"), strict=False):
        pen.text(place, letter, "white", font, anchor=anchor, stroke_width=2, stroke_fill="#000000")
    return square


def thin(mask: np.ndarray) -> np.ndarray:
    """Leave out rows and columns of a mask ``(H, W)`` that are finer than a tile's lines."""
    coarse = max(1, max(mask.shape) // (TILE * _FINE))
    return mask[::coarse, ::coarse]


def mark_regions(mask: np.ndarray, regions: Regions) -> np.ndarray:
    """Masks ``(R, *spatial)`` of all that lies inside each region, of an index mask."""
    return np.stack([np.isin(mask, values) for values in regions.values])


def name_regions(masks: np.ndarray, regions: Regions) -> str:
    """Name the regions that masks ``(R, *spatial)`` show, for who reads or hears it."""
    from ..evaluation.metrics import as_words

    seen = [as_words(name) for name, each in zip(regions.names, masks, strict=True) if each.any()]
    return f"outlined: {', '.join(seen)}" if seen else "no region in it"
