"""Whether the labels hold what is to be segmented, which a training asks before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from .listing import Fault
from .running import running_config


def check_labels(
    cases: Sequence[Mapping[str, Any]],
    steps: Sequence[Callable[[Any], Any]],
    regions: Mapping[str, Sequence[int]],
) -> None:
    """Refuse a training whose labels all lack a region: its network would learn to find nothing.

    The labels are read one after the other until each region was seen, often in the first of them.

    Args:
        cases: of the training, each with the path of its ``label``.
        steps: read a label and convert it to channels (R, *spatial), as the training does.
        regions: label values of the R regions by name.

    Raises:
        InputError: names the regions that no label holds, and the options to train without them.
    """
    left = list(regions)
    for case in cases:
        item: Any = {"label": case["label"]}
        for step in steps:
            item = step(item)
        held = item["label"].flatten(1).any(dim=1).tolist()
        left = [name for name in left if not held[list(regions).index(name)]]
        if not left:
            return
    problem, fix = describe_absence({**running_config(), "regions": regions}, left)
    raise InputError(f"regions: {problem}; {fix}.")


def describe_absence(config: Mapping[str, Any], names: Sequence[str]) -> Fault:
    """The problem that no label of a training holds some regions of a bundle, and its fix.

    Args:
        config: with the bundle's ``regions`` and ``vertical_cdr``.
        names: of these regions.
    """
    regions = config["regions"]
    shown = " or ".join(f"{name} {list(regions[name])}" for name in names)
    rest = {name: list(regions[name]) for name in regions if name not in names}
    fix = "correct the labels"
    if rest:
        options = f'--regions "{rest}"'
        if set(config.get("vertical_cdr") or ()) - rest.keys():
            options += ' --vertical_cdr "[]"'
        fix = f"{fix}, or train without it by {options}"
    return f"no training label holds {shown}", fix
