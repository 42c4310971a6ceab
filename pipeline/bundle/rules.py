"""What the value of an id may be, and what to give instead."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch


class Rule(Protocol):
    """A test of a value; ``fix`` says what to give where it does not hold."""

    @property
    def fix(self) -> str: ...

    def holds(self, value: Any) -> bool: ...


@dataclass(frozen=True)
class Kind:
    """A value of a Python type, such as ``bool``; a text must not be empty."""

    type: Any
    fix: str

    def holds(self, value: Any) -> bool:
        return isinstance(value, self.type) and value != ""


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    least: int
    most: float = math.inf

    @property
    def fix(self) -> str:
        most = "or more" if self.most == math.inf else f"to {self.most}"
        return f"give a whole number, {self.least} {most}"

    def holds(self, value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.least <= value <= self.most


@dataclass(frozen=True)
class Number:
    """A finite number from ``low`` to ``high``; ``above`` and ``below`` leave these out."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    @property
    def fix(self) -> str:
        least = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        most = f" and {'below' if self.below else 'at most'} {self.high:g}"
        return f"give a number {least}{most if self.high < math.inf else ''}"

    def holds(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        above_low = value > self.low if self.above else value >= self.low
        below_high = value < self.high if self.below else value <= self.high
        return math.isfinite(value) and above_low and below_high


@dataclass(frozen=True)
class Several:
    """A list, each value of which keeps the rule ``each``.

    Args:
        each: the rule of its values.
        fix: what to give.
        counts: how many values there may be; empty for ``least`` or more.
        rising: each value must be above the one before.
        some_above_zero: not all values may be 0.
    """

    each: Rule
    fix: str
    counts: tuple[int, ...] = ()
    least: int = 1
    rising: bool = False
    some_above_zero: bool = False

    def holds(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or not all(map(self.each.holds, value)):
            return False
        count = len(value) in self.counts if self.counts else len(value) >= self.least
        rises = all(low < high for low, high in pairwise(value))
        return count and (rises or not self.rising) and (not self.some_above_zero or any(value))


@dataclass(frozen=True)
class Either:
    """A value that keeps one of two rules."""

    one: Rule
    other: Rule
    fix: str = ""

    def holds(self, value: Any) -> bool:
        return self.one.holds(value) or self.other.holds(value)


class Size:
    """The size of a network's input; photographs are resized by their longer side to a square."""

    fix = "give [512, 512], a square, or three numbers of voxels such as [96, 96, 96]"

    def holds(self, value: Any) -> bool:
        sizes = Several(Whole(1), "", counts=(2, 3)).holds(value)
        return sizes and (len(value) == 3 or value[0] == value[1])


class Device:
    """A device that this machine has."""

    fix = "give cpu, or a GPU of this machine, such as cuda:0"

    def holds(self, value: Any) -> bool:
        try:
            device = torch.device(value)
        except (RuntimeError, TypeError):
            return False
        return device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()


# The command line reads 2024 as a number and a,b as a list.
PATH = Kind(str | os.PathLike, "give a path, such as ./2024")
SWITCH = Kind(bool, "give True or False")
TEXT = Kind(str, "give a text")
NAMED = Kind(Mapping, "give names and values: {'team': 'eyes'}")
