"""The model card of a package: the bundle's own, with the numbers of these weights."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from ..bundle.configs import Config, is_plain
from ..bundle.ids import Role, row
from ..bundle.lineage import read_lineage
from ..bundle.listing import ALL
from ..bundle.trained import MEMBERS
from ..evaluation.metrics import find_metric, unit_of
from ..transforms.regions import Regions
from .code import rename_project
from .source import Trained

SECTIONS = (
    "Model Overview",
    "Data",
    "Network",
    "Training configuration",
    "Performance",
    "Commands",
    "References",
    "License",
)


def make_card(
    card: str,
    *,
    name: str,
    metadata: Mapping[str, Any],
    training: Config,
    inference: Config,
    source: Trained,
    recorded: Collection[str],
    parameters: int,
) -> str:
    """Rewrite five sections of the bundle's ``docs/README.md`` for the weights of a package.

    Its content is ``card``, ``name`` that of the package's folder, and ``recorded`` are the ids of
    the training that somebody recorded, or says now.
    """
    made = {
        "Weights": describe_weights(source),
        "Network": describe_network(metadata, training, parameters)
        + describe_output(metadata, inference, source),
        "Training configuration": list_options(training, inference, recorded),
        "Performance": performance(source),
        "Commands": list_commands(name),
    }
    if not re.search(r"(?m)^## Weights$", card):
        card = re.sub(r"(?m)^## Network$", "## Weights\n\n## Network", card, count=1)
    parts = re.split(r"(?m)^(#{1,2} .*)$", card)
    text = parts[0]
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        title = heading.lstrip("# ").strip()
        if title in made:
            body = f"\n\n{made[title].rstrip()}\n\n"
        text += heading + body
    # Links to files outside of the bundle become plain text.
    text = re.sub(r"\[([^\]]*)\]\((?:\.\./)+[^)]*\)", r"\1", text)
    return rename_project(text).rstrip() + "\n"


def describe_weights(source: Trained) -> str:
    """Say what data these weights come from, and on which they were measured."""
    lineage = read_lineage(source.config)
    fold = source.config.get("fold")
    held = "not recorded" if fold is None else "none" if fold == ALL else fold
    rows = [("trained on", say_data(lineage[0] if lineage else {})), ("fold held out", held)]
    before = "members trained on" if MEMBERS in source.config else "before that trained on"
    rows += [(before, say_data(each)) for each in lineage[1:]]
    if len(lineage) < 2:
        started = source.config.get("pretrained", "" if lineage else None)
        said = "not recorded" if started is None else "yes" if started else "no"
        rows.append(("pretrained", said))
    rows += [
        (f"measured on, section {section}", say_data(source.measured_on.get(section, {})))
        for section in sorted(source.evaluations)
    ]
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return f"`models/model.pt` holds trained weights.\n\n| | |\n|---|---|\n{table}"


def say_data(data: Mapping[str, Any]) -> str:
    """Say what a dataset is, as `describe_data` recorded it."""
    said = [str(data.get("name", "a dataset whose name is not recorded"))]
    said.append(str(data.get("subjects", "phantoms or patients: not recorded")))
    counts = {name: data[name] for name in data if isinstance(data[name], int)}
    said += [f"{count} cases for {name}" for name, count in counts.items()] or [
        "number of cases: not recorded"
    ]
    said.append(f"licence: {data.get('licence', 'not recorded')}")
    return " ".join("; ".join(said).split()).replace("|", "\\|")


def describe_network(metadata: Mapping[str, Any], training: Config, parameters: int) -> str:
    image = metadata["network_data_format"]["inputs"]["image"]
    size = " x ".join(map(str, image["spatial_shape"]))
    network = training.get("network_def")
    kind = f"`{network['_target_']}`"
    if MEMBERS in network:
        member = network["network"]["_target_"]
        kind = f"An ensemble ({kind}) of {network[MEMBERS]} members `{member}`"
    return (
        f"{kind} with {parameters:,} parameters; version {metadata['version']}.\n\n"
        f"### Input\n\n{image['num_channels']} x {size}, {metadata['image_classes']}."
    )


def describe_output(metadata: Mapping[str, Any], inference: Config, source: Trained) -> str:
    """Say what the channels of the network mean, and how they become a mask."""
    regions = Regions(inference.get("regions"))
    rows = [
        f"| {n} | {name} | {', '.join(map(str, values))} |"
        for n, (name, values) in enumerate(zip(regions.names, regions.values, strict=True))
    ]
    labels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    kept = [f"{name} {count}" for name, count in (inference.get("components") or {}).items()]
    text = [
        "\n\n### Output\n\nLogits on the same grid, one channel for each region:\n",
        "| channel | region | label values |\n|---|---|---|\n" + "\n".join(rows) + "\n",
        f"{say_rule(inference)} The mask is on the image's own grid and has the values "
        f"{', '.join(f'{value} {name}' for value, name in labels.items())}.",
    ]
    if kept:
        text.append(f"Of these regions only the largest parts are kept: {', '.join(kept)}.")
    if source.chosen:
        text.append("An evaluation of these weights chose the threshold and the parts to keep.")
    if source.calibration:
        cases = len(source.calibration.rows)
        text.append(
            "The quality of each mask is estimated from its probabilities, calibrated on "
            f"{cases} validation cases in `models/model_quality.json`."
        )
    return "\n".join(text)


def say_rule(inference: Config) -> str:
    """Say when a voxel belongs to a region, as `Regions.mark` decides it."""
    regions, threshold = Regions(inference.get("regions")), inference.get("threshold", 0.5)
    logit = math.log(threshold / (1 - threshold))
    text = f"A voxel belongs to a region where the probability is above {threshold:g}"
    text += f" (the logit above {logit:.4g})"
    if any(parent is not None for parent in regions.parents):
        text += ", if it also belongs to the region around that one"
    text += "."
    groups = [[regions.names[n] for n in group] for group in regions.groups() if len(group) > 1]
    if groups:
        listed = "; ".join(", ".join(group) for group in groups)
        text += f" Of regions that exclude each other ({listed}) only the likeliest counts."
    if filled := [name for name, own in zip(regions.names, regions.own, strict=True) if not own]:
        text += f" Each voxel of {', '.join(filled)} belongs to one of the regions inside it."
    return text


def list_options(training: Config, inference: Config, recorded: Collection[str]) -> str:
    """The table of the plain values that decide the model."""
    after = {name: inference.content[name] for name in inference.content.keys() - training.content}
    rows = [
        f"| `{name}` | `{value}` |"
        if name in recorded or name in after
        else f"| `{name}` | not recorded |"
        for name, value in [*training.content.items(), *sorted(after.items())]
        if row(name).role is Role.MODEL and is_plain(value) and value is not None
    ]
    return "\n".join(["| option | value |", "|---|---|", *rows])


def performance(source: Trained) -> str:
    """The numbers, from the files in which they were measured."""
    text = []
    for section, summary in sorted(source.evaluations.items()):
        rows = [
            f"| {name} | {value(each['mean'])} | {interval(each)} | {unit(name, summary)} "
            f"| {each['n']} |"
            for name, each in summary["metrics"].items()
        ]
        text += [
            f"### {section.capitalize()}, {summary['n_cases']} cases\n",
            "On the images' own grid; mean over cases with its 95 % interval. A number "
            "without a unit is a share or a ratio.\n",
            "| metric | mean | interval | unit | cases |\n|---|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n",
        ]
    if source.best:
        rows = [
            f"| {name} | {value(each)} | {unit(name, {})} |" for name, each in source.best.items()
        ]
        text += [
            "### Validation during the training\n",
            "Of the best epoch, on the network's grid.\n",
            "| metric | value | unit |\n|---|---|---|\n" + "\n".join(rows) + "\n",
        ]
    return "\n".join(text) if text else "These weights were not evaluated before packaging."


def unit(name: str, summary: Mapping[str, Any]) -> str:
    """The unit of a metric: mm of volumes, px of pictures; empty for a share or a ratio."""
    if "units" in summary or not find_metric(name).unit:
        return unit_of(name, summary.get("units", {}))
    return "not recorded"


def value(number: float | None) -> str:
    return "undefined" if number is None else f"{number:.4g}"


def interval(summary: Mapping[str, Any]) -> str:
    low, high = summary["ci_low"], summary["ci_high"]
    return "" if low is None else f"{low:.4g} to {high:.4g}"


def list_commands(name: str) -> str:
    return f"""Segment a folder of images, from the folder `{name}`:

```bash
python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES
```

Continue the training on a dataset whose folder has a `datalist.json`; better weights replace
`models/model.pt`:

```bash
python -m monai.bundle run --config_file configs/train.json --dataset_dir DATASET
```

For MONAI Label, put the folder into `model/` of the app `monaibundle`, and start the server with
`--conf models {name}`."""
