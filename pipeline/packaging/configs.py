"""``train.json`` and ``inference.json`` as one training had them, and as MONAI Label needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bundle.configs import inference_config, references
from ..files import read_json
from .archive import WEIGHTS
from .code import renamed

# What a training was told of its place, data, device and record says nothing of the model; how its
# parts are put together is the bundle's own affair, today's as its code is today's.
ONE_RUN = {
    *("_meta_", "imports", "bundle_root", "dataset_dir", "datalist", "output_dir"),
    *("run_name", "experiment_name", "tracking_uri", "tracking_offline", "log_to_mlflow"),
    *("register", "tags", "is_not_rank0", "resume", "pretrained", "device", "cache_device"),
    *("compile", "network", "distributed", "train", "validate", "initialize", "run", "finalize"),
}
# What MONAI Label sets before it trains.
LABEL_SETS = (
    "bundle_root",
    "device",
    "network",
    "train#trainer#max_epochs",
    "train#dataset#data",
    "train#handlers",
    "validate#dataset#data",
)


def merged(paths: Sequence[Path]) -> dict[str, Any]:
    """Config files, each laid over those before it, as ``monai.bundle run`` does.

    Raises:
        InputError: names the file that is absent or malformed.
    """
    from monai.bundle import ConfigParser

    for path in paths:
        read_json(path)
    parser = ConfigParser()
    parser.read_config([str(path) for path in paths])
    return parser.get()


def training_config(train: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """``train.json`` with what a training changed in it: network, widths, preprocessing, loss.

    Args:
        train: the content of ``train.json``.
        record: the merged config of the training, as it recorded it; empty for the defaults.
    """
    shared = {name: record[name] for name in train.keys() & record.keys() - ONE_RUN}
    config = {**train, **shared}
    while missing := (references(shared) & record.keys()) - config.keys():
        shared = {name: record[name] for name in missing}
        config |= shared
    return config


def packaged_training(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A training that goes on from the packaged weights, and puts better ones in their place.

    Args:
        config: of the training.
        name: the bundle's, which becomes the MLflow experiment's.
    """
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


def packaged_inference(inference: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """The inference that fits the training, with what MONAI Label needs beyond MONAI.

    Args:
        inference: the content of the bundle's ``inference.json``.
        training: the config of the training.
    """
    config = inference_config(inference, training)
    before = resampling_without_path(config["preprocessing"]["transforms"])
    config["preprocessing"] = {**config["preprocessing"], "transforms": before}
    if is_flat(config):
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


def is_flat(config: Mapping[str, Any]) -> bool:
    """Whether the network sees pictures and not volumes."""
    return len(config["roi_size"]) == 2


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
    for name in LABEL_SETS:
        node: Any = config
        for part in name.split("#"):
            node = node.get(part, missing) if isinstance(node, Mapping) else missing
        if node is missing:
            missing.append(name)
    return missing


def plain(config: Mapping[str, Any], name: str) -> Any:
    """A value of a config with its expressions and references resolved."""
    from monai.bundle import ConfigParser

    return ConfigParser(dict(config)).get_parsed_content(name)
