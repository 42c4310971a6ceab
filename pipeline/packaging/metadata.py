"""``metadata.json`` of a package: the bundle's, with what is true of these weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata as installed
from typing import Any

from ..bundle.configs import Config
from ..errors import InputError
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
        inference: config of the inference.
        training: config of the training.
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
    size = {"spatial_shape": [int(size) for size in inference.built("roi_size")]}
    formats = metadata["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    regions, channels = Regions(training.built("regions")), training.built("channel_names")
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
        "eval_metrics": collect_metrics(source),
        **({"training": source.origin} if source.origin else {}),
        "network_data_format": {
            "inputs": {
                "image": {
                    **image,
                    **size,
                    "num_channels": len(channels),
                    "channel_def": {str(n): name for n, name in enumerate(channels)},
                }
            },
            # MONAI Label takes the labels of its masks from channel_def.
            "outputs": {
                "pred": {
                    **pred,
                    **size,
                    "num_channels": len(regions),
                    "channel_def": name_labels(formats, regions),
                }
            },
        },
    }


def name_labels(formats: Mapping[str, Any], regions: Regions) -> dict[str, str]:
    """Name the values of an index mask, as ``{"0": "background", ...}``.

    Args:
        formats: ``network_data_format`` of the bundle. Its ``post_processed_outputs`` may name the
            part of a region that is in no inner one; without a name it has that of the region.
        regions: of the training.
    """
    outputs = formats.get("post_processed_outputs", {})
    named = outputs.get("pred", {}).get("channel_def", {})
    found = {0: "background"}
    for n, value in enumerate(regions.index_values):
        if value is not None:
            whole = regions.own[n] == regions.values[n]
            name = regions.names[n]
            found[value] = name if whole else named.get(str(value), name)
    return {str(value): name for value, name in sorted(found.items())}


def collect_metrics(source: Trained) -> dict[str, float]:
    """The means of every evaluation, and the best validation on the network's own grid."""
    found = {f"validation/{name}": value for name, value in source.best.items()}
    for section, summary in source.evaluations.items():
        found[f"{section}/cases"] = summary["n_cases"]
        for name, values in summary["metrics"].items():
            if values["mean"] is not None:
                found[f"{section}/{name}"] = values["mean"]
    return found


def find_version(package: str) -> str:
    """The version of an installed package, without its local part, such as ``+cpu``."""
    return re.sub(r"\+.*", "", installed.version(package))
