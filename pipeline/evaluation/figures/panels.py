"""What all figures share: panels, contours, crops, and the colour of each structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

RED, YELLOW = "#ff2d2d", "#ffe119"
COLOURS = {"optic_disc": RED, "optic_cup": YELLOW, "pancreas": YELLOW, "tumour": RED}
OTHER_COLOURS = ("#37c6ff", "#5fe36b", "#ff7de9", "#ff9b3d")
FILL = 0.16  # opacity: the vessels stay visible
SOLID, DASHED = "solid", (0, (3.2, 2.2))
TEXT, GROUND = "#262626", "#2b1a15"


def region_colours(regions: Sequence[str]) -> dict[str, str]:
    """The colour of each region: fixed for the known ones, the next free one for others."""
    others = iter(OTHER_COLOURS * len(regions))
    return {name: COLOURS.get(name) or next(others) for name in regions}


def panel_grid(
    aspects: Sequence[float], columns: int, *, width: float, below: float = 0.42
) -> tuple[Figure, np.ndarray]:
    """A row of panels per aspect, ``width`` inches wide and that many times as high.

    ``below`` them stay some inches for a legend.
    """
    heights = [width * aspect + 0.34 for aspect in aspects]  # with a title
    size = (columns * width, sum(heights) + below)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(rect=(0, below / size[1], 1, 1 - (below + 0.06) / size[1]))
    axes = figure.subplots(len(aspects), columns, squeeze=False, height_ratios=heights)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    return figure, axes


def draw(
    panel: Axes,
    masks: np.ndarray,
    regions: Sequence[str],
    style,
    *,
    width: float,
    fill: bool = False,
) -> None:
    """Contour, and perhaps fill, of each region of ``(R, H, W)`` masks."""
    for (_, colour), mask in zip(region_colours(regions).items(), masks, strict=True):
        if not mask.any():
            continue
        if fill:
            tint = np.zeros((*mask.shape, 4), dtype=np.float32)
            tint[mask.astype(bool)] = (*to_rgb(colour), FILL)
            panel.imshow(tint, interpolation="nearest", aspect=panel.get_aspect())
        # A ring of background closes the contour of a region that touches the border.
        pad = np.pad(mask.astype(np.uint8), 1)
        rows, columns = np.arange(pad.shape[0]) - 1, np.arange(pad.shape[1]) - 1
        line = panel.contour(
            columns, rows, pad, levels=[0.5], colors=[colour], linewidths=width, linestyles=[style]
        )
        if style == SOLID:  # a dark rim keeps red legible on an orange fundus
            line.set_path_effects([Stroke(linewidth=width + 1.2, foreground="#00000080"), Normal()])


def zoom(panel: Axes, window: tuple[float, float, float, float]) -> None:
    """Show ``(left, right, top, bottom)`` in px, from the outer edge of the first to the last."""
    left, right, top, bottom = window
    panel.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))


def mark(panel: Axes, window: tuple[float, float, float, float]) -> None:
    """Frame what another panel shows by `zoom`."""
    left, right, top, bottom = window
    size = right - left, bottom - top
    panel.add_patch(Rectangle((left - 0.5, top - 0.5), *size, fill=False, ec="white", lw=0.9))


def legend(figure: Figure, regions: Sequence[str]) -> None:
    """The meaning of colours and lines, below all panels."""
    lines = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2.4, label=f"{words(name)}, {who}")
        for name, colour in region_colours(regions).items()
        for style, who in ((SOLID, "predicted"), (DASHED, "expert"))
    ]
    box = figure.legend(
        handles=lines,
        loc="lower center",
        ncols=len(lines),
        fontsize=9.5,
        handlelength=2.6,
        columnspacing=1.6,
        borderpad=0.6,
        labelcolor="white",
        facecolor=GROUND,
        edgecolor="none",
        framealpha=1,
    )
    box.set_in_layout(False)


def words(region: str) -> str:
    """A name as people write it."""
    return region.replace("_", " ")
