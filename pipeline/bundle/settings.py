"""Refuse settings that a bundle cannot run with, in one line, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .configs import is_plain
from .ids import IDS

# Two lists whose elements belong together, and by how many the first is longer.
_PAIRS = (
    ("channels", "strides", 1),
    ("spacing", "patch_size", 0),
    ("label_values", "regions", 0),
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
    if {"label_values", "class_ratios"} <= known.keys():
        most = max(value for region in known["label_values"] for value in region)
        if not 2 <= len(known["class_ratios"]) <= most + 1:
            fix = f"give one for each label value from 0 to 1, or up to {most}"
            fail(("class_ratios",), f"class_ratios is {known['class_ratios']!r}", fix)
    if "regions" not in known:
        return
    network = known.get("network_def")
    outputs = network.get("out_channels") if isinstance(network, Mapping) else None
    if isinstance(outputs, int) and outputs != len(known["regions"]):
        fix = f"give {outputs} names, or the network as many out_channels as there are names"
        fail(("regions",), f"regions is {known['regions']!r}", fix)
    if not set(known.get("vertical_cdr", ())) <= set(known["regions"]):
        fix = f"give two of the regions {known['regions']}, or []"
        fail(("vertical_cdr",), f"vertical_cdr is {known['vertical_cdr']!r}", fix)


def _is_known(value: Any) -> bool:
    """Whether a value can be judged: not null, and not an expression or a reference."""
    return value is not None and (not isinstance(value, str) or is_plain(value))
