"""The config of a training by an older version, in today's words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import InputError, one_line
from .configs import without_notes

# SHA-256 of the preprocessing that the bundles shipped with; today's is the same in other words,
# but for the way in which it shrinks a photograph, which changes a Dice by 0.002 at most.
_SHIPPED = ("f144492f61a78b22", "d95b7c2d67e679b0")
_GAUSSIAN = "2e76995d463aff39"


def upgrade(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Rewrite ``regions`` from a list of names to label values by name, and drop what follows.

    Args:
        config: the merged config of a training; returned as it is if it is new.
        path: of its file, for the error.

    Raises:
        InputError: its preprocessing was its own, or it is malformed.
    """
    if not isinstance(config.get("regions"), list):
        old = {"preprocessing"} if _digest(config.get("preprocessing")) == _GAUSSIAN else ()
        return {name: value for name, value in config.items() if name not in old}
    try:
        return _upgrade(config, path)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: it is not the config of a training ({one_line(error)!r}); give other weights."
        ) from None


def _upgrade(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    names = config["regions"]
    if _digest(config["preprocessing"]) not in _SHIPPED:
        raise InputError(
            f"{path}: the training had a preprocessing of its own and is older than regions with "
            "label values; use the version of this software that it ran with, or train again."
        )
    values = config["label_regions"]["regions"]
    values = config["label_values"] if isinstance(values, str) else values
    # These describe the same in today's bundle.
    same = {"label_regions", "label_values", "preprocessing", "label_preprocessing", "load_label"}
    new = {name: value for name, value in config.items() if name not in same}
    network = dict(new["network_def"])
    for part, count in (("in_channels", "channel_names"), ("out_channels", "regions")):
        if isinstance(network.get(part), int):
            network[part] = f"$len(@{count})"
    regions = dict(zip(names, values, strict=True))
    return {**new, "network_def": network, "regions": regions}


def _digest(preprocessing: Any) -> str:
    text = json.dumps(without_notes(preprocessing), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
