"""What the settings of a bundle may be, so that a wrong one ends in a line before any work."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..errors import InputError

Rule = tuple[Callable[[Any], bool], str]  # whether it holds, and what to give instead


def whole(least: int) -> Rule:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return holds, f"give a whole number, {least} or more"


def number(low: float, high: float = math.inf, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number from ``low`` to ``high``; ``above`` and ``below`` leave these out."""

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low_holds = value > low if above else value >= low
        return math.isfinite(value) and low_holds and (value < high if below else value <= high)

    least = f"above {low:g}" if above else f"{low:g} or more"
    most = "" if high == math.inf else f" and {'below' if below else 'at most'} {high:g}"
    return holds, f"give a number {least}{most}"


def several(rule: Rule, what: str, *, counts: tuple[int, ...] = (), least: int = 1) -> Rule:
    """A list whose values keep a rule, of one of the lengths ``counts``, or ``least`` or more."""

    def holds(value: Any) -> bool:
        if not isinstance(value, list | tuple):
            return False
        right = len(value) in counts if counts else len(value) >= least
        return right and all(map(rule[0], value))

    return holds, f"give {what}"


def is_size(value: Any) -> bool:
    """Of a network's input: square for photographs, which are resized by their longer side."""
    sizes = several(whole(1), "", counts=(2, 3))[0]
    return sizes(value) and (len(value) == 3 or value[0] == value[1])


def is_device(value: Any) -> bool:
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        return False
    return device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


# The command line takes 2024 for a number, and a,b for a list.
PATH: Rule = (lambda value: isinstance(value, str | os.PathLike), "give a path, such as ./2024")
SWITCH: Rule = (lambda value: isinstance(value, bool), "give True or False")
SIZE: Rule = (is_size, "give [512, 512], a square, or three voxels such as [96, 96, 96]")
DEVICE: Rule = (is_device, "give cpu, or a GPU that there is, such as cuda:0")
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("epochs", "batch_size", "val_interval", "patience"), whole(1)),
    **dict.fromkeys(("patches_per_case", "components"), whole(1)),
    **dict.fromkeys(("warmup_epochs", "seed", "margin", "fold"), whole(0)),
    "lr": number(0, above=True),
    **dict.fromkeys(("weight_decay", "max_grad_norm", "stretch"), number(0)),
    "ema_momentum": number(0, 1),
    "overlap": number(0, 1, below=True),
    "cache_share": number(0, 1, above=True),
    **dict.fromkeys(("roi_size", "patch_size"), SIZE),
    "spacing": several(number(0, above=True), "three in mm, such as [1.5, 1.5, 2]", counts=(3,)),
    "hu_window": (
        lambda value: several(number(-math.inf), "", counts=(2,))[0](value) and value[0] < value[1],
        "give the lowest and the highest HU, such as [-100, 240]",
    ),
    "channels": several(whole(1), "two or more, such as [16, 32, 64, 128, 256]", least=2),
    "strides": (
        several((lambda value: whole(1)[0](value) or several(whole(1), "")[0](value), ""), "")[0],
        "give a whole number for each step between levels, such as [2, 2, 2, 2]",
    ),
    "label_values": several(
        several(whole(0), ""), "the values of a label for each region, such as [[1, 2], [2]]"
    ),
    "class_ratios": (
        lambda value: several(number(0), "")[0](value) and sum(value) > 0,
        "give numbers of 0 or more that are not all 0, such as [1, 1, 1]",
    ),
    "tags": (lambda value: isinstance(value, Mapping), "give names and values: {'team': 'eyes'}"),
    "gates": (lambda value: whole(0)[0](value) and value <= 2, "give 0, 1 or 2"),
    "regions": several((is_text, ""), "their names, such as ['optic_disc', 'optic_cup']"),
    **dict.fromkeys(("dataset_dir", "datalist", "output_dir", "ckpt_path"), PATH),
    **dict.fromkeys(("device", "cache_device"), DEVICE),
    **dict.fromkeys(("amp", "compile", "deep_supervision", "mirror", "resume"), SWITCH),
    **dict.fromkeys(("figures", "predictions", "log_to_mlflow", "tracking_offline"), SWITCH),
}


def check_settings(config: Mapping[str, Any], *, option: str = "--{}") -> None:
    """Refuse values that a bundle cannot run with, and lists that do not fit each other.

    Args:
        config: ids and their values; expressions, and ids that it lacks, are not looked at.
        option: how the user gives an id, for the error.

    Raises:
        InputError: names the id, its value, and what to give instead.
    """

    def is_known(name: str) -> bool:
        value = config.get(name)
        return value is not None and not (isinstance(value, str) and value[:1] in ("$", "@", "%"))

    for name, (holds, fix) in RULES.items():
        if is_known(name) and not holds(config[name]):
            raise InputError(f"{name} is {config[name]!r}: {fix} ({option.format(name)}).")
    # Their elements belong together.
    for name, other, more in (
        ("channels", "strides", 1),
        ("spacing", "patch_size", 0),
        ("label_values", "regions", 0),
        ("roi_size", "patch_size", 0),
    ):
        if is_known(name) and is_known(other) and len(config[name]) != len(config[other]) + more:
            raise InputError(
                f"{name} has {len(config[name])} values and {other} {len(config[other])}: give "
                f"{'one more of the first' if more else 'as many of both'} "
                f"({option.format(name)}, {option.format(other)})."
            )
    if is_known("label_values") and is_known("class_ratios"):
        classes = 1 + max(value for region in config["label_values"] for value in region)
        if not 2 <= len(config["class_ratios"]) <= classes:
            raise InputError(
                f"class_ratios is {config['class_ratios']!r}: give one for each value of a "
                f"label from 0 up to 1 or {classes - 1} ({option.format('class_ratios')})."
            )
    outputs = config.get("network_def", {}).get("out_channels")
    if is_known("regions") and isinstance(outputs, int) and outputs != len(config["regions"]):
        raise InputError(
            f"regions is {config['regions']!r}: give {outputs} names, one for each channel that "
            f"the network puts out ({option.format('regions')})."
        )
