"""What the value of an id may be, and what to give instead."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..transforms.modality import MODALITIES
from .listing import ALL, is_text


@dataclass(frozen=True)
class Rule:
    """A test of a value; ``fix`` says what to give where it does not hold."""

    holds: Callable[[Any], bool]
    fix: str


def of_type(kind: Any, fix: str) -> Rule:
    """A value of a type."""
    return Rule(lambda value: isinstance(value, kind), fix)


def whole(least: int, most: float = math.inf) -> Rule:
    """A whole number."""

    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    span = f" from {least} to {most}" if most < math.inf else f", {least} or more"
    return Rule(holds, f"give a whole number{span}")


def number(
    low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Rule:
    """A finite number from ``low`` to ``high``; ``above`` and ``below`` leave these out."""

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        above_low = value > low if above else value >= low
        below_high = value < high if below else value <= high
        return math.isfinite(value) and above_low and below_high

    least = f"above {low:g}" if above else f"{low:g} or more"
    most = f" and {'below' if below else 'at most'} {high:g}" if high < math.inf else ""
    return Rule(holds, f"give a number {least}{most}")


def several(each: Rule, fix: str = "", *, counts: tuple[int, ...] = (), least: int = 1) -> Rule:
    """A list whose values keep a rule, of a length in ``counts``, or of ``least`` or more."""

    def holds(value: Any) -> bool:
        if not isinstance(value, list | tuple) or not all(map(each.holds, value)):
            return False
        return len(value) in counts if counts else len(value) >= least

    return Rule(holds, fix)


def is_size(value: Any) -> bool:
    """Of a network's input: square for photographs, which are resized by their longer side."""
    sizes = several(whole(1), counts=(2, 3))
    return sizes.holds(value) and (len(value) == 3 or value[0] == value[1])


def is_window(value: Any) -> bool:
    """The lowest value and a higher one."""
    return several(number(), counts=(2,)).holds(value) and value[0] < value[1]


def is_stride(value: Any) -> bool:
    """One for all axes, or one for each."""
    return whole(1).holds(value) or several(whole(1)).holds(value)


def are_ratios(value: Any) -> bool:
    """Numbers that are not all 0."""
    return several(number(0)).holds(value) and any(value)


def are_counts(value: Any) -> bool:
    """Whole numbers by name."""
    return isinstance(value, Mapping) and all(map(whole(1).holds, value.values()))


def is_device(value: Any) -> bool:
    """The CPU, or a GPU that this machine has."""
    import torch  # takes a second to load

    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        return False
    gpu = device.type == "cuda" and (device.index or 0) < torch.cuda.device_count()
    return gpu or device.type == "cpu"


# The command line reads 2024 as a number and a,b as a list.
PATH = of_type(str | os.PathLike, "give a path, such as ./2024")
PATHS = Rule(
    lambda value: PATH.holds(value) or several(PATH).holds(value),
    "give a path, such as ./2024, or a list of several",
)
SWITCH = of_type(bool, "give True or False")
TEXT = Rule(is_text, "give a text")
REGIONS = of_type(Mapping, "give label values by name, such as {'outer': [1, 2], 'inner': [2]}")
TAGS = of_type(Mapping, "give names and values: {'team': 'eyes'}")
FOLD = Rule(
    lambda value: whole(0).holds(value) or value == ALL,
    "give a fold of the datalist, such as 0, or all to train on every case",
)
SIZE = Rule(is_size, "give [512, 512], a square, or three numbers of voxels such as [96, 96, 96]")
WINDOW = Rule(is_window, "give the lowest and the highest HU, such as [-100, 240]")
PERCENTILES = Rule(
    lambda value: is_window(value) and all(map(number(0, 100).holds, value)),
    "give two from 0 to 100, such as [0.5, 99.5]",
)
RATIOS = Rule(are_ratios, "give numbers of 0 or more that are not all 0, such as [1, 1, 1]")
STRIDES = several(
    Rule(is_stride, ""), "give one whole number for each step between levels, such as [2, 2, 2, 2]"
)
CHANNELS = several(whole(1), "give two or more, such as [16, 32, 64, 128, 256]", least=2)
SPACING = several(number(0, above=True), "give three in mm, such as [1.5, 1.5, 2]", counts=(3,))
SCALES = several(number(0, above=True), "give factors, such as [2, 4, 0.5]", least=0)
NAMES = several(TEXT, "give one name for each channel of an image, such as ['T1', 'T2']")
RUNTIMES = ("auto", "torch", "openvino")
RUNTIME = Rule(RUNTIMES.__contains__, f"give one of {', '.join(RUNTIMES)}")
MODALITY = Rule(MODALITIES.__contains__, f"give one of {', '.join(MODALITIES)}")
COMPONENTS = Rule(are_counts, "give how many parts to keep by region: {'liver': 1}, or {}")
FLIP = Rule(
    lambda value: number(0, 1).holds(value) or several(number(0, 1), counts=(2, 3)).holds(value),
    "give a probability, or one for each axis, such as [0.5, 0.5, 0]",
)
ANGLES = Rule(
    lambda value: number(0, 180).holds(value) or several(number(0, 180), counts=(3,)).holds(value),
    "give the largest angle in degrees, or one about each axis, such as [5, 5, 25]",
)
PAIR = several(TEXT, "give the outer and the inner one, as [disc, cup], or []", counts=(0, 2))
LABEL_VALUES = several(whole(0), "give label values, such as [0, 3]", least=0)
DEVICE = Rule(is_device, "give cpu, or a CUDA GPU of this machine, such as cuda:0")
