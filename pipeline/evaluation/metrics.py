"""How well a mask agrees with the expert's: overlap, HD95 and vertical cup-to-disc ratio.

Every function takes boolean NumPy arrays of one region on the original image grid, 2D or 3D,
and has a defined value when a region is empty. A missed structure therefore always counts: a
metric that is undefined there drops out of the mean, and the worse model looks better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
    prediction, truth = _masks(prediction, truth)
    return _overlap(_counts(prediction, truth))


def hd95(prediction: np.ndarray, truth: np.ndarray, *, spacing: Sequence[float]) -> float:
    """95th percentile Hausdorff distance, in the unit of ``spacing``.

    The surface S(M) is the set of pixels of M with a face neighbour outside M or outside the
    image. With d(a, B) the Euclidean distance from the centre of a to the nearest centre in B,

        HD95 = max( P95{ d(p, S(T)) : p in S(P) },  P95{ d(t, S(P)) : t in S(T) } )

    with linearly interpolated percentiles, the definition of MONAI's
    ``compute_hausdorff_distance(percentile=95, directed=False)``. MONAI answers nan or inf for
    an empty mask; here both empty is 0, and exactly one empty is the length of the image
    diagonal, which no distance within the image exceeds.

    Args:
        prediction: boolean mask ``(*spatial)``.
        truth: boolean mask of the same shape.
        spacing: distance between pixel centres along each axis, in mm (or 1 for pixels).

    Raises:
        ValueError: when the shapes differ, or ``spacing`` has not one positive value per axis.
    """
    from scipy.ndimage import binary_erosion, find_objects
    from scipy.spatial import KDTree

    prediction, truth = _masks(prediction, truth)
    step = np.asarray(spacing, dtype=float)
    if step.shape != (truth.ndim,) or not (step > 0).all():
        raise ValueError(
            f"spacing is {list(spacing)} for masks of shape {truth.shape}: "
            f"give {truth.ndim} positive numbers, one per axis"
        )
    if not prediction.any() or not truth.any():
        missed = prediction.any() or truth.any()
        return float(np.linalg.norm(step * truth.shape)) if missed else 0.0

    # Outside the box both masks are empty, which is also what the erosion assumes at its border.
    box = find_objects((prediction | truth).view(np.uint8))[0]
    surfaces = [
        np.argwhere(mask[box] & ~binary_erosion(mask[box])) * step for mask in (prediction, truth)
    ]
    # A tree over the surfaces costs less than a distance map of the whole box.
    there = KDTree(surfaces[1]).query(surfaces[0])[0]
    back = KDTree(surfaces[0]).query(surfaces[1])[0]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


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
    disc, cup = _masks(disc, cup)
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
    prediction: np.ndarray, truth: np.ndarray, regions: Sequence[str], spacing: Sequence[float]
) -> dict[str, float]:
    """All metrics of one case, flat: ``{"dice/optic_disc": 0.97, ..., "hd95/optic_cup": 8.1}``.

    Beside ``dice``, ``iou``, ``precision``, ``recall`` and ``hd95`` of each region there are the
    counts ``intersection`` and ``union`` in pixels, from which an IoU pooled over cases follows,
    and the true size: ``area`` in the unit of ``spacing`` squared, with the whole image's as
    ``area/image``, or ``volume`` in ml for a spacing in mm.

    Args:
        prediction: boolean masks ``(R, *spatial)``.
        truth: boolean masks of the same shape.
        regions: the R names of the channels.
        spacing: distance between pixel centres along each spatial axis.

    Raises:
        ValueError: when shapes, ``regions`` and ``spacing`` do not fit each other.
    """
    prediction, truth = _masks(prediction, truth)
    if len(regions) != len(truth):
        raise ValueError(
            f"masks of shape {truth.shape} have {len(truth)} channels but regions names "
            f"{len(regions)}: {list(regions)}; give one name per channel"
        )
    unit = float(np.prod(spacing))
    size, unit = ("volume", unit / 1000) if truth.ndim == 4 else ("area", unit)
    row: dict[str, float] = {}
    for name, predicted, true in zip(regions, prediction, truth, strict=True):
        counts = _counts(predicted, true)
        values = {**_overlap(counts), "hd95": hd95(predicted, true, spacing=spacing)}
        values |= {"intersection": counts["intersection"], "union": counts["union"]}
        values[size] = counts["truth"] * unit
        row |= {f"{metric}/{name}": value for metric, value in values.items()}
    if size == "area":
        row["area/image"] = truth[0].size * unit
    return row


def _masks(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(
            f"the two masks have shapes {prediction.shape} and {truth.shape}: "
            "put both on the original image grid"
        )
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


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
