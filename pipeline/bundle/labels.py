"""Whether the labels hold what is to be segmented, which a training asks before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from .listing import Fault
from .running import running_config

Case = Mapping[str, Any]
Step = Callable[[Any], Any]


def check_labels(
    cases: Sequence[Case],
    held_out: Sequence[Case],
    steps: Sequence[Step],
    regions: Mapping[str, Sequence[int]],
) -> None:
    """Refuse a training whose labels all lack a region: its network would learn to find nothing.

    The labels are read one after the other until each region was seen, often in the first of them.

    Args:
        cases: of the training, each with the path of its ``label``.
        held_out: those of the validation, which may hold what these lack.
        steps: read a label and convert it to channels (R, *spatial), as the training does.
        regions: label values of the R regions by name.

    Raises:
        InputError: names the regions that no label holds, and the options to train without them.
    """
    if not (absent := find_absent(cases, steps, list(regions))):
        return
    problem, fix = describe_absence({**running_config(), "regions": regions}, absent)
    if set(find_absent(held_out, steps, list(regions))) < set(absent):
        fix = f"hold out another --fold, since labels of this one do; {fix}"
    raise InputError(f"regions: {problem}; {fix}.")


def find_absent(cases: Sequence[Case], steps: Sequence[Step], regions: list[str]) -> list[str]:
    """The regions that no label of some cases holds."""
    left = regions
    for case in cases:
        item: Any = {"label": case["label"]}
        for step in steps:
            item = step(item)
        held = dict(zip(regions, item["label"].flatten(1).any(dim=1).tolist(), strict=False))
        left = [name for name in left if not held[name]]
        if not left:
            break
    return left


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
