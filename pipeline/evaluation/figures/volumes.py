"""Figures of masks in volumes, and of attention maps over slices and photographs.

Colours and lines are those of the photographs: a prediction is solid, the expert's truth dashed.
All panels of a figure have the patient's proportions, whatever the spacing. The letters at their
edges name the patient's sides: right, left, anterior, posterior, superior, inferior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from ..metrics import as_words
from .panels import DASHED, FEW, INK, SOLID, add_legend, draw_masks, frame, make_panels, zoom
from .view import AXIAL, CORONAL, EDGES, SAGITTAL, Plane, VolumeView

PLANES = {AXIAL: "Axial", CORONAL: "Coronal", SAGITTAL: "Sagittal", None: ""}
BAR = 20.0  # mm, length of the scale bar
READING = (
    "A gate multiplies the features of its level by its map: bright (1) lets a place pass, dark "
    "(0) shuts it out; a coarser grid is a deeper level."
)


def draw_volumes(cases: Sequence[tuple[str, str, VolumeView]], *, regions: Sequence[str]) -> Figure:
    """Draw cases below each other: an axial slice, and three planes around the structure.

    Args:
        cases: ``(title, scores, view)`` each.
        regions: the R names of the mask channels.
    """
    figure, axes = make_panels(
        [1.06] * len(cases), 4, width=2.9, regions=regions, lines=min(len(regions), FEW + 1)
    )
    for row, (title, scores, view) in zip(axes, cases, strict=True):
        whole, *planes = row
        axial = view.planes[AXIAL]
        _show(whole, axial)
        draw_masks(whole, axial.prediction, SOLID, width=0.9, fill=True)
        frame(whole, axial.window)
        zoom(whole, _square_window(axial))
        _add_letters(whole, EDGES[AXIAL])
        whole.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
        whole.set_xlabel(scores, loc="left", fontsize=9.5, color=INK)
        for panel, plane in zip(planes, view.planes.values(), strict=True):
            _show(panel, plane)
            draw_masks(panel, plane.prediction, SOLID, width=1.3, fill=True)
            draw_masks(panel, plane.truth, DASHED, width=1.5)
            zoom(panel, plane.window)
            _add_letters(panel, EDGES[plane.axis])
            where = f"{PLANES[plane.axis]}, slice {plane.index + 1} of {plane.slices}"
            panel.set_title(where, loc="left", fontsize=10, color=INK)
        _add_scale(planes[0], axial)
        if view.outside:
            note = f"{_format_ml(view.outside)} predicted outside this view"
            planes[-1].set_xlabel(note, loc="right", fontsize=9.5, color=INK)
    add_legend(figure, regions)
    return figure


def draw_attention(
    planes: Sequence[Plane],
    alphas: Sequence[Sequence[np.ndarray]],
    *,
    heads: Sequence[str],
    title: str,
) -> Figure:
    """Draw what the attention gates let through, over what the network saw.

    A row per plane: the network's input with the expert's contour, then a map per level, from 0
    (closed) to 1. An axial row shows the cells of each gate's coarse grid.

    Args:
        planes: of the network's input, an image as a single one.
        alphas: per level a map ``(h, w)`` for each plane, covering the whole plane.
        heads: written over each level.
        title: written over the input.
    """
    sizes = [(plane.picture.shape * np.array(plane.step[::-1])).tolist() for plane in planes]
    aspects = [height / width for height, width in sizes]
    figure, axes = make_panels(aspects, 1 + len(alphas), width=2.5)
    for row, plane, *maps in zip(axes, planes, *alphas, strict=True):
        height, width = plane.picture.shape
        for panel in row:
            _show(panel, plane)
            draw_masks(panel, plane.truth, DASHED, width=1.3)
            _add_letters(panel, EDGES[plane.axis])
        row[0].set_ylabel(PLANES[plane.axis], fontsize=10, color=INK)
        for panel, alpha in zip(row[1:], maps, strict=True):
            # What is finer than the map stays visible, and the colours are those of the scale.
            panel.imshow(_fine_parts(plane.picture), zorder=1.5)
            shown = panel.imshow(
                alpha,
                cmap="inferno",
                vmin=0,
                vmax=1,
                interpolation="nearest" if plane.axis == AXIAL else "bilinear",
                # The outer edges of the coarse grid coincide with those of the picture.
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            )
            _set_limits(panel, plane)
            if plane.axis == AXIAL:
                lines = {"colors": "white", "linewidths": 0.35, "alpha": 0.35}
                across, down = (np.linspace(0, 1, n + 1) for n in alpha.shape[::-1])
                panel.vlines(across * width - 0.5, -0.5, height - 0.5, **lines)
                panel.hlines(down * height - 0.5, -0.5, width - 0.5, **lines)
    axes[0, 0].set_title(title, fontsize=11, fontweight="bold", color=INK)
    for panel, head in zip(axes[0, 1:], heads, strict=True):
        panel.set_title(head, fontsize=11, color=INK)
    if any(plane.truth.any() for plane in planes):
        axes[-1, 0].set_xlabel("dashed: expert", loc="left", fontsize=9.5, color=INK)
    bar = figure.colorbar(shown, ax=axes[:, 1:], fraction=0.03, pad=0.015, ticks=(0, 0.5, 1))
    bar.set_label("attention: 0 shut out, 1 let pass", color=INK)
    return figure


def _fine_parts(picture: np.ndarray) -> np.ndarray:
    """Edges and vessels of a picture ``(H, W)`` in black and white on transparent ground."""
    from scipy.ndimage import gaussian_filter

    fine = picture - gaussian_filter(picture, max(picture.shape) / 40)
    grey = np.repeat((fine > 0).astype(float)[..., None], 3, axis=-1)
    return np.dstack([grey, np.clip(3 * np.abs(fine), 0, 0.6)])


def _show(panel: Axes, plane: Plane) -> None:
    """Show the slice in the patient's proportions, on black."""
    panel.imshow(plane.picture, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    panel.set_facecolor("black")
    _set_limits(panel, plane)


def _set_limits(panel: Axes, plane: Plane) -> None:
    """Set aspect and limits, which a picture drawn over the slice changes."""
    height, width = plane.picture.shape
    panel.set_aspect(plane.step[1] / plane.step[0])
    zoom(panel, (0, width, 0, height))


def _square_window(plane: Plane) -> tuple[float, float, float, float]:
    """A window around the whole plane that is a square in mm, like those of the other panels."""
    size, step = np.array(plane.picture.shape[::-1]), np.array(plane.step)
    half = (size * step).max() / 2 / step
    (left, top), (right, bottom) = size / 2 - half, size / 2 + half
    return left, right, top, bottom


def _add_letters(panel: Axes, letters: str) -> None:
    """Name the patient's sides at the left, right, top and bottom edge."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    across, along = ("left", "right", "center", "center"), ("center", "center", "top", "bottom")
    rim = [Stroke(linewidth=2, foreground="#000000b0"), Normal()]  # legible on bright tissue
    style = {"transform": panel.transAxes, "color": "white", "fontsize": 8, "path_effects": rim}
    for letter, place, ha, va in zip(letters, places, across, along, strict=False):
        panel.text(*place, letter, ha=ha, va=va, **style)


def _add_scale(panel: Axes, plane: Plane) -> None:
    """Add a bar of 2 cm at the lower left."""
    left, right, top, bottom = plane.window
    x, y = left + 0.04 * (right - left), bottom - 0.05 * (bottom - top)
    panel.plot([x, x + BAR / plane.step[0]], [y, y], color="white", linewidth=2)
    panel.text(x, y - 0.02 * (bottom - top), f"{BAR / 10:g} cm", color="white", fontsize=8)


def describe_scores(row: Mapping[str, float], regions: Sequence[str]) -> str:
    """Dice, HD95 and volume of a case, a line per region; of many regions those of lowest Dice."""
    shown = [name for name in regions if not np.isnan(row[f"volume_error/{name}"])]
    lines = []
    if len(shown) > FEW:
        dice = [row[f"dice/{name}"] for name in shown]
        lines = [f"mean Dice {np.mean(dice):.3f}; the lowest {FEW} of {len(shown)}:"]
        shown = [shown[n] for n in np.argsort(dice, kind="stable")[:FEW]]
    for name in shown:
        true = row[f"volume/{name}"]
        found = true + row[f"volume_error/{name}"]
        if true and found:
            text = (
                f"Dice {row[f'dice/{name}']:.3f}, HD95 {row[f'hd95/{name}']:.1f} mm, "
                f"{_format_ml(found)} predicted, {_format_ml(true)} true"
            )
        elif true:
            text = f"missed, {_format_ml(true)}"
        else:
            text = f"{_format_ml(found)} predicted where there is none" if found else "absent"
        lines.append(f"{as_words(name)}: {text}")
    return "\n".join(lines)


def _format_ml(value: float) -> str:
    """Three significant digits, and all digits of a large number."""
    return f"{value:,.0f} ml" if value >= 100 else f"{value:.3g} ml"
