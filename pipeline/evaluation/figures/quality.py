"""The figure of how far estimates can be trusted: reliability and risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ..metrics import as_words
from ..quality import estimates_of, risk_coverage
from .panels import INK, PALETTE, style_axes


def draw_quality(
    tables: Mapping[str, Sequence[Mapping[str, Any]]], regions: Sequence[str]
) -> Figure | None:
    """Draw a row of two panels per region; None if no case has an estimate.

    On the left each case's true Dice against its expected one: points on the diagonal are right. On
    the right the mean error of the cases that are kept when the least trusted are left out. The
    ``tables`` are the rows of the cases of each network.
    """
    known = {}
    for region in regions:
        found = {name: estimates_of(rows, region) for name, rows in tables.items()}
        if any(found.values()):
            known[region] = {name: each for name, each in found.items() if each}
    if not known:
        return None
    figure = Figure((7.2, 3.1 * len(known) + 0.3), layout="constrained", facecolor="white")
    grid = figure.subplots(len(known), 2, squeeze=False)
    for (region, found), (left, right) in zip(known.items(), grid, strict=True):
        for number, (name, each) in enumerate(found.items()):
            colour = PALETTE[number % len(PALETTE)]
            label = f"{name} " if len(found) > 1 else ""
            left.plot(each.expected, each.true, "o", ms=3, alpha=0.5, mew=0, color=colour)
            coverage, risk = risk_coverage(each.agreement, each.true)
            right.plot(coverage, risk, color=colour, label=f"{label}by agreement")
            if len(found) == 1:
                best = risk_coverage(each.true, each.true)[1]
                right.plot(coverage, best, ":", color=colour, label="best order")
        low = min(min(each.expected.min(), each.true.min()) for each in found.values())
        left.plot([low, 1], [low, 1], color="#b0b0b0", linewidth=0.9, zorder=0)
        left.set(xlabel=f"expected Dice, {as_words(region)}", ylabel="true Dice")
        right.set(xlabel="share of cases that are kept", ylabel="mean of 1 - Dice", ylim=(0, None))
        right.legend(frameon=False, fontsize=8.5, labelcolor=INK)
        for axes in (left, right):
            style_axes(axes, grid="both")
    return figure
