"""How good a mask is, estimated without a label from what an evaluation measured on others."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError, one_line
from ..files import read_json, sha256
from .error_model import ErrorModel

logger = logging.getLogger(__name__)
Row = Mapping[str, Any]

FEWEST = 5  # cases of a calibration; the quantiles of fewer say nothing
_CDR_ERROR = "vertical_cdr/absolute_error"
LEVEL = 0.9  # of the intervals
DOUBTFUL = 0.8  # the Dice below which a mask is to be looked at
CHANCE = 0.1  # of a Dice below that, up to which no mask is doubtful
ALARMS = 0.1  # the largest share of the calibration's good masks that may be doubtful
_CORNERS = 0.05  # the share of a picture from which on black corners show a whole field
# Features that tell whether an image and its regions resemble the calibration. Sizes are compared
# by their logarithm, since they differ by factors.
_SIZES = ("found", "image_extent")
_OTHERS = ("elsewhere", "image_mean", "image_sd", "image_dark")


def quality_file(weights: str | Path) -> Path:
    """The file beside weights that holds the cases of their `Calibration`."""
    path = Path(weights)
    return path.with_name(f"{path.stem}_quality.json")


def read_calibration(weights: Sequence[str | Path]) -> Calibration | None:
    """The calibration of a checkpoint; that of an ensemble has the cases of all its members.

    Returns:
        None where a file of weights has none, or one of other weights.

    Raises:
        InputError: a file beside the weights is not what an evaluation wrote.
    """
    rows: list[Row] = []
    calibration = None
    for each in weights:
        path, fix = quality_file(each), "move it away, and evaluate the validation cases again."
        if not path.is_file():
            return None
        found = read_json(path, fix)
        if found.get("checkpoint_sha256") != sha256(each):
            logger.warning(f"{path} is of other weights than {each}: it is not used.")
            return None
        try:
            if not all(any("elsewhere" in key for key in row) for row in found["cases"]):
                logger.warning(
                    f"{path} was written by an earlier version, so it is not used: evaluate the "
                    "validation cases again."
                )
                return None
            rows += found["cases"]
            calibration = Calibration(rows, found["regions"], found["vertical_cdr"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: it is not a calibration ({one_line(error)}); {fix}"
            ) from None
    return calibration


class Range(NamedTuple):
    """The values that a feature has in the calibration, and those that are like them."""

    seen: tuple[float, float]
    like: tuple[float, float]

    def holds(self, value: float) -> bool:
        return self.like[0] <= value <= self.like[1]


class Calibration:
    """The estimates that the features of a case allow, see `quality_features`.

    Args:
        rows: a case each: its features, ``dice/REGION``, ``recall/REGION``, ``precision/REGION``
            and, where that is measured, ``vertical_cdr/absolute_error``.
        regions: their names.
        vertical_cdr: the two of them whose ratio is measured.
    """

    def __init__(
        self, rows: Sequence[Row], regions: Sequence[str], vertical_cdr: Sequence[str] = ()
    ) -> None:
        self.regions, self.pair = list(regions), list(vertical_cdr)
        self.rows = [
            {key: math.nan if row[key] is None else float(row[key]) for key in row if _is_used(key)}
            for row in rows
        ]
        names = dict.fromkeys(key for row in self.rows for key in row)
        column = {
            key: np.array([row.get(key, math.nan) for row in self.rows], float) for key in names
        }
        self.models, self.limits, self.factors, self.always = {}, {}, {}, {}
        for name in self.regions:
            agreement, dice = column[f"agreement/{name}"], column[f"dice/{name}"]
            known = ~np.isnan(column[f"recall/{name}"])  # the label holds the region
            if known.sum() < FEWEST:
                continue
            self.always[name] = bool(known.all())
            model = self.models[name] = ErrorModel(agreement[known], dice[known])
            good = agreement[known & (dice >= DOUBTFUL)]
            level = 1 - ALARMS / len(self.regions)
            chances = [model.chance_above(1 - DOUBTFUL, each) for each in good]
            self.limits[name] = max(CHANCE, float(np.quantile(chances or [0.0], level)))
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.abs(np.log(column[f"recall/{name}"] / column[f"precision/{name}"]))
            self.factors[name] = self._spread(ratio, [name], agreement[:, None])
        self.cdr = math.nan
        if self.pair and set(self.pair) <= self.models.keys():
            each = np.stack([column[f"agreement/{name}"] for name in self.pair], axis=1)
            self.cdr = self._spread(column[_CDR_ERROR], self.pair, each)
        self.ranges = {
            key: find_range(values, logarithmic=key.startswith(_SIZES))
            for key, values in column.items()
            if key.startswith((*_SIZES, *_OTHERS)) and np.isfinite(values).all()
        }

    @property
    def is_volume(self) -> bool:
        return any(key.startswith("image_extent") for key in self.ranges)

    def content(self, digest: str) -> dict[str, Any]:
        """What `quality_file` holds, for weights with this SHA-256."""
        rows = [
            {key: value if math.isfinite(value) else None for key, value in row.items()}
            for row in self.rows
        ]
        return {
            "checkpoint_sha256": digest,
            "regions": self.regions,
            "vertical_cdr": self.pair,
            "cases": rows,
        }

    def _spread(self, values: np.ndarray, names: Sequence[str], agreement: np.ndarray) -> float:
        """The quantile of values, in units of the errors that are expected of their regions."""
        expected = [
            np.mean(
                [self.models[name].errors(a).mean() for name, a in zip(names, row, strict=True)]
            )
            for row in agreement
        ]
        finite = np.isfinite(values)
        if finite.sum() < FEWEST:
            return math.nan
        return upper((values / expected)[finite], LEVEL)

    def trust(self, features: Row) -> float:
        """Rank several masks of one image: the higher, the better.

        The mean of the expected Dice, minus half the logarithm of the factor by which each region
        is too large or too small for the calibration. The look of the image does not count: it is
        the same for all masks, or follows from their scale.
        """
        expected = [
            1 - model.errors(features[f"agreement/{name}"]).mean()
            for name, model in self.models.items()
        ]
        sizes = {key: each.like for key, each in self.ranges.items() if key.startswith("found/")}
        beyond = 0.0
        for key, (low, high) in sizes.items():
            value = max(features[key], 1e-9)
            beyond += max(0.0, math.log(low / value), math.log(value / high))
        return float(np.mean(expected)) - beyond / 2

    def shows_field(self, features: Row) -> bool:
        """Whether a picture shows a camera's whole field, as all pictures of the calibration do.

        Then its corners are black, and no region is larger than the network knows it.
        """
        least = min(row.get("image_corners", 0.0) for row in self.rows)
        return least > _CORNERS and features["image_corners"] > least / 2

    def estimate(self, features: Row, measured: Row = MappingProxyType({})) -> dict[str, Any]:
        """Estimate the quality of a mask.

        Args:
            features: of the case.
            measured: what a report says of it: ``volume_ml`` or ``area_px`` of each region, and
                ``vertical_cdr``.

        Returns:
            ``check``, whether the mask is doubtful, and the ``reasons``; ``dice`` of each region
            with ``expected``, ``low`` and ``high``; intervals of the sizes and of the ratio. Each
            interval holds 90 of 100 cases like those of the calibration.
        """
        out: dict[str, Any] = {"check": False, "reasons": [], "dice": {}}
        size = next((key for key in ("volume_ml", "area_px") if key in measured), "")
        for name, model in self.models.items():
            if size and not measured[size][name]:
                if self.always[name]:
                    out["dice"][name] = dict.fromkeys(("expected", "low", "high"), 0.0)
                    out["reasons"].append(f"{name} is not found")
                continue
            errors = model.errors(features[f"agreement/{name}"])
            low, high = 1 - upper(errors, (1 + LEVEL) / 2), 1 + upper(-errors, (1 + LEVEL) / 2)
            expected = 1 - errors.mean()
            numbers = {"expected": expected, "low": low, "high": high}
            out["dice"][name] = {key: round(float(each), 4) for key, each in numbers.items()}
            chance = model.chance_above(1 - DOUBTFUL, features[f"agreement/{name}"])
            if chance > self.limits[name]:
                out["reasons"].append(
                    f"{name}: Dice {expected:.2f} expected, and below {DOUBTFUL} with a chance of "
                    f"{chance:.0%}"
                )
            if size and np.isfinite(self.factors[name]):
                factor = math.exp(self.factors[name] * (1 - expected))
                bounds = measured[size][name] / factor, measured[size][name] * factor
                out.setdefault(size, {})[name] = _interval(*bounds)
        ratio = measured.get("vertical_cdr")
        if ratio is not None and np.isfinite(self.cdr):
            expected = np.mean([1 - out["dice"][name]["expected"] for name in self.pair])
            half = self.cdr * expected
            out["vertical_cdr"] = _interval(max(0.0, ratio - half), min(1.0, ratio + half))
        for key, found in self.ranges.items():
            value = features.get(key, math.nan)
            if not found.holds(value):
                out["reasons"].append(_compare(key, value, found.seen, volume=self.is_volume))
        out["check"] = bool(out["reasons"])
        return out


def _is_used(column: str) -> bool:
    known = ("dice", "recall", "precision", "agreement", "image_corners", *_SIZES, *_OTHERS)
    return column.split("/")[0] in known or column == _CDR_ERROR


def upper(values: np.ndarray, level: float) -> float:
    """What a further value does not exceed with a probability of ``level`` (split conformal)."""
    rank = math.ceil((len(values) + 1) * level)
    return float(np.sort(values)[min(rank, len(values)) - 1])


def find_range(values: np.ndarray, *, logarithmic: bool) -> Range:
    """The range of a feature, widened by what its spread and the number of cases leave open."""
    seen = float(values.min()), float(values.max())
    scale = np.log(np.maximum(values, 1e-9)) if logarithmic else values
    middle = np.median(scale)
    spread = np.abs(scale - middle)
    reach = max((1.2 + 5 / len(values)) * spread.max(), 6 * np.median(spread), 0.02)
    like = middle - reach, middle + reach
    return Range(seen, tuple(map(float, np.exp(like) if logarithmic else like)))


def _interval(low: float, high: float) -> dict[str, float]:
    return {"low": round(low, 4), "high": round(high, 4)}


def _compare(key: str, value: float, seen: tuple[float, float], *, volume: bool) -> str:
    """Say how a feature differs from those of the calibration."""
    kind, _, name = key.partition("/")
    what, unit = {
        "found": (f"size of {name}", " ml" if volume else " % of the picture"),
        "elsewhere": (f"probability of {name} outside of the parts kept", " %"),
        "image_mean": (f"mean of {name}", ""),
        "image_sd": (f"spread of {name}", ""),
        "image_dark": ("dark share of the image", " %"),
        "image_extent": (f"extent along axis {name}", " mm"),
    }[kind]
    value, low, high = (each * (100 if "%" in unit else 1) for each in (value, *seen))
    return f"{what} is {value:.3g}{unit}; the calibration has {low:.3g} to {high:.3g}{unit}"
