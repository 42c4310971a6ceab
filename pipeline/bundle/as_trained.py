"""That what comes after a training has its settings, though its weights would fit others too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from ..files import read_json
from .configs import references
from .running import running_config

READERS = ("LoadImaged", "ReadImaged")
PLAIN = str | int | float | bool | None


def settings_of(config: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """The values of some ids of a config and of all that they refer to, as JSON keeps them."""
    found: dict[str, Any] = {}
    left = list(ids)
    while left:
        name = left.pop()
        if name in config and name not in found:
            found[name] = json.loads(json.dumps(config[name], default=str))
            left += references(found[name])
    return found


def running_settings(ids: Sequence[str], **more: Any) -> dict[str, Any]:
    """Those of the bundle that is being run, and ``more``, for ``Checkpoints`` to compare."""
    return settings_of(running_config(), ids) | json.loads(json.dumps(more, default=str))


def difference(now: Any, before: Any, name: str) -> tuple[str, Any, Any] | None:
    """The first place where two settings differ, by its id, with both values.

    How a file is read and checked is no setting.
    """
    pairs: Any = None
    if isinstance(now, dict) and isinstance(before, dict):
        if all(str(each.get("_target_")).endswith(READERS) for each in (now, before)):
            return None
        keys = sorted((now.keys() | before.keys()) - {"_desc_"})
        pairs = [(key, now.get(key), before.get(key)) for key in keys]
    elif isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        plain = all(isinstance(each, PLAIN) for each in (*now, *before))
        pairs = None if plain else zip(range(len(now)), now, before, strict=True)
    if pairs is not None:
        found = (difference(one, other, f"{name}#{key}") for key, one, other in pairs)
        return next(filter(None, found), None)
    return None if now == before else (name, now, before)


def check_as_trained(checkpoint: str, ids: Sequence[str], **more: Any) -> None:
    """Refuse an evaluation or inference with other settings than the training of a checkpoint had.

    The network fits all the same, so that only its numbers or masks would be wrong.

    Args:
        checkpoint: with the training's ``config.json`` beside it, or nothing is known.
        ids: of the running bundle; what they refer to counts too.
        more: further values by id; one that is empty does not matter.

    Raises:
        InputError: names the first that differs.
    """
    config = Path(checkpoint).with_name("config.json")
    if not config.is_file():
        return
    trained = read_json(config, "take it away, or give another --ckpt_path.")
    more = {name: value for name, value in more.items() if value not in (None, "")}
    for name, value in running_settings(ids, **more).items():
        known = trained.get(name)
        expression = isinstance(known, str) != isinstance(value, str)
        found = None if known is None or expression else difference(value, known, name)
        if found:
            place, now, before = found
            raise InputError(
                f"{place} is {shown(now)} and {checkpoint} was trained with {shown(before)}: give "
                "the overlays and options of the training once more "
                f"(--{place.removesuffix('_digest')}). A copy of it "
                "without its config.json takes any."
            )


def shown(value: Any) -> str:
    return one_line(ValueError(value), 80)
