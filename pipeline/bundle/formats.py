"""``network_data_format`` of a bundle's ``metadata.json``: what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..transforms.regions import Regions
from .channels import is_colour

_FORMATS = {"CT": "hounsfield"}  # of a modality, as MONAI names them; "magnitude" for others


def describe_scaling(ids: Mapping[str, Any]) -> str:
    """Say how a bundle scales intensities, for readers."""
    if window := ids.get("hu_window"):
        return f"HU from {window[0]:g} to {window[1]:g} scaled to [0, 1]"
    if percentiles := ids.get("percentiles"):
        low, high = percentiles
        return f"percentiles {low:g} to {high:g} of each image scaled to [0, 1]"
    return ""


def name_mask_values(regions: Regions, parts: Mapping[str, str]) -> dict[str, str]:
    """Name the values of an index mask, as ``{"0": "background", ...}``.

    Args:
        regions: whose names a mask's values have.
        parts: names by value for the part of a region that is in no inner one; without such a name
            it has that of the region.
    """
    names = {0: "background"}
    for n, value in enumerate(regions.index_values):
        if value is not None:
            whole = regions.own[n] == regions.values[n]
            names[value] = regions.names[n] if whole else parts.get(str(value), regions.names[n])
    return {str(value): names[value] for value in sorted(names)}


def make_formats(
    formats: Mapping[str, Any],
    *,
    size: Sequence[int],
    modality: str | None,
    channels: Sequence[str],
    regions: int,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """Set what a bundle's ``network_data_format`` says of channels, labels and sizes.

    Args:
        formats: of the bundle.
        size: of the network's window.
        modality: of the images; None for what the bundle says.
        channels: names of the channels of an image.
        regions: how many channels the network's output has.
        labels: see `name_mask_values`. MONAI Label takes the labels of its masks from here.
    """
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    kind = "RGB" if is_colour(channels) else _FORMATS.get(modality, "magnitude")
    image = {
        **image,
        "spatial_shape": size,
        **({"modality": modality, "format": kind} if modality else {}),
        "num_channels": len(channels),
        "channel_def": {str(n): name for n, name in enumerate(channels)},
    }
    pred = {**pred, "spatial_shape": size, "num_channels": regions, "channel_def": labels}
    new = {**formats, "inputs": {"image": image}, "outputs": {"pred": pred}}
    if after := formats.get("post_processed_outputs"):
        mask = {"value_range": [0, max(map(int, labels))], "channel_def": labels}
        new["post_processed_outputs"] = {"pred": {**after["pred"], **mask}}
    return new
