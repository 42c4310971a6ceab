"""What a person reads in a new bundle: its metadata and its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..transforms.regions import Regions
from .choices import Choice

_ARTICLE = (
    "Oktay O. et al. Attention U-Net: Learning Where to Look for the Pancreas. arXiv:1804.03999, "
    "2018"
)


def make_metadata(
    metadata: Mapping[str, Any], *, found: Mapping[str, Any], ids: Mapping[str, Any], title: str
) -> dict[str, Any]:
    """The metadata of the nearest bundle with the texts, channels and labels of another dataset."""
    regions, channels = Regions(ids["regions"]), ids["channel_names"]
    names, data = ", ".join(regions.names), found["dataset"]
    formats = metadata["network_data_format"]
    image = formats["inputs"]["image"] | {
        "format": "RGB" if len(channels) == 3 else _FORMATS.get(ids["modality"], "magnitude"),
        "modality": ids["modality"],
        "num_channels": len(channels),
        "spatial_shape": ids["roi_size"],
        "channel_def": {str(n): name for n, name in enumerate(channels)},
    }
    pred = formats["outputs"]["pred"] | {
        "num_channels": len(regions),
        "spatial_shape": ids["roi_size"],
        "channel_def": {str(n): name for n, name in enumerate(regions.names)},
    }
    found_formats = {"inputs": {"image": image}, "outputs": {"pred": pred}}
    if after := formats.get("post_processed_outputs"):
        values = {0: "background"}
        for n, value in enumerate(regions.index_values):
            if value is not None:
                whole = regions.own[n] == regions.values[n]
                values[value] = regions.names[n] if whole else found["labels"][str(value)]
        found_formats["post_processed_outputs"] = {
            "pred": after["pred"]
            | {
                "value_range": [0, max(values)],
                "channel_def": {str(v): name for v, name in sorted(values.items())},
            }
        }
    labels = ", ".join(f"{value} {name}" for value, name in found["labels"].items())
    new = {
        "name": title,
        "task": f"Segmentation of {names} in {data}",
        "description": f"An Attention U-Net that segments {names} in images of {data}.",
        "data_source": data,
        "image_classes": f"{', '.join(channels)}: {_scaling(ids)}, to [0, 1]",
        "label_classes": f"index mask: {labels}",
        "pred_classes": f"{len(regions)} channels: {names}",
        "references": [_ARTICLE],
        "network_data_format": found_formats,
    }
    kept = {name: value for name, value in metadata.items() if name != "dicom_segments"}
    return kept | new


_FORMATS = {"CT": "hounsfield"}


def _scaling(ids: Mapping[str, Any]) -> str:
    if window := ids.get("hu_window"):
        return f"a window from {window[0]} to {window[1]} HU scaled"
    low, high = ids["percentiles"]
    return f"percentiles {low:g} to {high:g} of each image scaled"


def make_licence(found: Mapping[str, Any]) -> str:
    """The file that says under what terms the data are."""
    return (
        f"{found['dataset']} has its own terms: state them here. This bundle contains no part of\n"
        "it. A model trained on it is bound by its terms.\n"
    )


def make_card(
    *,
    found: Mapping[str, Any],
    ids: Mapping[str, Any],
    title: str,
    choices: Sequence[Choice],
) -> str:
    """The model card; a package puts its own numbers into it."""
    regions, dims = ids["regions"], found["spatial_dims"]
    names = ", ".join(regions)
    unit = "px" if dims == 2 else "voxels"
    folds = found["folds"]
    labels = "\n".join(f"  - {value}: {name}" for value, name in found["labels"].items())
    rows = "\n".join(
        f"| {name} | {each['cases']} of {found['measured']} | {_triple(each, 'amount')} "
        f"| {_triple(each, 'thickness')} | {_parts(each)} |"
        for name, each in found["regions_measured"].items()
    )
    amount = "volume, ml" if dims == 3 else "share of the picture"
    thick = "mm" if dims == 3 else "px"
    reasons = "\n".join(
        f"| `{each.id}` | `{each.value}` | {each.because} |"
        for each in choices
        if each.value not in (None, [], {})
    )
    resampled = (
        f"resampled to {_times(ids['spacing'])} mm. The network sees windows of"
        if dims == 3
        else "scaled by its longer side and padded to"
    )
    return f"""# Model Overview

An Attention U-Net (Oktay et al. 2018, arXiv:1804.03999) that segments {names} in images of
{found["dataset"]}. {title}.

For research; not certified for clinical use.

## Data

- Target: {names}
- Modality: {ids["modality"]}; channels: {", ".join(ids["channel_names"])}
- Source: {found["dataset"]}, {found["cases"]} cases for training in {len(folds)} folds and \
{found["testing"]} for testing; see `data_license.txt`
- A label is an index mask:
{labels}

The median image has {_times(found["size"]["median"])} {unit}\
{f" of {_times(found['spacing']['median'])} mm" if dims == 3 else ""}. \
`fingerprint.json` has all that was measured, on {found["measured"]} cases.

| region | cases | {amount} (least, median, most) | thickness, {thick} | parts |
|---|---|---|---|---|
{rows}

## Network

`pipeline.networks.AttentionUnet` in {dims}D with one additive gate on every skip except the
finest. The widths are {", ".join(map(str, ids["channels"]))}.

### Input

{len(ids["channel_names"])} channels: {_scaling(ids)} to [0, 1]. An image is {resampled}
{_times(ids["roi_size"])} {unit}.

### Output

One channel of logits per region on the same grid. The postprocessing brings them to the image's
own grid, marks each region at a probability of {ids["threshold"]}, and keeps its largest parts
where `components` says so.

## Training configuration

AdamW with warm-up and a cosine schedule. The loss is half Dice and half cross entropy. Patches
are augmented as a batch on the training device. These settings were chosen from the data:

| id | value | because |
|---|---|---|
{reasons}

## Performance

The bundle has no results yet.

## Commands

```bash
python -m monai.bundle run --config_file configs/train.json --dataset_dir DATASET
python -m monai.bundle run --config_file "['configs/train.json','configs/evaluate.json']" \\
    --dataset_dir DATASET --ckpt_path runs/NAME/model.pt
python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES \\
    --ckpt_path runs/NAME/model.pt
```

## Limits

The performance on images of other scanners, protocols or patients is unknown.

# References

1. {_ARTICLE}.

# License

Apache-2.0, see `LICENSE`. The data have their own terms.
"""


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _triple(region: Mapping[str, Any], name: str) -> str:
    each = region.get(name)
    return f"{each['min']:g}, {each['median']:g}, {each['max']:g}" if each else ""


def _parts(region: Mapping[str, Any]) -> str:
    counts = region.get("parts", {})
    return ", ".join(f"{n} in {count}" for n, count in list(counts.items())[:4])
