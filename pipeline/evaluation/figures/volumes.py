"""Figures of masks in CT volumes and of attention maps over their slices.

Colours and lines are those of the photographs: a prediction is solid, the expert's truth dashed.
All panels of one figure have the patient's proportions, whatever the spacing, and the letters at
their edges name the patient's sides: right, left, anterior, posterior, superior, inferior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from .panels import DASHED, SOLID, TEXT, draw, legend, mark, panel_grid, region_colours, words, zoom
from .view import AXIAL, CORONAL, EDGES, SAGITTAL, Plane, VolumeView

NAMES = {AXIAL: "Axial", CORONAL: "Coronal", SAGITTAL: "Sagittal"}
BAR = 20.0  # mm


def volume_page(cases: Sequence[tuple[str, str, VolumeView]], *, regions: Sequence[str]) -> Figure:
    """Cases below each other: the axial slice, three planes about the structure, two surfaces.

    Args:
        cases: ``(title, scores, view)`` each.
        regions: the R names of the mask channels.
    """
    figure, axes = panel_grid([1.14] * len(cases), 6, width=2.9)
    for row, (title, scores, view) in zip(axes, cases, strict=True):
        whole, *planes, expert, predicted = row
        axial = view.planes[AXIAL]
        _show(whole, axial)
        draw(whole, axial.prediction, regions, SOLID, width=0.9, fill=True)
        mark(whole, axial.window)
        zoom(whole, _square(axial))
        _letters(whole, EDGES[AXIAL])
        whole.set_title(title, loc="left", fontsize=11, fontweight="bold", color=TEXT)
        whole.set_xlabel(scores, loc="left", fontsize=9.5, color=TEXT)
        for panel, plane in zip(planes, view.planes.values(), strict=True):
            _show(panel, plane)
            draw(panel, plane.prediction, regions, SOLID, width=1.3, fill=True)
            draw(panel, plane.truth, regions, DASHED, width=1.5)
            zoom(panel, plane.window)
            _letters(panel, EDGES[plane.axis])
            where = f"{NAMES[plane.axis]}, slice {plane.index + 1} of {plane.slices}"
            panel.set_title(where, loc="left", fontsize=10, color=TEXT)
        _scale(planes[0], axial)
        surfaces = ((expert, view.truth, "Expert"), (predicted, view.prediction, "Predicted"))
        for panel, shades, who in surfaces:
            panel.imshow(_lit(shades, regions))
            _letters(panel, EDGES[CORONAL])
            panel.set_title(f"{who}, from the front", loc="left", fontsize=10, color=TEXT)
        if view.outside:
            note = f"{_digits(view.outside)} ml predicted outside this view"
            predicted.set_xlabel(note, loc="left", fontsize=9.5, color=TEXT)
    legend(figure, regions)
    return figure


def volume_attention_figure(
    planes: Sequence[Plane],
    alphas: Sequence[Mapping[int, np.ndarray]],
    *,
    regions: Sequence[str],
    grids: Sequence[tuple[int, int, int]],
    title: str = "",
) -> Figure:
    """What the attention gates let through in the window that the network saw.

    A row per plane: the network's input with the expert's contour, then a map per level on one
    colour scale from 0 (closed) to 1. The axial row shows the cells of each gate's coarse grid.

    Args:
        planes: of the network's input.
        alphas: per level the map ``(h, w)`` of each plane, by its axis, covering the whole plane.
        regions: the R names of the mask channels.
        grids: per level the size of its grid, ``(x, y, z)``.
        title: written over the input.
    """
    sizes = [(plane.picture.shape * np.array(plane.step[::-1])).tolist() for plane in planes]
    aspects = [height / width for height, width in sizes]
    figure, axes = panel_grid(aspects, 1 + len(alphas), width=3.2, below=0)
    shown = None
    for row, plane in zip(axes, planes, strict=True):
        for panel in row:
            _show(panel, plane)
            draw(panel, plane.truth, regions, DASHED, width=1.3)
            _letters(panel, EDGES[plane.axis])
        row[0].set_ylabel(NAMES[plane.axis], fontsize=10, color=TEXT)
        height, width = plane.picture.shape
        for panel, maps in zip(row[1:], alphas, strict=True):
            alpha = maps[plane.axis]
            shown = panel.imshow(
                alpha,
                cmap="inferno",
                vmin=0,
                vmax=1,
                alpha=0.55,
                # The outer edges of the coarse grid coincide with those of the window.
                interpolation="nearest" if plane.axis == AXIAL else "bilinear",
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            )
            _show_limits(panel, plane)
            if plane.axis == AXIAL:
                lines = {"colors": "white", "linewidths": 0.35, "alpha": 0.35}
                ends = np.linspace(0, 1, alpha.shape[1] + 1) * width - 0.5
                panel.vlines(ends, -0.5, height - 0.5, **lines)
                ends = np.linspace(0, 1, alpha.shape[0] + 1) * height - 0.5
                panel.hlines(ends, -0.5, width - 0.5, **lines)
    axes[0, 0].set_title(title or "Network input", fontsize=11, fontweight="bold", color=TEXT)
    for panel, grid in zip(axes[0, 1:], grids, strict=True):
        panel.set_title("grid " + " x ".join(map(str, grid)), fontsize=11, color=TEXT)
    axes[-1, 0].set_xlabel("dashed: expert", loc="left", fontsize=9.5, color=TEXT)
    if shown is not None:
        bar = figure.colorbar(shown, ax=axes[:, 1:], fraction=0.03, pad=0.015, ticks=(0, 0.5, 1))
        bar.set_label("attention", color=TEXT)
        bar.solids.set_alpha(1)
    return figure


def _show(panel: Axes, plane: Plane) -> None:
    """The slice in the patient's proportions, on black."""
    panel.imshow(plane.picture, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    panel.set_facecolor("black")
    _show_limits(panel, plane)


def _show_limits(panel: Axes, plane: Plane) -> None:
    """What a picture drawn over the slice would have changed."""
    height, width = plane.picture.shape
    panel.set_aspect(plane.step[1] / plane.step[0])
    zoom(panel, (0, width, 0, height))


def _square(plane: Plane) -> tuple[float, float, float, float]:
    """All of a plane in a window that is a square in mm, like those of the other panels."""
    size, step = np.array(plane.picture.shape[::-1]), np.array(plane.step)
    half = (size * step).max() / 2 / step
    (left, top), (right, bottom) = size / 2 - half, size / 2 + half
    return left, right, top, bottom


def _letters(panel: Axes, letters: str) -> None:
    """The patient's sides at the left, right, top and bottom edge."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    across, along = ("left", "right", "center", "center"), ("center", "center", "top", "bottom")
    rim = [Stroke(linewidth=2, foreground="#000000b0"), Normal()]  # legible on bright tissue
    style = {"transform": panel.transAxes, "color": "white", "fontsize": 8, "path_effects": rim}
    for letter, place, ha, va in zip(letters, places, across, along, strict=True):
        panel.text(*place, letter, ha=ha, va=va, **style)


def _scale(panel: Axes, plane: Plane) -> None:
    """A bar of 2 cm at the lower left."""
    left, right, top, bottom = plane.window
    x, y = left + 0.04 * (right - left), bottom - 0.05 * (bottom - top)
    panel.plot([x, x + BAR / plane.step[0]], [y, y], color="white", linewidth=2)
    panel.text(x, y - 0.02 * (bottom - top), f"{BAR / 10:g} cm", color="white", fontsize=8)


def _lit(shades: Sequence[np.ndarray], regions: Sequence[str]) -> np.ndarray:
    """Surfaces in their colours on black, ``(H, W, 3)``; a later one shines through the others."""
    picture = np.zeros((*shades[0].shape, 3))
    for number, (shade, colour) in enumerate(
        zip(shades, region_colours(regions).values(), strict=True)
    ):
        there = np.isfinite(shade)
        own = shade[there, None] * np.array(to_rgb(colour))
        picture[there] = own if not number else 0.7 * own + 0.3 * picture[there]
    return picture


def scores(row: Mapping[str, float], regions: Sequence[str]) -> str:
    """What a page says of a case: Dice, HD95, and volume, a line per region."""
    lines = []
    for name in regions:
        true = row[f"volume/{name}"]
        found = true + row[f"volume_error/{name}"]
        if true and found:
            said = (
                f"Dice {row[f'dice/{name}']:.3f}, HD95 {row[f'hd95/{name}']:.1f} mm, "
                f"{_digits(found)} ml predicted, {_digits(true)} ml true"
            )
        elif true:
            said = f"missed, {_digits(true)} ml"
        else:
            said = (
                f"{_digits(found)} ml predicted where there is none" if found else "none, rightly"
            )
        lines.append(f"{words(name)}: {said}")
    return "\n".join(lines)


def _digits(value: float) -> str:
    """Three significant digits, and all of a large number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
