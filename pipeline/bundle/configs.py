"""The inference config that fits one training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# What inference does in its own way, whatever the training did.
OWN = {
    "imports",
    "bundle_root",
    "dataset_dir",
    "output_dir",
    "device",
    "network",
    "initialize",
    "run",
}


def inference_config(inference: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """``inference.json`` with the ids that it shares with a training as they were there.

    So the network's overlay, its widths and the preprocessing are those of the training, and what
    these refer to comes along.

    Args:
        inference: the content of ``inference.json``.
        training: the merged config of the training.
    """
    shared = {name: value for name, value in training.items() if name in inference.keys() - OWN}
    config = {**inference, **shared}
    while missing := (references(shared) & training.keys()) - config.keys():
        shared = {name: training[name] for name in missing}
        config |= shared
    return config


def references(content: Any) -> set[str]:
    """The top-level ids that a config refers to."""
    return set(re.findall(r"@(\w+)", json.dumps(content, default=str)))


def texts(node: Any) -> Iterator[str]:
    """Every string in a config."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
