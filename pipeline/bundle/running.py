"""The bundle that is being run, found where MONAI holds it: on the stack.

An expression in a config cannot see the config it stands in. All that depends on how MONAI runs a
bundle is in this file, and `tests/bundle/test_running.py` fails where MONAI changes it.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any

from monai.bundle import ConfigWorkflow, create_workflow
from monai.bundle import run as bundle_run

from ..files import read_json
from .configs import Config


def running_config(error: BaseException | None = None) -> dict[str, Any]:
    """The merged config of the bundle that is being run, or was; empty outside of a run.

    Args:
        error: that ended the run.
    """
    frames = (frame for frame, _ in walk_tb(error.__traceback__)) if error else _stack()
    workflow = _workflow(frames)
    return workflow.parser.config if workflow else {}


def overrides() -> dict[str, Any]:
    """The ids that were given to ``monai.bundle run``, with their values.

    The merged config does not tell them from the ids of the files.
    """
    own = inspect.signature(ConfigWorkflow).parameters
    # The local names that hold them in MONAI's functions, while these run the ids ``initialize``
    # and ``run``.
    names = {create_workflow.__code__: "_args", bundle_run.__code__: "override"}
    for frame in _stack():
        if frame.f_code in names:
            given = frame.f_locals[names[frame.f_code]]
            dropped = frame.f_locals.get("kwargs", {}).items()  # MONAI ignores what is None
            given = {name: None for name, value in dropped if value is None} | given
            return {name: value for name, value in given.items() if name not in own}
    return {}


def config_files() -> list[Path]:
    """The config files that were given to ``monai.bundle run``; empty outside of a run."""
    for frame in _stack():
        if frame.f_code is create_workflow.__code__:
            given = frame.f_locals["config_file"]
            return list(map(Path, given if isinstance(given, list | tuple) else [given]))
    return []


def changed_ids(name: str) -> set[str]:
    """The top-level ids of a config file of the bundle that have another value in this run.

    Args:
        name: of the file, in the folder of the run's first config file; it may be absent.
    """
    workflow, config = _workflow(), running_config()
    path = Path(workflow.config_root_path) / name if workflow else None
    own = read_json(path) if path and path.is_file() else {}

    def text(value: Any) -> str:  # MONAI writes an id inside another in one of two ways
        return json.dumps(value, default=str).replace("#", "::")

    return {key for key in own.keys() & config.keys() if text(config[key]) != text(own[key])}


def running_bundle() -> dict[str, Any]:
    """The bundle that is being run, for its record.

    Returns:
        ``config``, ``overrides``, ``tags`` and ``files``; in a run also its ``folder``, its
        ``inference`` config if it has one, and the path ``pretrained`` if the run has this id.
    """
    config, workflow = running_config(), _workflow()
    bundle = {"config": config, "overrides": overrides(), "tags": {}, "files": []}
    if workflow is None:
        return bundle
    root = Path(workflow.config_root_path)
    names = ("metadata.json", "logging.conf", "inference.json")
    there = [path for path in map(root.joinpath, names) if path.exists()]
    metadata = root / "metadata.json"
    version = read_json(metadata)["version"] if metadata in there else "unknown"
    network = str(config.get("network_def", {}).get("_target_", "unknown")).split(".")[-1]
    if (inference := root / "inference.json") in there:
        # That of an evaluation makes no file of a mask.
        others = {name: value for name, value in config.items() if name != "postprocessing"}
        bundle["inference"] = Config.read(inference).as_trained(others).content
    bundle["files"] = [str(path.resolve()) for path in there]
    folder = (root.parent if root.name == "configs" else root).resolve()
    bundle["folder"] = str(folder)
    if "pretrained" in config:  # which may be an expression
        bundle["pretrained"] = workflow.parser.get_parsed_content("pretrained")
    bundle["tags"] = {
        "pipeline.bundle": folder.name,
        "pipeline.bundle_version": version,
        "pipeline.network": network,
    }
    return bundle


def _workflow(frames: Iterable[FrameType] | None = None) -> ConfigWorkflow | None:
    """MONAI's workflow that evaluates the expression which led here, or to the given frames."""
    held = (frame.f_locals.get("self") for frame in frames or _stack())
    return next((each for each in held if isinstance(each, ConfigWorkflow)), None)


def _stack() -> Iterator[FrameType]:
    """The calls that led here, the innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
