"""The plots of a comparison: learning curves, box plots, Dice against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.figures.panels import INK, PALETTE, style_axes
from ..evaluation.metrics import as_words, find_metric
from .case_tables import CaseTables
from .entries import label_metric
from .statistics import FEWEST

MARKERS = "osD^vP*"
MANY = 2000  # points, which an SVG holds as a picture
Curve = tuple[np.ndarray, np.ndarray]  # epochs and values


def choose_style(number: int) -> tuple[str, str]:
    """The colour and the marker of a network."""
    return PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]


def add_names(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Name the networks above all panels."""
    figure.legend(
        handles, names, loc="outside upper center", ncols=min(4, len(names)), frameon=False,
        fontsize=9, labelcolor=INK,
    )  # fmt: skip


def plot_learning_curves(curves: Mapping[str, Sequence[Curve]]) -> Figure:
    """Plot validation Dice by epoch: thin lines for trainings, and their mean and range.

    Mean and range end where the shortest training of a network ends: beyond it they would jump.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for number, (network, own) in enumerate(curves.items()):
        colour, _ = choose_style(number)
        epochs = sorted(set.intersection(*(set(x.tolist()) for x, _ in own)))
        values = np.array([[y[list(x).index(epoch)] for epoch in epochs] for x, y in own])
        if len(own) > 1:
            for x, y in own:
                axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.35)
            axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
        trainings = f" ({len(own)} trainings)" if len(own) > 1 else ""
        marker = "o" if len(epochs) < 4 else None
        axes.plot(epochs, values.mean(0), color=colour, linewidth=1.8, marker=marker,
                  label=network + trainings)  # fmt: skip
    axes.set(xlabel="epoch", ylabel="validation Dice")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    style_axes(axes)
    return figure


def draw_box_plots(found: CaseTables, *, units: Mapping[str, str]) -> Figure:
    """Draw every case of every network, a panel per plotted metric; a line joins what is one case.

    The more cases, the fainter their points and lines.
    """
    metrics = [name for name in found.metrics if find_metric(name).plotted]
    networks, count = list(found.tables), len(found.cases)
    columns = min(len(metrics), max(2, len(found.regions)), 5)  # a page wide
    rows = -(-len(metrics) // columns)
    size = (columns * max(3.2, 1.0 * len(networks)), rows * 2.5)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    aside = np.random.default_rng(0).uniform(-0.16, 0.16, count)
    points, lines = min(0.75, 60 / count), min(0.5, 15 / count)
    for metric, axes in zip(metrics, panels, strict=False):
        values = np.array([found.values(network, metric) for network in networks])
        places = np.arange(len(networks))[:, None] + aside
        gap = np.full((1, count), np.nan)  # one line with gaps is drawn faster than many
        x, y = (np.vstack([each, gap]).T.ravel() for each in (places, values))
        axes.plot(x, y, color="#808080", linewidth=0.6, alpha=lines, zorder=1,
                  rasterized=count > MANY)  # fmt: skip
        for place, own in enumerate(values):
            colour, _ = choose_style(place)
            line = {"color": colour, "linewidth": 1.3, "zorder": 2}
            axes.boxplot(
                own[np.isfinite(own)], positions=[place], widths=0.5, showfliers=False,
                boxprops=line, whiskerprops=line, capprops=line,
                medianprops={**line, "linewidth": 2.4},
            )  # fmt: skip
            axes.plot(places[place], own, "o", markersize=3.6, alpha=max(0.1, points),
                      color=colour, mew=0, zorder=3, rasterized=count > MANY)  # fmt: skip
        axes.set_xticks(range(len(networks)), [fill(as_words(each), 11) for each in networks])
        margin = 0.6 if len(networks) > 1 else 1.2
        axes.set_xlim(-margin, len(networks) - 1 + margin)
        axes.set_title(label_metric(metric, units), loc="left", fontsize=10, color=INK)
        style_axes(axes)
    for axes in panels:  # the remaining ones
        axes.set_visible(False)
    return figure


def plot_sizes(found: CaseTables) -> Figure | None:
    """Plot Dice, and its difference to the baseline, against the true size of each structure.

    A line joins the means of the smallest, middle and largest third, at their median sizes.
    Returns None if no size was recorded.
    """
    regions = [region for region in found.regions if found.size(region) is not None]
    if not regions:
        return None
    columns = 2 if found.others else 1
    size = (4.2 * columns, 3.0 * len(regions) + 0.4)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    grid = figure.subplots(len(regions), columns, squeeze=False)
    for row, region in zip(grid, regions, strict=True):
        sizes = found.size(region)
        base = found.values(found.baseline, f"dice/{region}")
        for number, network in enumerate(found.tables):
            dice = found.values(network, f"dice/{region}")
            scatter_thirds(row[0], sizes, dice, number, network)
            if network != found.baseline:
                scatter_thirds(row[1], sizes, dice - base, number, network)
        row[0].set_ylabel(f"Dice, {as_words(region)}", color=INK)
        if found.others:
            row[1].axhline(0, color=PALETTE[0], linewidth=0.9)
            row[1].set_ylabel(f"difference to {found.baseline}", color=INK)
        for axes in row:
            axes.set_xlabel(f"true size of the {as_words(region)}, {found.size_unit}", color=INK)
            style_axes(axes)
    handles, names = grid[0][0].get_legend_handles_labels()
    add_names(figure, handles, names)
    return figure


def scatter_thirds(
    axes: Axes, sizes: np.ndarray, values: np.ndarray, number: int, network: str
) -> None:
    """Plot cases as faint points and, if there are enough, the means of thirds by size."""
    there = (sizes > 0) & np.isfinite(values)
    order = np.flatnonzero(there)[np.argsort(sizes[there], kind="stable")]
    colour, marker = choose_style(number)
    axes.plot(sizes[order], values[order], marker, markersize=3, alpha=0.45, color=colour, mew=0,
              rasterized=order.size > MANY)  # fmt: skip
    # As in the table, the smallest third is rounded down.
    first, second = order.size // 3, -(-2 * order.size // 3)
    thirds = np.split(order, [first, second]) if order.size >= FEWEST else []
    x = [np.median(sizes[part]) for part in thirds]
    y = [values[part].mean() for part in thirds]
    axes.plot(x, y, marker=marker, markersize=5.5, linewidth=1.5, color=colour, label=network)
