"""Settings compared with those of a training, since its weights may fit other settings too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from .cases import cases_digest
from .configs import Config, as_json, is_plain
from .ids import Same, named
from .running import running_config
from .trained import CONFIG, without_ensemble

_READERS = ("LoadImaged", "ReadImaged")  # how a file is read and checked is not a setting
_HIDING = ("CopyItemsd", "DeleteItemsd")  # nor is what a package does to items without a voxel
_PLAIN = str | int | float | bool | None


def running_settings(datalist: str) -> dict[str, Any]:
    """What a resumed training must have as before, for ``Checkpoints`` to compare.

    Args:
        datalist: the file with the cases.

    Returns:
        the values of these ids in the running bundle and of all that they refer to, and a digest
        of the cases as ``datalist``.
    """
    ids = named(lambda row: row.same != Same.ANYWHERE)
    settings = Config(running_config()).with_references(ids)
    return as_json(settings) | {"datalist": cases_digest(datalist)}


def find_difference(now: Any, before: Any, name: str) -> tuple[str, Any, Any] | None:
    """The first place where two settings differ, by its id, with both values."""
    pairs: Any = None
    if isinstance(now, dict) and isinstance(before, dict):
        if all(str(each.get("_target_")).endswith(_READERS) for each in (now, before)):
            return None
        if name == "regions" and list(now) != list(before):  # the order of the channels
            return name, now, before
        keys = sorted((now.keys() | before.keys()) - {"_desc_"})
        pairs = [(key, now.get(key), before.get(key)) for key in keys]
    elif isinstance(now, list) and isinstance(before, list):
        one, other = (list(filter(_is_setting, each)) for each in (now, before))
        plain = all(isinstance(each, _PLAIN) for each in (*one, *other))
        if not plain and len(one) == len(other):
            pairs = zip(range(len(one)), one, other, strict=True)
    if pairs is not None:
        found = (find_difference(one, other, f"{name}#{key}") for key, one, other in pairs)
        return next(filter(None, found), None)
    if isinstance(now, str) and isinstance(before, str):  # MONAI writes an id in one of two ways
        return None if now.replace("#", "::") == before.replace("#", "::") else (name, now, before)
    return None if now == before else (name, now, before)


def _is_setting(step: Any) -> bool:
    return not (isinstance(step, dict) and step.get("_target_") in _HIDING)


def check_recorded(config: Config, known: Iterable[str], *, source: str, option: str) -> None:
    """Refuse weights whose network settings are unknown.

    They fit networks of other settings, such as other strides, whose masks would be wrong.

    Args:
        config: that is to run.
        known: ids that the training left, or that the user says something of.
        source: the weights as the user gave them, for the error.
        option: how the user sets an id to a value, for the error.

    Raises:
        InputError: none of the ids is the network's.
    """
    network = config.with_references(["network_def"])
    if not network.keys().isdisjoint(known):
        return
    plain = sorted(name for name in network if is_plain(network[name])) or ["network_def"]
    example = "strides" if "strides" in plain else plain[0]
    setting = option.format(example, json.dumps(network.get(example), separators=(",", ":")))
    raise InputError(
        f"{source}: neither it nor a {CONFIG} next to it says with which network it was trained, "
        f"and the weights may fit several: give one of {', '.join(plain)}, such as {setting}, or "
        "the overlay of the training."
    )


def check_as_trained(
    trained: Mapping[str, Any],
    weights: Path,
    config: Mapping[str, Any],
    *,
    fold: int | str | None = None,
    datalist: str = "",
) -> None:
    """Refuse an evaluation or inference with other settings than the training had.

    The network would accept the weights all the same; only its masks would be wrong.

    Args:
        trained: what the training left, see `read_config`; what that lacks is not compared.
        weights: their file, for the error.
        config: of the evaluation or inference.
        fold: that is validated; None for other cases.
        datalist: with the cases that are validated; empty for other cases.

    Raises:
        InputError: names the first difference.
    """
    ids = named(lambda row: row.same == Same.AFTERWARDS)
    settings = as_json(Config(without_ensemble(config)).with_references(ids))
    settings |= {"fold": fold, "datalist_digest": cases_digest(datalist)}
    for name, value in settings.items():
        known = trained.get(name)
        unknown = known is None or value in (None, "")
        if unknown or isinstance(known, str) != isinstance(value, str):  # one is an expression
            continue
        if found := find_difference(value, known, name):
            place, now, before = found
            raise InputError(
                f"{place} is {shorten(now)}, and {weights} was trained with {shorten(before)}: "
                "give the overlays and options of the training again "
                f"(--{place.removesuffix('_digest')})."
            )


def shorten(value: Any) -> str:
    """A value as an error shows it."""
    return one_line(ValueError(value), 80)
