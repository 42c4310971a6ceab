"""How far the estimates of an evaluation's cases can be trusted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..bundle.quality import FEWEST, Calibration, quality_file, read_calibration
from ..bundle.trained import QUALITY
from ..files import sha256, write_json

if TYPE_CHECKING:
    from ..bundle.members import Checkpoint

log = logging.getLogger(__name__)


class QualityEstimates:
    """The estimates of an evaluation's cases, and from the validation cases their calibration.

    The calibration is kept beside the weights, and in the evaluation's folder. A validation case is
    estimated from all others. The cases of an ensemble are those of its members' evaluations, so
    that of its own validation is none: its members have seen the cases.

    Args:
        checkpoint: what is evaluated.
        weights: the file with its weights.
        section: of the cases.
        output_dir: of the evaluation.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, weights: str, section: str, output_dir: str
    ) -> None:
        self.weights, self.output_dir = Path(weights), Path(output_dir)
        members = checkpoint.members
        self.learns = section == "validation" and len(members) == 1
        self.calibration = None if self.learns else read_calibration(members)
        self.keeps = self.learns or len(members) > 1

    def add(
        self, rows: Sequence[dict[str, Any]], regions: Sequence[str], pair: Sequence[str]
    ) -> None:
        """Add the estimates to the rows of all cases.

        Args:
            rows: with the features of each case, and its metrics; without features none is added.
            regions: the names of the regions.
            pair: the two of them with a vertical ratio, if it is measured.
        """
        if not all(f"agreement/{name}" in row for row in rows for name in regions):
            return
        if self.learns:
            self.calibration = Calibration(rows, regions, pair)
        # The estimate of a single case would come from no other.
        if self.calibration is None or (self.learns and len(rows) == 1):
            return
        for n, row in enumerate(rows):
            calibration = self.calibration
            if self.learns:
                calibration = Calibration([*rows[:n], *rows[n + 1 :]], regions, pair)
            found = calibration.estimate(row, _sizes(row, regions))
            for name, dice in found["dice"].items():
                row |= {f"{key}_dice/{name}": value for key, value in dice.items()}
            if found["dice"]:
                row["check"] = "; ".join(found["reasons"])

    def keep(self, settings: Mapping[str, Any]) -> None:
        """Write the calibration, with the settings of the postprocessing of these masks."""
        if self.keeps and self.calibration is not None:
            known = self.calibration.models
            if few := [name for name in self.calibration.regions if name not in known]:
                log.warning(
                    "no estimates of quality for %s: fewer than %d labels hold it",
                    *(", ".join(few), FEWEST),
                )
            if not known:
                return
            if self.learns:
                self.calibration.settings = dict(settings)
            content = self.calibration.content(sha256(self.weights))
            for path in {quality_file(self.weights), self.output_dir / QUALITY}:
                write_json(path, content)


def _sizes(row: Mapping[str, Any], regions: Sequence[str]) -> dict[str, Any]:
    """The sizes of the regions of a mask, so that it is estimated as `predict` does it."""
    names = {"volume_ml": "predicted_volume", "area_px": "predicted_area"}
    return {
        size: {name: row[f"{column}/{name}"] for name in regions}
        for size, column in names.items()
        if f"{column}/{regions[0]}" in row
    }


def rank_correlation(values: np.ndarray, others: np.ndarray) -> float | None:
    """Spearman's rho where both are finite; None of fewer than three, or if one is constant."""
    from scipy.stats import spearmanr

    known = np.isfinite(values) & np.isfinite(others)
    values, others = values[known], others[known]
    if len(values) < 3 or np.ptp(values) == 0 or np.ptp(others) == 0:
        return None
    return float(spearmanr(values, others).statistic)


def risk_coverage(trust: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean error 1 - Dice of the cases that are kept, the most trusted first.

    Returns:
        coverage, the share that is kept, and risk, each with a value per case. The mean of the
        risks is the area under the curve (AURC, Geifman and El-Yaniv 2017). Cases that are trusted
        alike share their mean error.
    """
    _, level = np.unique(-np.asarray(trust, float), return_inverse=True)
    errors = 1 - np.asarray(true, float)
    means = np.bincount(level, errors) / np.bincount(level)
    order = np.argsort(level, kind="stable")
    kept = np.arange(1, len(errors) + 1)
    return kept / len(errors), np.cumsum(means[level[order]]) / kept


class Estimates(NamedTuple):
    """The estimates of those cases that have one, and the true Dice: an array each."""

    true: np.ndarray
    agreement: np.ndarray
    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray


def estimates_of(rows: Sequence[Mapping[str, Any]], region: str) -> Estimates | None:
    """The estimates of a region's Dice in the rows of an evaluation; None if there are none."""
    keys = ("dice", "agreement", "expected_dice", "low_dice", "high_dice")
    table = np.array([[row.get(f"{key}/{region}", np.nan) for key in keys] for row in rows], float)
    table = table[~np.isnan(table).any(axis=1)]
    return Estimates(*table.T) if len(table) else None


def summarise_quality(rows: Sequence[Mapping[str, Any]], regions: Sequence[str]) -> dict[str, Any]:
    """Compare the expected with the true Dice of an evaluation's cases.

    Ranks are those of the agreement, from which the expected Dice rises: a calibration without the
    case itself, as validation cases have one, would rank it too low for being good.

    Returns:
        for each region with estimates ``n``, ``rank_correlation``, ``mean_absolute_error``,
        ``inside`` (the share of true values inside the intervals), ``aurc``, and for comparison
        ``aurc_random``, of cases in any order, and ``aurc_best``, of cases in the true order.
    """
    summary = {}
    for name in regions:
        if found := estimates_of(rows, name):
            inside = (found.low <= found.true) & (found.true <= found.high)
            summary[name] = {
                "n": len(found.true),
                "rank_correlation": rank_correlation(found.agreement, found.true),
                "mean_absolute_error": float(np.abs(found.expected - found.true).mean()),
                "inside": float(inside.mean()),
                "aurc": float(risk_coverage(found.agreement, found.true)[1].mean()),
                "aurc_random": float((1 - found.true).mean()),
                "aurc_best": float(risk_coverage(found.true, found.true)[1].mean()),
            }
    return summary
