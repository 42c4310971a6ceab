"""``train.json`` and ``inference.json`` as one training had them, and as MONAI Label needs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bundle.configs import Config, read_overlay
from ..bundle.ids import SET_BY_MONAI_LABEL
from .archive import WEIGHTS
from .code import rename_project


def as_fine_tuning(training: Config, bundle: Path) -> Config:
    """Make a training that starts from trained weights not unlearn what they know.

    Args:
        training: ``train.json`` as the training had it, with or without the overlay.
        bundle: its folder, whose ``fine_tune.json`` says how. Without one, a tenth of ``lr`` does.
    """
    path = bundle / "configs/fine_tune.json"
    if not path.is_file():
        return training.with_changes({"lr": training.content["lr"] / 10})
    return training.with_changes(read_overlay(path, "correct the file."), source=str(path))


def make_training_config(training: Config, name: str) -> dict[str, Any]:
    """Make a training continue from the packaged weights, and replace them by better ones.

    Args:
        training: see `as_fine_tuning`.
        name: of the package, which becomes that of the MLflow experiment.
    """
    config = training.content
    update = {
        "_target_": "pipeline.engines.UpdateModel",
        "path": f"$@bundle_root + '/{WEIGHTS}'",
        "output_dir": "@output_dir",
        "validator": "@validate#evaluator",
    }
    handlers = [*config["train"]["handlers"], update]
    return rename_project(
        {
            **defer_initialize(config),
            "imports": [*config["imports"], "$from importlib.util import find_spec"],
            "pretrained": f"$@bundle_root + '/{WEIGHTS}'",
            "output_dir": "$@bundle_root + '/runs/' + str(@run_name)",
            "experiment_name": name,
            "log_to_mlflow": "$all(map(find_spec, ['mlflow', 'psutil']))",
            "val_interval": 1,  # a retraining has few epochs, and the best of them counts
            "train": {**config["train"], "handlers": handlers},
        }
    )


def make_inference_config(inference: Config) -> dict[str, Any]:
    """Add what MONAI Label needs to ``inference.json`` as the training had it."""
    config = dict(inference.content)
    before = hide_image_path(config["preprocessing"]["transforms"])
    config["preprocessing"] = {**config["preprocessing"], "transforms": before}
    if len(config["roi_size"]) == 2:
        after = config["postprocessing"]["transforms"]
        # The server writes pictures without a channel axis, and JPEG would blur them.
        after = [*after, {"_target_": "SqueezeDimd", "keys": "pred", "dim": 0}]
        config["postprocessing"] = {**config["postprocessing"], "transforms": after}
        config["displayable_configs"] = {"result_extension": ".png"}
    return rename_project(defer_initialize(config))


def defer_initialize(config: Mapping[str, Any]) -> dict[str, Any]:
    """Move ``initialize`` into ``run``, so that ``monai.bundle.load`` can load the config.

    The bundle's folder, and so its code, is on the module path only when MONAI runs the config.
    """
    late = {name: value for name, value in config.items() if name != "initialize"}
    return {**late, "run": [*config["initialize"], *config["run"]]}


def hide_image_path(transforms: list[Any]) -> list[Any]:
    """Rename the item ``image_path`` while ``Spacingd`` runs.

    MONAI Label keeps a path under this name, where MONAI from 1.6 on looks for metadata.
    """

    def rename(old: str, new: str) -> list[Any]:
        copy = {"_target_": "CopyItemsd", "allow_missing_keys": True, "keys": old, "names": new}
        return [copy, {"_target_": "DeleteItemsd", "keys": old}]

    hide, restore = rename("image_path", "source_path"), rename("source_path", "image_path")
    out = []
    for each in transforms:
        resamples = isinstance(each, dict) and each.get("_target_") == "Spacingd"
        out += [*hide, each, *restore] if resamples else [each]
    return out


def find_missing_ids(config: Mapping[str, Any]) -> list[str]:
    """The ids that MONAI Label sets in a ``train.json`` and that this one lacks."""
    from monai.bundle import ConfigParser

    parser, missing = ConfigParser(config), object()
    return [name for name in SET_BY_MONAI_LABEL if parser.get(name, missing) is missing]
