"""The metrics of a segmentation: each is one function and one row of `METRICS`.

A structure that is missed always counts: no value of a case is undefined because its prediction is
empty, or it would drop out of the mean, and the worse model would look better. Two empty masks
agree (Dice 1), and a prediction where the label is empty does not (Dice 0). Only the recall of an
empty label is undefined, since there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Literal

import numpy as np

from .surface import NSD_TOLERANCE, as_masks, find_spans, surface_metrics


class MaskPair:
    """Prediction and truth ``(*spatial)`` of one region, with numbers that metrics share.

    ``spacing`` is the distance between pixel centres along each axis, by default 1.
    """

    def __init__(
        self, prediction: np.ndarray, truth: np.ndarray, *, spacing: Sequence[float] = ()
    ) -> None:
        self.prediction, self.truth = as_masks(prediction, truth)
        self.spacing = spacing or (1,) * self.truth.ndim
        self.intersection = int(np.count_nonzero(self.prediction & self.truth))  # pixels
        self.predicted = int(np.count_nonzero(self.prediction))
        self.true = int(np.count_nonzero(self.truth))
        self.union = self.predicted + self.true - self.intersection

    def share(self, part: int, whole: int) -> float:
        """``part / whole``; 1 if both masks are empty, 0 if only ``whole`` is."""
        if not self.union:
            return 1.0
        return part / whole if whole else 0.0

    @property
    def pixel_size(self) -> float:
        """Area of a pixel in the unit of ``spacing`` squared, or volume of a voxel in ml."""
        return float(np.prod(self.spacing)) / (1000 if self.truth.ndim == 3 else 1)

    @cached_property
    def surface(self) -> dict[str, float]:
        """The metrics of the surfaces, see :func:`surface_metrics`."""
        return surface_metrics(self.prediction, self.truth, spacing=self.spacing)


def dice(masks: MaskPair) -> float:
    return masks.share(2 * masks.intersection, masks.predicted + masks.true)


def iou(masks: MaskPair) -> float:
    return masks.share(masks.intersection, masks.union)


def precision(masks: MaskPair) -> float:
    return masks.share(masks.intersection, masks.predicted)


def recall(masks: MaskPair) -> float:
    return masks.intersection / masks.true if masks.true else float("nan")


def of_surface(key: str) -> Callable[[MaskPair], float]:
    """A metric of the surfaces."""
    return lambda masks: masks.surface[key]


def volume_error(masks: MaskPair) -> float:
    """Predicted minus true volume in ml."""
    return (masks.predicted - masks.true) * masks.pixel_size


def absolute_volume_error(masks: MaskPair) -> float:
    return abs(volume_error(masks))


def true_size(masks: MaskPair) -> float:
    return masks.true * masks.pixel_size


def predicted_size(masks: MaskPair) -> float:
    return masks.predicted * masks.pixel_size


@dataclass(frozen=True)
class Metric:
    """What is known about a metric, or about another number of a case.

    Attributes:
        key: first part of its columns, such as ``dice`` of ``dice/REGION``, or a whole column.
        title: its name in reports.
        measure: returns the value for a region; None if regions are not measured one by one.
        unit: what the unit follows from: a length is in px or mm, a volume in ml, and the NSD
            has a tolerance. A share has no unit.
        best: which values are better.
        dims: number of spatial axes of the images that have it.
        plotted: a comparison draws every case.
        kind: a metric is summarised and compared, a value only summarised; a size is only
            recorded, since it describes the case and not the prediction.
    """

    key: str
    title: str
    measure: Callable[[MaskPair], float] | None = None
    unit: Literal["", "length", "volume", "tolerance"] = ""
    best: Literal["higher", "lower", "zero"] = "higher"
    dims: tuple[int, ...] = (2, 3)
    plotted: bool = False
    kind: Literal["metric", "value", "size"] = "metric"


_ROWS = (
    Metric("dice", "Dice", dice, plotted=True),
    Metric("iou", "IoU", iou),
    Metric("precision", "Precision", precision),
    Metric("recall", "Recall", recall),
    Metric("hd95", "HD95", of_surface("hd95"), "length", "lower", plotted=True),
    Metric("asd", "ASD", of_surface("asd"), "length", "lower", dims=(3,), plotted=True),
    Metric("nsd", "NSD", of_surface("nsd"), "tolerance", dims=(3,), plotted=True),
    # It has a sign, so its mean is a bias.
    Metric("volume_error", "Volume error", volume_error, "volume", "zero", (3,), plotted=True),
    Metric(
        "absolute_volume_error", "Absolute volume error", absolute_volume_error, "volume", "lower",
        dims=(3,),
    ),
    # What is pooled over cases follows from these two.
    Metric("intersection", "Intersection", attrgetter("intersection"), kind="size"),
    Metric("union", "Union", attrgetter("union"), kind="size"),
    Metric("area", "Area", true_size, dims=(2,), kind="size"),
    Metric("predicted_area", "Predicted area", predicted_size, dims=(2,), kind="size"),
    Metric("volume", "Volume", true_size, dims=(3,), kind="size"),
    Metric("vertical_cdr", "Vertical CDR", kind="value"),
    Metric("vertical_cdr/absolute_error", "Vertical CDR", best="lower", plotted=True),
    Metric("ece", "Expected calibration error", best="lower"),
    Metric("expected_dice", "Expected Dice", kind="value"),
    # What the estimate follows from.
    *(
        Metric(key, key, kind="size")
        for key in (
            *("agreement", "elsewhere", "found", "low_dice", "high_dice"),
            *("image_mean", "image_sd", "image_dark", "image_sharpness"),
            *("image_corners", "image_field", "image_extent"),
        )
    ),
    Metric("pooled_iou", "IoU, pooled"),
    Metric("pooled_dice", "Dice, pooled"),
)  # fmt: skip
METRICS = {row.key: row for row in _ROWS}


def pool_iou(intersection: np.ndarray, union: np.ndarray, axis: int = -1) -> np.ndarray:
    """The sum of intersections over the sum of unions; 1 if all are empty."""
    intersection, union = intersection.sum(axis), union.sum(axis)
    return np.where(union > 0, intersection / np.where(union > 0, union, 1), 1.0)


def pool_dice(intersection: np.ndarray, union: np.ndarray, axis: int = -1) -> np.ndarray:
    """Twice the sum of intersections over the sum of both sizes; 1 if all are empty."""
    iou = pool_iou(intersection, union, axis)
    return 2 * iou / (1 + iou)


def find_metric(column: str) -> Metric:
    """The row of a column; a default one for a metric that the table does not have."""
    key = column.split("/")[0]
    if row := METRICS.get(column) or METRICS.get(key):
        return row
    error = column.endswith("error") or key.endswith("error")
    distance = key.startswith(("hd", "asd", "assd", "masd", "rmse"))
    best = "lower" if error or distance else "higher"
    return Metric(key, as_words(key).capitalize(), best=best)


def find_units(spacings: Sequence[Sequence[float]]) -> dict[str, str]:
    """The unit of each metric that has one, by its key, for cases of these spacings."""
    dims = max(map(len, spacings))
    in_pixels = dims == 2 and all(set(spacing) == {1.0} for spacing in spacings)
    names = {
        "length": "px" if in_pixels else "mm",
        "volume": "ml",
        "tolerance": f"within {NSD_TOLERANCE:g} mm",
    }
    return {row.key: names[row.unit] for row in METRICS.values() if row.unit and dims in row.dims}


def unit_of(column: str, units: Mapping[str, str]) -> str:
    """The unit of a column among the ``units`` of a summary; empty if it has none."""
    return units.get(find_metric(column).key, "")


def as_words(name: str) -> str:
    """``true_size`` to ``true size``."""
    return name.replace("_", " ")


def case_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    regions: Sequence[str],
    spacing: Sequence[float],
) -> dict[str, float]:
    """Measure one case.

    Args:
        prediction: boolean masks ``(R, *spatial)``.
        truth: boolean masks of the same shape.
        regions: the R names of the channels.
        spacing: distance between pixel centres along each spatial axis.

    Returns:
        ``{"dice/REGION": 0.97, ...}``: what `METRICS` has for such an image, for every region.
        ``area/image`` is the size of the whole image.

    Raises:
        ValueError: shapes, ``regions`` and ``spacing`` do not fit each other.
    """
    prediction, truth = as_masks(prediction, truth)
    if len(regions) != len(truth):
        raise ValueError(
            f"masks of shape {truth.shape} have {len(truth)} channels but regions names "
            f"{len(regions)}: {list(regions)}; give one name per channel"
        )
    dims = truth.ndim - 1
    measured = [each for each in METRICS.values() if each.measure and dims in each.dims]
    row: dict[str, float] = {}
    for name, *masks in zip(regions, prediction, truth, strict=True):
        pair = MaskPair(*masks, spacing=spacing)
        row |= {f"{each.key}/{name}": each.measure(pair) for each in measured}
    if dims == 2:
        row["area/image"] = truth[0].size * float(np.prod(spacing))
    return row


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
    if not disc.any():
        return float("nan")
    first, last = find_spans(disc)[axis]
    top, bottom = find_spans(cup)[axis] if cup.any() else (0, -1)
    return float((bottom - top + 1) / (last - first + 1))


def vertical_cdr_error(prediction: float, truth: float) -> float:
    """Absolute error of a vertical cup-to-disc ratio, in [0, 1]; a missed disc costs 1.

    A ratio without a disc (nan) is wrong by 1 against any number and right against another nan.
    Errors are cut at 1, so that no prediction does worse than one without a disc.
    """
    if np.isnan(prediction) or np.isnan(truth):
        return 0.0 if np.isnan(prediction) and np.isnan(truth) else 1.0
    return min(1.0, abs(prediction - truth))
