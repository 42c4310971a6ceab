"""Settings compared with those of a training, since its weights may fit other settings too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from .cases import cases_digest
from .configs import Config, as_json
from .ids import Same, named
from .running import running_config
from .trained import read_config

_READERS = ("LoadImaged", "ReadImaged")  # how a file is read and checked is not a setting
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
    elif isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        plain = all(isinstance(each, _PLAIN) for each in (*now, *before))
        pairs = None if plain else zip(range(len(now)), now, before, strict=True)
    if pairs is not None:
        found = (find_difference(one, other, f"{name}#{key}") for key, one, other in pairs)
        return next(filter(None, found), None)
    return None if now == before else (name, now, before)


def check_as_trained(
    weights: Path, config: Mapping[str, Any], *, fold: int | str | None = None, datalist: str = ""
) -> None:
    """Refuse an evaluation or inference with other settings than the training had.

    The network would accept the weights all the same; only its masks would be wrong.

    Args:
        weights: with the training's ``config.json`` beside them; without it nothing is compared.
        config: of the evaluation or inference.
        fold: that is validated; None for other cases.
        datalist: with the cases that are validated; empty for other cases.

    Raises:
        InputError: names the first difference.
    """
    trained = read_config(weights)
    ids = named(lambda row: row.same == Same.AFTERWARDS)
    settings = as_json(Config(config).with_references(ids))
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
                f"(--{place.removesuffix('_digest')}). A copy of the checkpoint without its "
                "config.json is not checked."
            )


def shorten(value: Any) -> str:
    """A value as an error shows it."""
    return one_line(ValueError(value), 80)
