"""The parts of all figures: panels, contours, crops, legends and colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from ...files import replacing
from ..metrics import as_words
from .colours import COLOURS, FILL

FEW = 4  # regions that a figure describes one by one
SOLID, DASHED = "solid", (0, (3.2, 2.2))
INK, GROUND = "#262626", "#2b1a15"
# Okabe and Ito's palette, which colour-blind readers can tell apart, after a grey.
PALETTE = ("#5f5f5f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def make_panels(
    aspects: Sequence[float],
    columns: int,
    *,
    width: float,
    regions: Sequence[str] = (),
    lines: int = 0,
) -> tuple[Figure, np.ndarray]:
    """Make a row of panels per aspect (height over width), each ``width`` inches wide.

    There is space for a legend of ``regions``, and for ``lines`` of text below a row.
    """
    heights = [width * aspect + 0.34 + 0.17 * lines for aspect in aspects]  # with a title
    below = 0.2 + 0.22 * -(-len(list_keys(regions)) // fit_columns(regions, columns * width))
    below = below if regions else 0
    size = (columns * width, sum(heights) + below)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(rect=(0, below / size[1], 1, 1 - (below + 0.06) / size[1]))
    axes = figure.subplots(len(aspects), columns, squeeze=False, height_ratios=heights)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    return figure, axes


def draw_masks(panel: Axes, masks: np.ndarray, style, *, width: float, fill: bool = False) -> None:
    """Draw the contour of each region of ``(R, H, W)`` masks, and a light fill if wanted."""
    for colour, mask in zip(cycle(COLOURS), masks, strict=False):
        if not mask.any():
            continue
        if fill:
            tint = np.zeros((*mask.shape, 4), dtype=np.float32)
            tint[mask.astype(bool)] = (*to_rgb(colour), FILL)
            panel.imshow(tint, interpolation="nearest", aspect=panel.get_aspect())
        # Background around the mask closes the contour of a region at the border.
        pad = np.pad(mask.astype(np.uint8), 1)
        rows, columns = np.arange(pad.shape[0]) - 1, np.arange(pad.shape[1]) - 1
        line = panel.contour(
            columns, rows, pad, levels=[0.5], colors=[colour], linewidths=width, linestyles=[style]
        )
        if style == SOLID:  # a dark rim keeps red legible on an orange fundus
            line.set_path_effects([Stroke(linewidth=width + 1.2, foreground="#00000080"), Normal()])


def zoom(panel: Axes, window: tuple[float, float, float, float]) -> None:
    """Show ``(left, right, top, bottom)``, in px from the outer edge of the first."""
    left, right, top, bottom = window
    panel.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))


def frame(panel: Axes, window: tuple[float, float, float, float]) -> None:
    """Draw a frame around the window that another panel shows."""
    left, right, top, bottom = window
    size = right - left, bottom - top
    panel.add_patch(Rectangle((left - 0.5, top - 0.5), *size, fill=False, ec="white", lw=0.9))


def add_legend(figure: Figure, regions: Sequence[str]) -> None:
    """Explain colours and line styles below all panels."""
    box = figure.legend(
        handles=[
            Line2D([], [], color=colour, linestyle=style, linewidth=2.4, label=text)
            for colour, style, text in list_keys(regions)
        ],
        loc="lower center",
        ncols=fit_columns(regions, figure.get_figwidth()),
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


def list_keys(regions: Sequence[str]) -> list[tuple[str, object, str]]:
    """Colour, line style and text of each entry of a legend; of many regions each has only one."""
    whose = ((SOLID, "predicted"), (DASHED, "expert"))
    named = list(zip(map(as_words, regions), cycle(COLOURS), strict=False))
    if len(named) <= FEW:
        return [(colour, style, f"{name}, {who}") for name, colour in named for style, who in whose]
    return [
        *((colour, SOLID, name) for name, colour in named),
        *(("#b0b0b0", style, who) for style, who in whose),
    ]


def fit_columns(regions: Sequence[str], width: float) -> int:
    """How many entries of a legend fit beside each other into a figure, ``width`` in inches."""
    keys = list_keys(regions)
    longest = max((len(text) for *_, text in keys), default=0)
    lines = -(-len(keys) // max(1, int(width / (0.6 + 0.062 * longest))))
    return max(1, -(-len(keys) // max(1, lines)))  # as long as each other


def style_axes(axes: Axes, grid: str = "y") -> None:
    """Set two spines, a light grid across the axis ``grid``."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, colors=INK)


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 130) -> None:
    """Write a PNG, or an SVG, so that a reader never sees half a picture."""
    form = Path(path).suffix[1:]
    # The same figure gives the same file.
    with rc_context({"svg.hashsalt": "figure"}), replacing(Path(path)) as temporary:
        same = {"Date": None} if form == "svg" else {}
        figure.savefig(temporary, format=form, dpi=dpi, metadata=same)
