"""Whether a feature of an image, or of its mask, is like those of the calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Feature(NamedTuple):
    """What is compared: its description, in which {} is the name of a region, channel or axis.

    Sizes are compared by their logarithm, since they differ by factors. ``only_below`` is set where
    no value is too high.
    """

    what: str
    unit: str = ""
    is_size: bool = False
    only_below: bool = False


FEATURES = {
    "found": Feature("expected size of {}", " ml", is_size=True),
    "elsewhere": Feature("probability of {} outside of the parts kept", " %"),
    "image_mean": Feature("mean of {}"),
    "image_sd": Feature("spread of {}"),
    "image_dark": Feature("dark share of the image", " %"),
    # Noise makes a network unsure, but a blur may not.
    "image_sharpness": Feature("sharpness of the image", only_below=True),
    "image_extent": Feature("extent along axis {}", " mm", is_size=True),
}


class Range(NamedTuple):
    """The values that a feature has in the calibration, and those that are like them."""

    seen: tuple[float, float]
    like: tuple[float, float]

    def holds(self, value: float) -> bool:
        return self.like[0] <= value <= self.like[1]


def find_feature(key: str) -> Feature | None:
    """The feature of a column such as ``image_mean/red``; None if nothing is compared by it."""
    return FEATURES.get(key.partition("/")[0])


def find_range(feature: Feature, values: np.ndarray) -> Range:
    """The range of a feature, widened by what its spread and the number of cases leave open."""
    seen = float(values.min()), float(values.max())
    scale = np.log(np.maximum(values, 1e-9)) if feature.is_size else values
    middle = np.median(scale)
    spread = np.abs(scale - middle)
    reach = max((1.2 + 5 / len(values)) * spread.max(), 6 * np.median(spread), 0.02)
    like = middle - reach, np.inf if feature.only_below else middle + reach
    return Range(seen, tuple(map(float, np.exp(like) if feature.is_size else like)))


def compare(key: str, value: float, seen: tuple[float, float], *, volume: bool) -> str:
    """Say how a feature differs from those of the calibration."""
    kind, _, name = key.partition("/")
    what, unit = FEATURES[kind].what.format(name), FEATURES[kind].unit
    if kind == "found" and not volume:
        unit = " % of the picture"
    value, low, high = (each * (100 if "%" in unit else 1) for each in (value, *seen))
    return f"{what} is {value:.3g}{unit}; the calibration has {low:.3g} to {high:.3g}{unit}"
