"""The plots of a comparison: learning curves, box plots, Dice against the size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .statistics import Results
from .tables import label, words

# Okabe and Ito's palette, which colour-blind readers can tell apart; the baseline is grey.
COLOURS = ("#5f5f5f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP*"
TEXT = "#262626"
Curve = tuple[np.ndarray, np.ndarray]  # epochs and values


def learning_curves(curves: Mapping[str, Sequence[Curve]], *, metric: str) -> Figure:
    """A metric by epoch: each training thin; mean and range over those that reached an epoch.

    Mean and range end where the first training of a network ends: beyond it they would jump.

    Args:
        curves: per network, epochs and values of each training.
        metric: what the axis says.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for number, (network, own) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
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
    axes.set(xlabel="epoch", ylabel=metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9, labelcolor=TEXT)
    plain(axes)
    return figure


def box_plots(found: Results, *, units: Mapping[str, str]) -> Figure:
    """Every case of every network: Dice, HD95 and what else is measured in its own unit."""
    kinds = ("dice", "hd95", "asd", "nsd", "volume_error", "vertical_cdr")
    metrics = [name for name in found.metrics if name.split("/")[0] in kinds]
    columns = min(len(metrics), max(2, len(found.regions)))
    rows = -(-len(metrics) // columns)
    width = max(3.2, 1.0 * len(found.tables))
    size = (columns * width, rows * 2.5)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    rng = np.random.default_rng(0)
    for metric, axes in zip(metrics, panels, strict=False):
        for place, network in enumerate(found.tables):
            values = found.values(network, metric)
            values = values[np.isfinite(values)]
            colour = COLOURS[place % len(COLOURS)]
            x = place + rng.uniform(-0.16, 0.16, values.size)
            axes.plot(x, values, "o", markersize=2.4, alpha=0.35, color=colour, mew=0)
            line = {"color": colour, "linewidth": 1.3}
            axes.boxplot(
                values, positions=[place], widths=0.5, showfliers=False, boxprops=line,
                whiskerprops=line, capprops=line, medianprops={**line, "linewidth": 2.4},
            )  # fmt: skip
        axes.set_xticks(range(len(found.tables)), [fill(words(each), 11) for each in found.tables])
        axes.set_title(label(metric, units), loc="left", fontsize=10, color=TEXT)
        plain(axes)
    for axes in panels:  # those that are left
        axes.set_visible(False)
    return figure


def size_figure(found: Results) -> Figure | None:
    """Dice, and the difference to the baseline, against the true size, by structure.

    A line joins the means of the smallest, middle and largest third, over their median sizes.
    None where no size is known.
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
        row[0].set_ylabel(f"Dice, {words(region)}", color=TEXT)
        if found.others:
            row[1].axhline(0, color=COLOURS[0], linewidth=0.9)
            row[1].set_ylabel(f"difference to {found.baseline}", color=TEXT)
        for axes in row:
            axes.set_xlabel(f"true size of the {words(region)}, {found.size_unit}", color=TEXT)
            plain(axes)
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(4, len(names)),
                  frameon=False, fontsize=9, labelcolor=TEXT)  # fmt: skip
    return figure


def scatter_thirds(
    axes: Axes, sizes: np.ndarray, values: np.ndarray, number: int, network: str
) -> None:
    """Cases as faint points, and, from nine cases on, the means of the three thirds by size."""
    there = (sizes > 0) & np.isfinite(values)
    order = np.flatnonzero(there)[np.argsort(sizes[there], kind="stable")]
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    axes.plot(sizes[order], values[order], marker, markersize=3, alpha=0.35, color=colour, mew=0)
    # The cut of the table: a third rounded down is the smallest one; too few cases have none.
    first, second = order.size // 3, -(-2 * order.size // 3)
    thirds = np.split(order, [first, second]) if order.size >= 9 else []
    x = [np.median(sizes[part]) for part in thirds]
    y = [values[part].mean() for part in thirds]
    axes.plot(x, y, marker=marker, markersize=5.5, linewidth=1.5, color=colour, label=network)


def plain(axes: Axes) -> None:
    """Two spines, a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, colors=TEXT)
