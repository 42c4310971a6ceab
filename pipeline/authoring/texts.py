"""What a person reads in a new bundle: its metadata and its model card."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..bundle.formats import describe_scaling, make_formats, name_mask_values
from ..errors import times
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
    formats = make_formats(
        metadata["network_data_format"],
        size=ids["roi_size"],
        modality=ids["modality"],
        channels=channels,
        regions=len(regions),
        labels=name_mask_values(regions, found["labels"]),
    )
    # Here the names of the network's channels; a package has those of a mask's values.
    formats["outputs"]["pred"]["channel_def"] = {
        str(n): name for n, name in enumerate(regions.names)
    }
    labels = ", ".join(f"{value} {name}" for value, name in found["labels"].items())
    new = {
        "name": title,
        "task": f"Segmentation of {names} in {data}",
        "description": f"An Attention U-Net that segments {names} in images of {data}.",
        "data_source": data,
        "image_classes": f"{', '.join(channels)}: {describe_scaling(ids)}",
        "label_classes": f"index mask: {labels}",
        "pred_classes": f"{len(regions)} channels: {names}",
        "references": [_ARTICLE],
        "network_data_format": formats,
    }
    codes = {n: c for n, c in metadata.get("dicom_segments", {}).items() if n in regions.names}
    kept = {name: value for name, value in metadata.items() if name != "dicom_segments"}
    return kept | new | ({"dicom_segments": codes} if codes else {})


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
    dims, folds, data = found["spatial_dims"], found["folds"], found["dataset"]
    names, channels = ", ".join(ids["regions"]), ids["channel_names"]
    unit, length, amount = (
        ("px", "px", "share of the picture") if dims == 2 else ("voxels", "mm", "volume, ml")
    )
    labels = ", ".join(f"{value} {name}" for value, name in found["labels"].items())
    rows = "\n".join(
        f"| {name} | {each['cases']} of {found['measured']} | {_triple(each, 'amount')} "
        f"| {_triple(each, 'thickness')} | {_parts(each)} |"
        for name, each in found["regions_measured"].items()
    )
    reasons = "\n".join(
        f"| `{each.id}` | `{json.dumps(each.value)}` | {each.because} |"
        for each in choices
        if each.value not in (None, [], {})
    )
    median = f"The median image has {times(found['size']['median'])} {unit}"
    grid = f"scaled by its longer side and padded to {times(ids['roi_size'])} px."
    if dims == 3:
        median += f" of {times(found['spacing']['median'])} mm"
        window = times(ids["roi_size"])
        spacing = times(ids["spacing"])
        grid = f"resampled to {spacing} mm. The network sees windows of {window} voxels."
    about = _fill(
        f"{title}: an Attention U-Net (Oktay et al. 2018, arXiv:1804.03999) that segments {names} "
        f"in images of {data}."
    )
    size = _fill(f"{median}. {found['measured']} cases were measured; see `fingerprint.json`.")
    network = _fill(
        f"`pipeline.networks.AttentionUnet` in {dims}D with one additive gate on every skip except "
        f"the finest. The widths are {', '.join(map(str, ids['channels']))}."
    )
    shown = _fill(f"{', '.join(channels)}: {describe_scaling(ids)}. The image is {grid}")
    return f"""# Model Overview

{about}

For research only; not certified for clinical use.

## Data

- Target: {names}
- Modality: {ids["modality"]}; channels: {", ".join(channels)}
- Source: {data}, {found["cases"]} cases for training in {len(folds)} folds, and \
{found["testing"]} for testing; see `data_license.txt`
- A label is an index mask: {labels}

{size}

| region | cases | {amount}: least, median, most | thickness, {length} | parts: labels |
|---|---|---|---|---|
{rows}

## Weights

The bundle comes without trained weights.

## Network

{network}

### Input

{shown}

### Output

One channel of logits per region on the same grid. The postprocessing brings them to the image's own
grid, marks each region, and keeps its largest parts where `components` says how many.

## Training configuration

AdamW with warm-up and a cosine schedule. The loss is half Dice and half cross entropy. Patches are
augmented as a batch on the training device. These settings were chosen from the data:

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


def _fill(text: str) -> str:
    return textwrap.fill(text, 100)


def _triple(region: Mapping[str, Any], name: str) -> str:
    each = region.get(name)
    return f"{each['min']:g}, {each['median']:g}, {each['max']:g}" if each else ""


def _parts(region: Mapping[str, Any]) -> str:
    counts = list(region.get("parts", {}).items())
    more = ", ..." if len(counts) > 4 else ""
    return ", ".join(f"{n}: {count}" for n, count in counts[:4]) + more
