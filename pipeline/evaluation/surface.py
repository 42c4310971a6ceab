"""How far the surface of a mask lies from the expert's: HD95, ASD and normalised surface Dice.

The surface S(M) of a mask is the set of its pixels with a face neighbour outside M or outside the
image. For each of them, d is the Euclidean distance from its centre to the nearest centre in the
other surface, in the unit of the spacing:

    HD95 = max( P95{ d(p, S(T)) : p in S(P) },  P95{ d(t, S(P)) : t in S(T) } )
    ASD  = mean of d over S(P) and S(T) together
    NSD  = share of S(P) and S(T) together with d <= tolerance

These are the definitions of MONAI's ``compute_hausdorff_distance(percentile=95)``,
``compute_average_surface_distance(symmetric=True)`` and ``compute_surface_dice``, in which every
surface pixel has the same weight. MONAI returns nan or inf for an empty mask. Here a region that is
absent from both masks has HD95 and ASD 0 and NSD 1. A missed or invented region has NSD 0, and its
HD95 and ASD are the length of the image diagonal, the longest distance in the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NSD_TOLERANCE = 2.0  # mm


def surface_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    spacing: Sequence[float],
    tolerance: float = NSD_TOLERANCE,
) -> dict[str, float]:
    """HD95, average symmetric surface distance, and normalised surface Dice of one region.

    Args:
        prediction: boolean mask ``(*spatial)``.
        truth: boolean mask of the same shape.
        spacing: distance between pixel centres along each axis, in mm (or 1 for pixels).
        tolerance: largest distance that the NSD accepts, in the same unit.

    Returns:
        ``{"hd95", "asd", "nsd"}``: two lengths in the unit of ``spacing``, and a share in [0, 1].

    Raises:
        ValueError: the shapes differ, ``spacing`` does not have one positive value per axis, or
            the tolerance is negative.
    """
    from scipy.spatial import KDTree

    prediction, truth = as_masks(prediction, truth)
    step = np.asarray(spacing, dtype=float)
    if step.shape != (truth.ndim,) or not (step > 0).all():
        raise ValueError(
            f"spacing is {list(spacing)} for masks of shape {truth.shape}: "
            f"give {truth.ndim} positive numbers, one per axis"
        )
    if not tolerance >= 0:
        raise ValueError(f"the tolerance of the NSD is {tolerance}: give a length, 0 or more")
    surfaces = [_surface(mask) * step for mask in (prediction, truth)]
    if not all(map(len, surfaces)):
        missed = any(map(len, surfaces))
        distance = float(np.linalg.norm(step * truth.shape)) if missed else 0.0
        return {"hd95": distance, "asd": distance, "nsd": 0.0 if missed else 1.0}
    # A tree over the surfaces costs less than a distance map of the whole box.
    there = KDTree(surfaces[1]).query(surfaces[0])[0]
    back = KDTree(surfaces[0]).query(surfaces[1])[0]
    both = np.concatenate([there, back])
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "asd": float(both.mean()),
        "nsd": float((both <= tolerance).mean()),
    }


def as_masks(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as boolean arrays; raises a ValueError if their shapes differ."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(
            f"the two masks have shapes {prediction.shape} and {truth.shape}: "
            "put both on the original image grid"
        )
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def find_spans(mask: np.ndarray) -> np.ndarray:
    """First and last marked index along each axis, ``(axes, 2)``, of a mask that is not empty."""
    spans = []
    for axis in range(mask.ndim):
        marked = np.flatnonzero(mask.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
        spans.append((marked[0], marked[-1]))
        part = slice(marked[0], marked[-1] + 1)  # the next axes have less to do
        mask = mask[(slice(None),) * axis + (part,)]
    return np.array(spans)


def find_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds all that is marked, of a mask that is not empty."""
    return tuple(slice(first, last + 1) for first, last in find_spans(mask))


def _surface(mask: np.ndarray) -> np.ndarray:
    """Indices ``(N, axes)`` of the pixels with a face neighbour outside the mask or the image."""
    if not mask.any():
        return np.empty((0, mask.ndim), dtype=int)
    # Each mask has its own box, so a stray pixel of a prediction does not enlarge the truth's.
    box = find_box(mask)
    mask = mask[box]
    inner = mask.copy()
    for axis in range(mask.ndim):
        last, first = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        last[:-1] &= first[1:]
        last[1:] &= first[:-1]
        last[[0, -1]] = False
    return np.argwhere(mask & ~inner) + [side.start for side in box]
