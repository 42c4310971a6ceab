"""How good a mask is, estimated without a label from what an evaluation measured on others."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InputError, one_line
from ..files import read_json, sha256
from .error_model import ErrorModel
from .likeness import compare, find_feature, find_range

logger = logging.getLogger(__name__)
Row = Mapping[str, Any]

FEWEST = 5  # cases of a calibration; the quantiles of fewer say nothing
_CDR_ERROR = "vertical_cdr/absolute_error"
LEVEL = 0.9  # of the intervals
DOUBTFUL = 0.8  # the Dice below which a mask is to be looked at
CHANCE = 0.1  # of a Dice below that, up to which no mask is doubtful
ALARMS = 0.1  # the largest share of the calibration's good masks that may be doubtful
_CORNERS = 0.05  # the share of a picture from which on black corners show a whole field


def quality_file(weights: str | Path) -> Path:
    """The file beside weights that holds the cases of their `Calibration`."""
    path = Path(weights)
    return path.with_name(f"{path.stem}_quality.json")


def read_calibration(
    weights: Sequence[str | Path], regions: Sequence[str] | None = None
) -> Calibration | None:
    """The calibration of a checkpoint; that of an ensemble has the cases of all its members.

    Args:
        weights: the file of the checkpoint, or those of the members.
        regions: that masks hold, if they may be others than those of the evaluation.

    Returns:
        None where a file of weights has none, or one of other weights or regions.

    Raises:
        InputError: a file beside the weights is not what an evaluation wrote.
    """
    rows: list[Row] = []
    calibration = None
    for each in weights:
        path, fix = quality_file(each), "move it away, and evaluate the validation cases again."
        if not path.is_file():
            if any(quality_file(other).is_file() for other in weights):
                logger.warning(
                    f"{path} is not there, so that the ensemble has no estimates of quality: "
                    f"evaluate the validation cases of {each}."
                )
            return None
        found = read_json(path, fix)
        if found.get("checkpoint_sha256") != sha256(each):
            logger.warning(f"{path} is of other weights than {each}: it is not used.")
            return None
        if regions is not None and found.get("regions") != list(regions):
            logger.warning(f"{path} is of other regions than {', '.join(regions)}: it is not used.")
            return None
        try:
            if not all("image_sharpness" in row for row in found["cases"]):
                logger.warning(
                    f"{path} was written by an earlier version, so it is not used: evaluate the "
                    "validation cases again."
                )
                return None
            rows += found["cases"]
            about = found["regions"], found["vertical_cdr"], found.get("settings", {})
            calibration = Calibration(rows, *about)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: it is not a calibration ({one_line(error)}); {fix}"
            ) from None
    return calibration


class Calibration:
    """The estimates that the features of a case allow, see `quality_features`.

    Args:
        rows: a case each: its features, ``dice/REGION``, ``recall/REGION``, ``precision/REGION``
            and, where that is measured, ``vertical_cdr/absolute_error``.
        regions: their names.
        vertical_cdr: the two of them whose ratio is measured.
        settings: of the postprocessing that made the masks, such as ``threshold``, by id.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        regions: Sequence[str],
        vertical_cdr: Sequence[str] = (),
        settings: Row = MappingProxyType({}),
    ) -> None:
        self.regions, self.pair = list(regions), list(vertical_cdr)
        self.settings = dict(settings)
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
            key: find_range(feature, values)
            for key, values in column.items()
            if (feature := find_feature(key)) and np.isfinite(values).all()
        }

    @property
    def is_volume(self) -> bool:
        return any(key.startswith("image_extent") for key in self.ranges)

    def describe(self, config: Row) -> dict[str, Any]:
        """What a report says of it: the number of cases, and how masks by a config differ."""
        others = [
            f"{name} {value}" for name, value in self.settings.items() if config.get(name) != value
        ]
        note = (
            f"the estimates of quality are for {' and '.join(others)}: evaluate the validation "
            "cases with the settings that you use"
        )
        return {"cases": len(self.rows), **({"note": note} if others else {})}

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
            **({"settings": self.settings} if self.settings else {}),
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
        sizes = {key: each.like for key, each in self.ranges.items() if _is_size(key)}
        beyond = 0.0
        for key, (low, high) in sizes.items():
            value = max(features[key], 1e-9)
            beyond += max(0.0, math.log(low / value), math.log(value / high))
        return float(np.mean(expected)) - beyond / 2

    def choose_scales(self, features: Row, scales: Sequence[float]) -> list[float]:
        """Choose the other scales at which a picture is also segmented.

        These are all of them if its mask is doubtful. But black corners show a camera's whole
        field. If the calibration has only such pictures, no region of another one is larger than
        the network knows it, so that it is not made smaller. It is not made larger either if its
        field fills it as much as there, and the size of a region is known. A picture without these
        corners may be a crop, in which a network can be wrong and sure: it is made smaller in any
        case.

        Args:
            features: of the picture at the usual scale.
            scales: how much smaller it would be made.
        """
        doubtful = self.estimate(features)["check"]
        corners = min(row.get("image_corners", 0.0) for row in self.rows)
        if corners > _CORNERS and features["image_corners"] <= corners / 2:
            return [scale for scale in scales if doubtful or scale > 1]
        if not doubtful or corners <= _CORNERS:
            return list(scales) if doubtful else []
        fills = features["image_field"] > 0.9 * min(row.get("image_field", 1) for row in self.rows)
        known = [self.ranges[key].holds(features[key]) for key in self.ranges if _is_size(key)]
        return [] if fills and any(known) else [scale for scale in scales if scale < 1]

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
            expected = 1 - errors.mean()  # which one bad case may draw below the quantile
            numbers = {"expected": expected, "low": min(low, expected), "high": high}
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
                out["reasons"].append(compare(key, value, found.seen, volume=self.is_volume))
        out["check"] = bool(out["reasons"])
        return out


def _is_size(column: str) -> bool:
    return column.startswith("found/")


def _is_used(column: str) -> bool:
    known = ("dice", "recall", "precision", "agreement", "image_corners", "image_field")
    return column.split("/")[0] in known or bool(find_feature(column)) or column == _CDR_ERROR


def upper(values: np.ndarray, level: float) -> float:
    """What a further value does not exceed with a probability of ``level`` (split conformal)."""
    rank = math.ceil((len(values) + 1) * level)
    return float(np.sort(values)[min(rank, len(values)) - 1])


def _interval(low: float, high: float) -> dict[str, float]:
    return {"low": round(low, 4), "high": round(high, 4)}
