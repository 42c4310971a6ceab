"""The error of a mask that its disagreement lets expect."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_ERROR = (0.004, 1.0)  # 1 - Dice outside this is not told apart
_PRIOR = 5 * 0.5**2  # draws a slope towards 1 as much as five cases would


class ErrorModel:
    """The error 1 - Dice of a region as a power of its disagreement 1 - agreement.

    That is a line in logarithms, whose slope is drawn towards 1 if the cases are few or much alike.

    Args:
        agreement, dice: of each case.
    """

    def __init__(self, agreement: np.ndarray, dice: np.ndarray) -> None:
        x, y = self._log(agreement), self._log(dice)
        spread = x - x.mean()
        self.slope = max(0.0, ((spread * y).sum() + _PRIOR) / ((spread**2).sum() + _PRIOR))
        self.offset = y.mean() - self.slope * x.mean()
        # Of lines fitted without the case itself.
        leverage = 1 / len(x) + spread**2 / ((spread**2).sum() + _PRIOR)
        self.residuals = np.sort((y - self.offset - self.slope * x) / np.maximum(1 - leverage, 0.2))

    def errors(self, agreement: float) -> np.ndarray:
        """Errors that are equally likely, ascending: one for each case of the calibration."""
        line = self.offset + self.slope * self._log(agreement)
        return np.minimum(np.exp(line + self.residuals), 1.0)

    def chance_above(self, error: float, agreement: float) -> float:
        """The probability of a larger error, if the logarithms scatter normally."""
        line = self.offset + self.slope * self._log(agreement)
        deviation = (math.log(error) - line) / max(float(self.residuals.std(ddof=1)), 1e-6)
        return 0.5 * math.erfc(deviation / math.sqrt(2))

    @staticmethod
    def _log(values: Any) -> Any:
        return np.log(np.clip(1 - np.asarray(values, float), *_ERROR))
