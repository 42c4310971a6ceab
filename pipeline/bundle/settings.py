"""Refuse settings that a bundle cannot run with, in one line, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..transforms.regions import Regions
from .configs import is_plain
from .ids import IDS

# Two lists whose elements belong together, and by how many the first is longer.
_PAIRS = (
    ("channels", "strides", 1),
    ("spacing", "patch_size", 0),
    ("roi_size", "patch_size", 0),
)


def check_settings(config: Mapping[str, Any], *, option: str = "--{}") -> None:
    """Refuse values that a bundle cannot run with, and lists that do not fit each other.

    Args:
        config: ids and their values; expressions and absent ids are not checked.
        option: how the user sets an id, for the error.

    Raises:
        InputError: names the id, its value, and what to give instead.
    """
    known = {name: value for name, value in config.items() if _is_known(value)}

    def fail(names: tuple[str, ...], problem: str, fix: str) -> None:
        options = ", ".join(map(option.format, names))
        raise InputError(f"{problem}: {fix} ({options}).")

    for name, value in known.items():
        rule = IDS[name].rule if name in IDS else None
        if rule is not None and not rule.holds(value):
            fail((name,), f"{name} is {value!r}", rule.fix)
    for name, other, more in _PAIRS:
        if name in known and other in known and len(known[name]) != len(known[other]) + more:
            counts = f"{name} has {len(known[name])} values and {other} {len(known[other])}"
            fix = f"give {'one more of the first' if more else 'as many of both'}"
            fail((name, other), counts, fix)
    if known.get("mirror") and not np.any(known.get("flip", 1)):
        problem = f"mirror is True and flip is {known['flip']}: the training saw no flipped image"
        fail(("mirror", "flip"), problem, "set mirror to false, or train with flip")
    if "regions" not in known:
        return
    try:
        regions = Regions(known["regions"])
    except InputError as error:
        raise InputError(f"{error} ({option.format('regions')})") from None
    names, network = regions.names, known.get("network_def")
    counts = {"out_channels": ("regions", len(regions))}
    counts["in_channels"] = ("channel_names", len(known.get("channel_names", ())))
    for part, (name, count) in counts.items() if isinstance(network, Mapping) else ():
        has = network.get(part)
        if isinstance(has, int) and name in known and has != count:
            fix = f"give {has}, or the network as many {part}"
            fail((name,), f"{name} is {known[name]!r}", fix)
    for name in ("vertical_cdr", "components"):
        if not set(known.get(name, ())) <= set(names):
            fix = f"give some of the regions {names}, or {'{}' if name == 'components' else '[]'}"
            fail((name,), f"{name} is {known[name]!r}", fix)
    classes = 1 + len(regions.known)
    if "class_ratios" in known and len(known["class_ratios"]) != classes:
        fix = f"give {classes}, for the background and the label values {regions.known}, or null"
        fail(("class_ratios",), f"class_ratios is {known['class_ratios']!r}", fix)
    others = [*known.get("background", ()), known.get("ignore_label")]
    if twice := set(others) & set(regions.known):
        fix = "give each label value one meaning"
        problem = f"the value {min(twice)} is in a region, and in background or ignore_label"
        fail(("regions", "background", "ignore_label"), problem, fix)


def _is_known(value: Any) -> bool:
    """Whether a value can be judged: not null, and not an expression or a reference."""
    return value is not None and (not isinstance(value, str) or is_plain(value))
