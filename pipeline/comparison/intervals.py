"""The plots of estimates: differences with their intervals, and limits of agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..evaluation.figures.panels import INK, PALETTE, style_axes
from ..evaluation.metrics import find_metric, unit_of
from .agreement import Measure
from .case_tables import CaseTables
from .entries import label_metric
from .figures import MANY, add_names, choose_style
from .statistics import Numbers


def draw_forest(found: CaseTables, records: Sequence[Numbers], units: Mapping[str, str]) -> Figure:
    """Draw each difference to the baseline with its interval, a panel per unit and direction.

    Right of the line a network is better: an axis on which lower is better runs backwards. The
    ``records`` are those of `compute_differences`.
    """
    panels: dict[tuple[str, str], list[str]] = {}
    for metric in found.ranked:
        row = find_metric(metric)
        unit = unit_of(metric, units) if row.unit in ("length", "volume") else ""
        panels.setdefault((unit, row.best), []).append(metric)
    others = found.others
    # The axis of each panel takes about as much space as a row and a half.
    heights = [len(metrics) * max(1.0, 0.6 * len(others)) + 1.5 for metrics in panels.values()]
    figure = Figure((7.2, 0.5 + 0.28 * sum(heights)), layout="constrained", facecolor="white")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, ((_, best), metrics) in zip(grid, panels.items(), strict=True):
        for number, network in enumerate(others):
            own = {each["metric"]: each for each in records if each["network"] == network}
            colour, marker = choose_style(number + 1)
            for place, metric in enumerate(metrics):
                each = own[metric]
                if each["value"] is None:
                    continue
                y = place + (number - (len(others) - 1) / 2) * 0.8 / len(others)
                if each["low"] is not None:
                    axes.plot([each["low"], each["high"]], [y, y], color=colour, linewidth=1.5)
                shown = each.get("p_holm", 1) < 0.05
                axes.plot(each["value"], y, marker, color=colour, markersize=6,
                          mfc=colour if shown else "white")  # fmt: skip
        axes.axvline(0, color=PALETTE[0], linewidth=0.9, zorder=0)
        axes.set_yticks(range(len(metrics)), [label_metric(each, units) for each in metrics])
        axes.set_ylim(len(metrics) - 0.4, -0.6)
        if best == "lower":
            axes.invert_xaxis()
        style_axes(axes, grid="x")
    place = f"network minus {found.baseline}"
    grid[-1].set_xlabel(f"{place}; right of the line the network is better", color=INK)
    styles = map(choose_style, range(1, len(found.tables)))
    handles = [Line2D([], [], color=colour, marker=marker) for colour, marker in styles]
    add_names(figure, handles, others)
    return figure


def draw_agreement(measures: Sequence[Measure], records: Sequence[Numbers]) -> Figure:
    """Draw predicted minus true against their mean: a row per measure, a column per network.

    A solid line at the bias, dashed ones at the limits of agreement, in bands of their intervals.
    The ``records`` are those of `limits_of_agreement`, in the order of measures and networks.
    """
    names = list(measures[0].predicted)
    size = (max(4.2, 3.1 * len(names)), 2.7 * len(measures))
    figure = Figure(size, layout="constrained", facecolor="white")
    grid = figure.subplots(len(measures), len(names), squeeze=False, sharex="row", sharey="row")
    own = iter(records)
    for row, measure in zip(grid, measures, strict=True):
        for number, (axes, name) in enumerate(zip(row, names, strict=True)):
            colour, marker = choose_style(number)
            predicted, record = measure.predicted[name], next(own)
            axes.plot((predicted + measure.true) / 2, predicted - measure.true, marker,
                      markersize=4, alpha=0.6, color=colour, mew=0,
                      rasterized=predicted.size > MANY)  # fmt: skip
            axes.axhline(0, color="#b0b0b0", linewidth=0.8, zorder=0)
            for key, style in (("bias", "-"), ("lower", "--"), ("upper", "--")):
                if record[key] is not None:
                    axes.axhline(record[key], color=colour, linestyle=style, linewidth=1.2)
                    ends = record[f"{key}_low"], record[f"{key}_high"]
                    axes.axhspan(*ends, color=colour, alpha=0.12, lw=0, zorder=0)
            axes.set_title(name, loc="left", fontsize=10, color=INK)
            axes.set_xlabel(f"mean of both{measure.unit and f', {measure.unit}'}", color=INK)
            style_axes(axes)
        row[0].set_ylabel(f"{measure.title}:\npredicted minus true", color=INK)
    return figure
