"""How well a mask agrees with the expert's: overlap, volume, vertical cup-to-disc ratio, and all.

Every function takes boolean NumPy arrays of one region on the original image grid, 2D or 3D,
and has a defined value when a region is empty. A missed structure therefore always counts: a
metric that is undefined there drops out of the mean, and the worse model looks better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .surface import NSD_TOLERANCE, as_masks, hd95, surface_metrics


def overlap(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice, intersection over union, precision and recall of one region.

    With both masks empty the region is rightly absent and every value is 1. With exactly one
    empty (a missed or an invented structure) every value is 0, also the precision of an empty
    prediction and the recall of an empty truth, which are 0/0 by their formulas.

    Args:
        prediction: boolean mask, any shape.
        truth: boolean mask of the same shape.

    Returns:
        ``{"dice", "iou", "precision", "recall"}``, each in [0, 1].

    Raises:
        ValueError: when the shapes differ.
    """
    prediction, truth = as_masks(prediction, truth)
    return _overlap(_counts(prediction, truth))


def vertical_cdr(disc: np.ndarray, cup: np.ndarray, *, axis: int) -> float:
    """Vertical cup-to-disc ratio: the extent of the cup over that of the disc along ``axis``.

    The extent runs from the first to the last marked row, holes and stray pixels included.

    Args:
        disc: boolean mask ``(*spatial)``.
        cup: boolean mask of the same shape.
        axis: the vertical axis: 1 for masks in MONAI's order ``(W, H)``, 0 for ``(H, W)``.

    Returns:
        The ratio; 0 where there is no cup, nan where there is no disc.
    """
    disc, cup = as_masks(disc, cup)
    height = _extent(disc, axis)
    return _extent(cup, axis) / height if height else float("nan")


def vertical_cdr_error(prediction: float, truth: float) -> float:
    """Absolute error of a vertical cup-to-disc ratio, in [0, 1]; a missed disc costs 1.

    A ratio without a disc (nan) is wrong by 1 against any number and right against another nan.
    Errors are cut at 1, so that no prediction does worse than one without a disc.
    """
    if np.isnan(prediction) or np.isnan(truth):
        return 0.0 if np.isnan(prediction) and np.isnan(truth) else 1.0
    return min(1.0, abs(prediction - truth))


def case_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    regions: Sequence[str],
    spacing: Sequence[float],
    *,
    tolerance: float = NSD_TOLERANCE,
) -> dict[str, float]:
    """All metrics of one case, flat: ``{"dice/optic_disc": 0.97, ..., "hd95/optic_cup": 8.1}``.

    Beside ``dice``, ``iou``, ``precision``, ``recall`` and ``hd95`` of each region there are the
    counts ``intersection`` and ``union`` in pixels, from which an IoU pooled over cases follows,
    and the true size: ``area`` in the unit of ``spacing`` squared, with the whole image's as
    ``area/image``, or ``volume`` in ml for a spacing in mm.

    A volume also has ``asd``, ``nsd``, and in ml the ``volume_error``, predicted minus true, and
    its size as ``absolute_volume_error``. A missed structure counts there with its volume.

    Args:
        prediction: boolean masks ``(R, *spatial)``.
        truth: boolean masks of the same shape.
        regions: the R names of the channels.
        spacing: distance between pixel centres along each spatial axis.
        tolerance: of the ``nsd``, in the unit of ``spacing``.

    Raises:
        ValueError: when shapes, ``regions`` and ``spacing`` do not fit each other.
    """
    prediction, truth = as_masks(prediction, truth)
    if len(regions) != len(truth):
        raise ValueError(
            f"masks of shape {truth.shape} have {len(truth)} channels but regions names "
            f"{len(regions)}: {list(regions)}; give one name per channel"
        )
    solid = truth.ndim == 4
    unit = float(np.prod(spacing)) / (1000 if solid else 1)
    row: dict[str, float] = {}
    for name, predicted, true in zip(regions, prediction, truth, strict=True):
        counts = _counts(predicted, true)
        values = _overlap(counts)
        if solid:
            values |= surface_metrics(predicted, true, spacing=spacing, tolerance=tolerance)
            error = (counts["prediction"] - counts["truth"]) * unit
            values |= {"volume_error": error, "absolute_volume_error": abs(error)}
        else:
            values["hd95"] = hd95(predicted, true, spacing=spacing)
        values |= {"intersection": counts["intersection"], "union": counts["union"]}
        values["volume" if solid else "area"] = counts["truth"] * unit
        row |= {f"{metric}/{name}": value for metric, value in values.items()}
    if not solid:
        row["area/image"] = truth[0].size * unit
    return row


def _counts(prediction: np.ndarray, truth: np.ndarray) -> dict[str, int]:
    """Pixels in the intersection, the union, the prediction and the truth."""
    both = int(np.count_nonzero(prediction & truth))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    union = predicted + true - both
    return {"intersection": both, "union": union, "prediction": predicted, "truth": true}


def _overlap(counts: dict[str, int]) -> dict[str, float]:
    both, union = counts["intersection"], counts["union"]
    predicted, true = counts["prediction"], counts["truth"]
    if not union:
        return dict.fromkeys(("dice", "iou", "precision", "recall"), 1.0)
    return {
        "dice": 2 * both / (predicted + true),
        "iou": both / union,
        "precision": both / predicted if predicted else 0.0,
        "recall": both / true if true else 0.0,
    }


def _extent(mask: np.ndarray, axis: int) -> int:
    """Rows from the first to the last marked one along ``axis``, in pixels."""
    others = tuple(i for i in range(mask.ndim) if i != axis % mask.ndim)
    rows = np.flatnonzero(mask.any(axis=others))
    return int(rows[-1] - rows[0] + 1) if rows.size else 0
