"""``metadata.json`` of a package: the bundle's, with what is true of these weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata as installed
from typing import Any

from ..bundle.configs import Config
from ..bundle.formats import describe_scaling, make_formats, name_mask_values
from ..bundle.lineage import TRAINED_ON, read_lineage
from ..errors import InputError
from ..evaluation.metrics import unit_of
from ..transforms.regions import Regions
from .source import Trained


def make_metadata(
    metadata: Mapping[str, Any],
    *,
    inference: Config,
    training: Config,
    source: Trained,
    version: str | None = None,
    change: str | None = None,
) -> dict[str, Any]:
    """Add the versions, shapes, labels and numbers of a package to the bundle's metadata.

    Args:
        metadata: content of the bundle's ``metadata.json``.
        inference, training: their configs.
        source: the weights, with their evaluations.
        version: of the package; None for the bundle's.
        change: its line of the changelog, unless it has one.

    Raises:
        InputError: the changelog has no line for the version.
    """
    version = version or metadata["version"]
    changelog = {**metadata["changelog"], **({version: change} if change else {})}
    if version not in changelog:
        raise InputError(f"version {version}: say what is new in it with --change.")
    regions, channels = Regions(training.built("regions")), training.built("channel_names")
    labels = name_labels(metadata["network_data_format"], regions)
    values = ", ".join(f"{value} {name}" for value, name in labels.items())
    found = [f"{name} ({', '.join(map(str, v))})" for name, v in training.built("regions").items()]
    return {
        **metadata,
        "version": version,
        "changelog": changelog,
        "monai_version": find_version("monai"),
        "pytorch_version": find_version("torch"),
        "numpy_version": find_version("numpy"),
        "required_packages_version": {
            name: find_version(name) for name in metadata["required_packages_version"]
        },
        "image_classes": describe_image(training),
        "label_classes": f"index mask: {values}",
        "pred_classes": f"a channel of logits for each region (label values): {', '.join(found)}",
        "eval_metrics": collect_metrics(source),
        "eval_metric_units": collect_units(source),
        **({"training": source.origin} if source.origin else {}),
        **({TRAINED_ON: lineage} if (lineage := read_lineage(source.config)) else {}),
        "network_data_format": make_formats(
            metadata["network_data_format"],
            size=[int(size) for size in inference.built("roi_size")],
            modality=training.get("modality"),
            channels=channels,
            regions=len(regions),
            labels=labels,
        ),
    }


def describe_image(training: Config) -> str:
    """Say what the channels of an image are and how they are scaled."""
    scale = describe_scaling(training.content)
    of = f" of {modality}" if (modality := training.get("modality")) else ""
    names = ", ".join(training.built("channel_names"))
    return f"channels{of}: {', '.join(filter(None, (names, scale)))}"


def name_labels(formats: Mapping[str, Any], regions: Regions) -> dict[str, str]:
    """Name the values of an index mask, see `name_mask_values`.

    Args:
        formats: ``network_data_format`` of the bundle, whose ``post_processed_outputs`` may name
            parts of regions. These names are of its own regions, and the training may have had
            others.
        regions: of the training.
    """
    outputs = formats.get("post_processed_outputs", {})
    named = outputs.get("pred", {}).get("channel_def", {})
    whole = zip(regions.index_values, regions.names, regions.own, regions.values, strict=True)
    fits = all(named.get(str(n)) == name for n, name, own, values in whole if own == values)
    return name_mask_values(regions, named if fits else {})


def collect_metrics(source: Trained) -> dict[str, float]:
    """The means of every evaluation, and the best validation on the network's own grid."""
    found = {f"validation/{name}": value for name, value in source.best.items()}
    for section, summary in source.evaluations.items():
        found[f"{section}/cases"] = summary["n_cases"]
        for name, values in summary["metrics"].items():
            if values["mean"] is not None:
                found[f"{section}/{name}"] = values["mean"]
    return found


def collect_units(source: Trained) -> dict[str, str]:
    """The units of those metrics that have one."""
    named = {
        f"{section}/{name}": unit_of(name, summary.get("units", {}))
        for section, summary in source.evaluations.items()
        for name in summary["metrics"]
    }
    return {name: unit for name, unit in named.items() if unit}


def find_version(package: str) -> str:
    """The version of an installed package, without its local part, such as ``+cpu``."""
    return re.sub(r"\+.*", "", installed.version(package))
