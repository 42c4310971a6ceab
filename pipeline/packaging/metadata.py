"""``metadata.json`` of a package: the bundle's, with what is true of these weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata as installed
from typing import Any

from ..bundle.configs import Config
from ..errors import InputError
from .source import Trained


def packaged_metadata(
    metadata: Mapping[str, Any],
    *,
    inference: Config,
    training: Config,
    source: Trained,
    version: str | None = None,
    change: str | None = None,
) -> dict[str, Any]:
    """The bundle's metadata with the versions, shapes, labels and numbers of a package.

    Args:
        metadata: content of the bundle's ``metadata.json``.
        inference: config of the inference.
        training: config of the training.
        source: the weights.
        version: the package's; None for the bundle's.
        change: what is new in this version, for the changelog.

    Raises:
        InputError: a version without a line in the changelog.
    """
    version = version or metadata["version"]
    changelog = {**metadata["changelog"], **({version: change} if change else {})}
    if version not in changelog:
        raise InputError(f"version {version}: say what is new in it with --change.")
    names = labels(metadata, inference=inference, training=training)
    shape = [int(size) for size in inference.built("roi_size")]
    formats = metadata["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    channels = len(region_values(inference))
    return {
        **metadata,
        "version": version,
        "changelog": changelog,
        "monai_version": version_of("monai"),
        "pytorch_version": version_of("torch"),
        "numpy_version": version_of("numpy"),
        "required_packages_version": {
            name: version_of(name) for name in metadata["required_packages_version"]
        },
        "eval_metrics": numbers(source),
        **({"training": source.origin} if source.origin else {}),
        "network_data_format": {
            "inputs": {"image": {**image, "spatial_shape": shape}},
            # MONAI Label takes the labels of its masks from here.
            "outputs": {
                "pred": {
                    **pred,
                    "spatial_shape": shape,
                    "num_channels": channels,
                    "channel_def": names,
                }
            },
        },
    }


def labels(metadata: Mapping[str, Any], *, inference: Config, training: Config) -> dict[str, str]:
    """The names of the values in an index mask, by value, ``{"0": "background", ...}``.

    A region's own part is named in ``post_processed_outputs`` of the bundle's metadata, or else
    like the region.
    """
    outputs = metadata["network_data_format"].get("post_processed_outputs", {})
    named = outputs.get("pred", {}).get("channel_def", {})
    values = region_values(inference)
    regions = training.built("regions")
    if len(regions) != len(values):
        raise InputError(
            f"regions {regions}: the bundle's masks have the values {values}, not as many; train "
            "and package with the same bundle."
        )
    own = zip(values, regions, strict=True)
    return {"0": "background", **{str(v): named.get(str(v), region) for v, region in own}}


def region_values(inference: Config) -> list[int]:
    """The value of each region's own part in an index mask, outermost first."""
    for place, step in enumerate(inference.get("postprocessing")["transforms"]):
        if isinstance(step, Mapping) and str(step.get("_target_")).endswith("RegionsToLabeld"):
            return list(inference.built(f"postprocessing#transforms#{place}#values"))
    raise InputError("inference.json: its postprocessing has no RegionsToLabeld; add one.")


def numbers(source: Trained) -> dict[str, float]:
    """The means of every evaluation, and the best validation on the network's own grid."""
    found = {f"validation/{name}": value for name, value in source.best.items()}
    for section, summary in source.evaluations.items():
        found[f"{section}/cases"] = summary["n_cases"]
        for name, values in summary["metrics"].items():
            if values["mean"] is not None:
                found[f"{section}/{name}"] = values["mean"]
    return found


def version_of(package: str) -> str:
    """Of what is installed, without where it was built."""
    return re.sub(r"\+.*", "", installed.version(package))
