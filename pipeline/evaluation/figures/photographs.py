"""Figures of masks on photographs.

Arrays are in display order: photographs ``(H, W, 3)``, uint8 or float in [0, 1], and masks
``(R, H, W)``. Each region has one colour. A prediction is a solid contour with a light fill, the
expert's truth a dashed contour. The figures are made without pyplot, which would keep each of
them in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from ..metrics import as_words
from .display import find_window
from .panels import DASHED, FEW, INK, SOLID, add_legend, draw_masks, frame, make_panels, zoom


def draw_overlays(
    cases: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray, Sequence[float]]],
    *,
    regions: Sequence[str],
) -> Figure:
    """Draw cases below each other, each as the whole photograph and as a crop.

    Args:
        cases: ``(title, photograph (H, W, 3), prediction (R, H, W), truth (R, H, W), Dice (R,))``
            each; a Dice that is nan is left out.
        regions: the R names of the mask channels.
    """
    height, width = cases[0][1].shape[:2]
    figure, axes = make_panels([height / width] * len(cases), 2, width=4.2, regions=regions)
    for (whole, crop), case in zip(axes, cases, strict=True):
        title, photograph, prediction, truth, dice = case
        window = find_window(truth, prediction)
        for panel, width in ((whole, 1.2), (crop, 2.2)):
            panel.imshow(photograph)
            draw_masks(panel, prediction, SOLID, width=width, fill=True)
            draw_masks(panel, truth, DASHED, width=width)
        frame(whole, window)
        zoom(crop, window)
        whole.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
        crop.set_title(_format_dice(dice, regions), loc="left", fontsize=11, color=INK)
    add_legend(figure, regions)
    return figure


@dataclass
class Example:
    """One image and what several networks predict for it, by network."""

    title: str
    photograph: np.ndarray  # (H, W, 3)
    truth: np.ndarray | None  # (R, H, W)
    predictions: dict[str, np.ndarray]  # (R, H, W)
    dice: dict[str, Sequence[float]]  # per region, of the whole volume if it is a slice


def draw_comparison(examples: Sequence[Example], *, regions: Sequence[str]) -> Figure:
    """Draw networks side by side: a row per example, columns for image, expert and networks.

    All columns but the first show the crop that is framed in the first one. The Dice of each
    network stands below its panel.
    """
    names = list(examples[0].predictions)
    height, width = examples[0].photograph.shape[:2]
    figure, axes = make_panels(
        [height / width] * len(examples),
        2 + len(names),
        width=2.5,
        regions=regions,
        lines=1 + (len(regions) > 2),
    )
    for panel, head in zip(axes[0], ["Image", "Expert", *names], strict=True):
        panel.set_title(head, fontsize=12, fontweight="bold", color=INK)
    for (image, expert, *panels), example in zip(axes, examples, strict=True):
        masks = [example.predictions[name] for name in names]
        truth = np.zeros_like(masks[0]) if example.truth is None else example.truth
        window = find_window(truth, *masks)
        for panel in (image, expert, *panels):
            panel.imshow(example.photograph)
        frame(image, window)
        image.set_xlabel(example.title, fontsize=9, color=INK)
        zoom(expert, window)
        draw_masks(expert, truth, DASHED, width=1.8, fill=True)
        if example.truth is None:
            expert.set_xlabel("not available", fontsize=9, color=INK)
        for panel, name, mask in zip(panels, names, masks, strict=True):
            zoom(panel, window)
            draw_masks(panel, mask, SOLID, width=1.8, fill=True)
            draw_masks(panel, truth, DASHED, width=1.3)
            text = fill(_format_dice(example.dice[name], regions), 38)  # of a panel's width
            panel.set_xlabel(text, fontsize=9, color=INK)
    add_legend(figure, regions)
    return figure


def _format_dice(scores: Sequence[float], regions: Sequence[str]) -> str:
    """Such as ``Dice: disc 0.970, cup 0.891``, without the word that all names start with.

    Of many regions it gives the mean and the lowest; a region that is not measured is left out.
    """
    names = [as_words(name) for name in regions]
    first = {name.partition(" ")[0] for name in names}
    shared = f"{first.pop()} " if len(names) > 1 and len(first) == 1 else ""
    pairs = [
        (score, f"{name.removeprefix(shared)} {score:.3f}")
        for name, score in zip(names, scores, strict=True)
        if not np.isnan(score)
    ]
    if len(pairs) > FEW:
        mean = np.mean([score for score, _ in pairs])
        return f"Dice: mean {mean:.3f}, lowest {min(pairs)[1]}"
    return "Dice: " + (", ".join(text for _, text in pairs) or "none")
