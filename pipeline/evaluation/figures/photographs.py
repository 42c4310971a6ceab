"""Figures of masks on photographs and of attention maps, for reports, MLflow and the README.

Arrays are in display order: photographs ``(H, W, 3)``, uint8 or float in [0, 1], and masks
``(R, H, W)``. One colour per region: the disc red, the cup yellow. A prediction is a solid
contour with a light fill, the expert's truth a dashed contour of the same colour. The figures
are made without pyplot, which would keep each of them in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..metrics import overlap
from .panels import DASHED, SOLID, TEXT, draw, legend, mark, panel_grid, words, zoom


def overlay_page(
    cases: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
    *,
    regions: Sequence[str],
) -> Figure:
    """Cases below each other, the whole photograph on the left and the crop on the right.

    Args:
        cases: ``(title, photograph (H, W, 3), prediction (R, H, W), truth (R, H, W))`` each.
        regions: the R names of the mask channels.
    """
    figure, axes = panel_grid([_aspect(cases[0][1])] * len(cases), 2, width=4.2)
    for (whole, crop), (title, photograph, prediction, truth) in zip(axes, cases, strict=True):
        window = _window(truth, prediction)
        for panel, width in ((whole, 1.2), (crop, 2.2)):
            panel.imshow(photograph)
            draw(panel, prediction, regions, SOLID, width=width, fill=True)
            draw(panel, truth, regions, DASHED, width=width)
        mark(whole, window)
        zoom(crop, window)
        whole.set_title(title, loc="left", fontsize=11, fontweight="bold", color=TEXT)
        scores = _dice_of(prediction, truth)
        crop.set_title(_words(scores, regions), loc="left", fontsize=11, color=TEXT)
    legend(figure, regions)
    return figure


def comparison_figure(
    photographs: Sequence[np.ndarray],
    truth: Sequence[np.ndarray | None],
    predictions: Mapping[str, Sequence[np.ndarray]],
    *,
    regions: Sequence[str],
    titles: Sequence[str] = (),
    dice: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> Figure:
    """Networks side by side: a row per photograph; columns photograph, truth, each network.

    All columns but the first show the crop that the frame in the first one marks, and below
    each network stands its Dice.

    Args:
        photographs: N of ``(H, W, 3)``.
        truth: N of ``(R, H, W)``; None where it is not at hand.
        predictions: per network name, N of ``(R, H, W)``.
        regions: the R names of the mask channels.
        titles: N names of the photographs, or none.
        dice: per network name, N times that of each region, of whole volumes say; by default
            what it is on the photograph.

    Raises:
        ValueError: when a network has not one prediction per photograph.
    """
    for name, masks in {"the truth": truth, **predictions}.items():
        if len(masks) != len(photographs):
            raise ValueError(
                f"{name} has {len(masks)} masks for {len(photographs)} photographs: "
                "give one per photograph, in the same order"
            )
    figure, axes = panel_grid(
        [_aspect(photographs[0])] * len(photographs), 2 + len(predictions), width=2.5
    )
    heads = ["Image", "Expert", *predictions]
    for panel, head in zip(axes[0], heads, strict=True):
        panel.set_title(head, fontsize=12, fontweight="bold", color=TEXT)
    for index, (row, photograph, true) in enumerate(zip(axes, photographs, truth, strict=True)):
        shown = [masks[index] for masks in predictions.values()]
        known = true is not None
        true = true if known else np.zeros_like(shown[0])
        window = _window(true, *shown)
        for panel in row:
            panel.imshow(photograph)
        mark(row[0], window)
        row[0].set_xlabel(titles[index] if titles else " ", fontsize=9, color=TEXT)
        zoom(row[1], window)
        draw(row[1], true, regions, DASHED, width=1.8, fill=True)
        if not known:
            row[1].set_xlabel("not at hand", fontsize=9, color=TEXT)
        for panel, name, mask in zip(row[2:], predictions, shown, strict=True):
            zoom(panel, window)
            draw(panel, mask, regions, SOLID, width=1.8, fill=True)
            draw(panel, true, regions, DASHED, width=1.3)
            if dice is not None or known:
                scores = dice[name][index] if dice is not None else _dice_of(mask, true)
                panel.set_xlabel(_words(scores, regions), fontsize=9, color=TEXT)
    legend(figure, regions)
    return figure


def attention_figure(
    photograph: np.ndarray, alphas: Sequence[np.ndarray], *, title: str = ""
) -> Figure:
    """What the attention gates let through, over the grey photograph the network saw.

    Each map is spread bilinearly over the picture, on one colour scale from 0 (closed) to 1.

    Args:
        photograph: ``(H, W)`` or ``(H, W, 3)``, the network's input on the display's scale.
        alphas: one map ``(h, w)`` or ``(gates, h, w)`` per level, in [0, 1], each covering the
            whole picture; the gates of a level are averaged.
        title: written over the photograph.
    """
    grey = photograph.mean(axis=-1) if photograph.ndim == 3 else photograph
    height, width = grey.shape
    figure, ((first, *panels),) = panel_grid([height / width], 1 + len(alphas), width=3.0, below=0)
    first.imshow(grey, cmap="gray")
    first.set_title(title or "Network input", fontsize=11, fontweight="bold", color=TEXT)
    shown = None
    for panel, alpha in zip(panels, alphas, strict=True):
        gates = alpha.reshape(-1, *alpha.shape[-2:])
        panel.imshow(grey, cmap="gray")
        # The outer edges of the coarse grid coincide with those of the photograph.
        shown = panel.imshow(
            gates.mean(axis=0),
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=0.6,
            interpolation="bilinear",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        grid = f"grid {gates.shape[-1]} x {gates.shape[-2]}"
        note = f", mean of {len(gates)} gates" if len(gates) > 1 else ""
        panel.set_title(grid + note, fontsize=11, color=TEXT)
    if shown is not None:
        bar = figure.colorbar(shown, ax=panels, fraction=0.03, pad=0.015, ticks=(0, 0.5, 1))
        bar.set_label("attention", color=TEXT)
        bar.solids.set_alpha(1)
    return figure


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 130) -> None:
    """Write a PNG with its folder; atomic, so that a reader never sees half a picture."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, format="png", dpi=dpi)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _aspect(photograph: np.ndarray) -> float:
    return photograph.shape[0] / photograph.shape[1]


def _window(truth: np.ndarray, *predictions: np.ndarray) -> tuple[int, int, int, int]:
    """``(left, right, top, bottom)`` in px about the truth, shaped like the picture.

    Without a truth it goes about the predictions: a stray one would otherwise widen the crop.
    """
    height, width = truth.shape[-2:]
    marked = truth.any(axis=0)
    if not marked.any():
        marked = np.logical_or.reduce([masks.any(axis=0) for masks in predictions])
    if not marked.any():
        return 0, width, 0, height
    spans = [np.flatnonzero(marked.any(axis=axis)) for axis in (0, 1)]
    longest = max(np.ptp(span) + 1 for span in spans)
    share = min(1.0, 1.7 * longest / min(width, height))
    (left, right), (top, bottom) = (
        _centred((span[0] + span[-1] + 1) / 2, round(share * size), size)
        for span, size in zip(spans, (width, height), strict=True)
    )
    return left, right, top, bottom


def _centred(middle: float, length: int, size: int) -> tuple[int, int]:
    """Start and end of ``length`` px about ``middle``, moved to lie within ``size``."""
    start = int(np.clip(middle - length / 2, 0, size - length))
    return start, start + length


def _dice_of(prediction: np.ndarray, truth: np.ndarray) -> list[float]:
    """That of each region."""
    return [overlap(mask, true)["dice"] for mask, true in zip(prediction, truth, strict=True)]


def _words(scores: Sequence[float], regions: Sequence[str]) -> str:
    """Such as ``Dice: disc 0.970, cup 0.891``."""
    pairs = zip(regions, scores, strict=True)
    named = (f"{words(name).removeprefix('optic ')} {score:.3f}" for name, score in pairs)
    return f"Dice: {', '.join(named)}"
