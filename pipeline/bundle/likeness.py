"""Whether a feature of an image, or of its mask, is like those of the calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Sizes are compared by their logarithm, since they differ by factors.
SIZES = ("found", "image_extent")
OTHERS = ("elsewhere", "image_mean", "image_sd", "image_dark", "image_sharpness")


class Range(NamedTuple):
    """The values that a feature has in the calibration, and those that are like them."""

    seen: tuple[float, float]
    like: tuple[float, float]

    def holds(self, value: float) -> bool:
        return self.like[0] <= value <= self.like[1]


def find_range(key: str, values: np.ndarray) -> Range:
    """The range of a feature, widened by what its spread and the number of cases leave open.

    An image may be sharper by any factor: noise makes a network unsure, but a blur may not.
    """
    logarithmic = key.startswith(SIZES)
    seen = float(values.min()), float(values.max())
    scale = np.log(np.maximum(values, 1e-9)) if logarithmic else values
    middle = np.median(scale)
    spread = np.abs(scale - middle)
    reach = max((1.2 + 5 / len(values)) * spread.max(), 6 * np.median(spread), 0.02)
    like = middle - reach, np.inf if key == "image_sharpness" else middle + reach
    return Range(seen, tuple(map(float, np.exp(like) if logarithmic else like)))


def compare(key: str, value: float, seen: tuple[float, float], *, volume: bool) -> str:
    """Say how a feature differs from those of the calibration."""
    kind, _, name = key.partition("/")
    what, unit = {
        "found": (f"expected size of {name}", " ml" if volume else " % of the picture"),
        "elsewhere": (f"probability of {name} outside of the parts kept", " %"),
        "image_mean": (f"mean of {name}", ""),
        "image_sd": (f"spread of {name}", ""),
        "image_dark": ("dark share of the image", " %"),
        "image_sharpness": ("sharpness of the image", ""),
        "image_extent": (f"extent along axis {name}", " mm"),
    }[kind]
    value, low, high = (each * (100 if "%" in unit else 1) for each in (value, *seen))
    return f"{what} is {value:.3g}{unit}; the calibration has {low:.3g} to {high:.3g}{unit}"
