"""The bundle that is being run, found where MONAI holds it: on the stack.

An expression in a config cannot see the config it stands in. All that depends on how MONAI runs a
bundle is in this file, and `tests/bundle/test_running.py` fails where MONAI changes it.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from monai.bundle import ConfigWorkflow, create_workflow
from monai.bundle import run as bundle_run
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS, ID_SEP_KEY

from .configs import inference_config

# Ids that MONAI itself reads, so a config need not refer to them.
READ_BY_MONAI = {
    *("_meta_", "imports", "initialize", "run", "finalize", "displayable_configs"),
    *(p["id"].split(ID_SEP_KEY)[0] for p in (*TrainProperties.values(), *InferProperties.values())),
    *(name for tool in DEFAULT_EXP_MGMT_SETTINGS.values() for name in tool["configs"]),
}


def running_config() -> dict[str, Any]:
    """The config of the bundle that is being run, overrides and overlays merged.

    An expression in a config cannot see the config it stands in, so this looks up the stack for
    the MONAI workflow that evaluates the expression. Empty outside of one.
    """
    for frame in stack():
        if is_workflow(frame):
            return frame.f_locals["self"].parser.config
    return {}


def overrides() -> dict[str, Any]:
    """The ids that were given to ``monai.bundle run``, with their values, found up the stack.

    The merged config does not tell them from the ids of the files, of which some may rest: one
    that reads ``epochs`` may itself be overridden, or dropped by an overlay.
    """
    own = inspect.signature(ConfigWorkflow).parameters
    # Their names, in MONAI's functions that run the ids ``initialize`` and ``run``.
    names = {create_workflow.__code__: "_args", bundle_run.__code__: "override"}
    for frame in stack():
        if frame.f_code in names:
            given = frame.f_locals[names[frame.f_code]]
            return {name: value for name, value in given.items() if name not in own}
    return {}


def running_bundle() -> dict[str, Any]:
    """The bundle that is being run, for its record: config, overrides, tags, files."""
    config = running_config()
    bundle = {"config": config, "overrides": overrides(), "tags": {}, "files": []}
    root = next((f.f_locals["self"].config_root_path for f in stack() if is_workflow(f)), None)
    if root is not None:
        root = Path(root)
        inference = root / "inference.json"
        if inference.exists():
            bundle["inference"] = inference_config(json.loads(inference.read_text()), config)
        metadata = root / "metadata.json"
        version = json.loads(metadata.read_text())["version"] if metadata.exists() else "unknown"
        network = str(config.get("network_def", {}).get("_target_", "unknown")).split(".")[-1]
        names = ("metadata.json", "logging.conf", "inference.json")
        bundle["files"] = [
            str(path.resolve()) for path in map(root.joinpath, names) if path.exists()
        ]
        bundle["tags"] = {
            "pipeline.bundle": (root.parent if root.name == "configs" else root).resolve().name,
            "pipeline.bundle_version": version,
            "pipeline.network": network,
        }
    return bundle


def is_workflow(frame: FrameType) -> bool:
    return isinstance(frame.f_locals.get("self"), ConfigWorkflow)


def stack() -> Iterator[FrameType]:
    """The calls that led here, the innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
