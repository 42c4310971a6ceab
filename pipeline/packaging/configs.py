"""``train.json`` and ``inference.json`` as one training had them, and as MONAI Label needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..bundle.configs import Config
from ..bundle.ids import SET_BY_MONAI_LABEL
from .archive import WEIGHTS
from .code import renamed


def packaged_training(training: Config, name: str) -> dict[str, Any]:
    """A training that goes on from the packaged weights, and puts better ones in their place.

    Args:
        training: ``train.json`` as the training had it.
        name: the bundle's, which becomes the MLflow experiment's.
    """
    config = training.content
    update = {
        "_target_": "pipeline.engines.UpdateModel",
        "path": f"$@bundle_root + '/{WEIGHTS}'",
        "output_dir": "@output_dir",
        "validator": "@validate#evaluator",
    }
    handlers = [*config["train"]["handlers"], update]
    return renamed(
        {
            **started_late(config),
            "imports": [*config["imports"], "$from importlib.util import find_spec"],
            "pretrained": f"$@bundle_root + '/{WEIGHTS}'",
            "output_dir": "$@bundle_root + '/runs/' + str(@run_name)",
            "experiment_name": name,
            "log_to_mlflow": "$all(map(find_spec, ['mlflow', 'psutil']))",
            "lr": config["lr"] / 10,  # what is learned already is not to be lost
            "val_interval": 1,  # few epochs are asked for, and the best of them counts
            "train": {**config["train"], "handlers": handlers},
        }
    )


def packaged_inference(inference: Config) -> dict[str, Any]:
    """``inference.json`` as the training had it, with what MONAI Label needs beyond MONAI."""
    config = dict(inference.content)
    before = resampling_without_path(config["preprocessing"]["transforms"])
    config["preprocessing"] = {**config["preprocessing"], "transforms": before}
    if len(config["roi_size"]) == 2:
        after = config["postprocessing"]["transforms"]
        # The server writes pictures without an axis of channels, and not as JPEG, which blurs.
        after = [*after, {"_target_": "SqueezeDimd", "keys": "pred", "dim": 0}]
        config["postprocessing"] = {**config["postprocessing"], "transforms": after}
        config["displayable_configs"] = {"result_extension": ".png"}
    return renamed(started_late(config))


def started_late(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config that does nothing before MONAI runs it, as ``monai.bundle.load`` wants it.

    Only then is the bundle's folder, with its code, on the path of modules.
    """
    late = {name: value for name, value in config.items() if name != "initialize"}
    return {**late, "run": [*config["initialize"], *config["run"]]}


def resampling_without_path(transforms: list[Any]) -> list[Any]:
    """The transforms, with the item ``image_path`` out of the way of ``Spacingd``.

    MONAI Label keeps a path under that name, where MONAI from 1.6 on looks for metadata.
    """
    aside = {
        "_target_": "CopyItemsd",
        "keys": "image_path",
        "names": "source_path",
        "allow_missing_keys": True,
    }
    back = {**aside, "keys": "source_path", "names": "image_path"}
    out = []
    for each in transforms:
        if isinstance(each, dict) and each.get("_target_") == "Spacingd":
            out += [aside, {"_target_": "DeleteItemsd", "keys": "image_path"}]
            out += [each, back, {"_target_": "DeleteItemsd", "keys": "source_path"}]
        else:
            out.append(each)
    return out


def missing_ids(config: Mapping[str, Any]) -> list[str]:
    """What MONAI Label sets in a ``train.json`` and this one does not have."""
    missing = []
    for name in SET_BY_MONAI_LABEL:
        node: Any = config
        for part in name.split("#"):
            node = node.get(part, missing) if isinstance(node, Mapping) else missing
        if node is missing:
            missing.append(name)
    return missing
