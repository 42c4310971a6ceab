"""The model card of a package: the bundle's own, with what holds for these weights alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..bundle.configs import Config, is_plain
from ..bundle.ids import Role, row
from ..evaluation.metrics import unit_of
from .code import renamed
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


def packaged_card(
    card: str,
    *,
    name: str,
    metadata: Mapping[str, Any],
    training: Config,
    source: Trained,
    parameters: int,
) -> str:
    """The card with its sections on network, training, performance and commands made anew.

    Args:
        card: the bundle's ``docs/README.md``.
        name: the package's folder.
        metadata: of the package.
        training: config of the training.
        source: the weights.
        parameters: the network's.
    """
    made = {
        "Network": network(metadata, training, parameters),
        "Training configuration": options(training),
        "Performance": performance(source),
        "Commands": commands(name),
    }
    parts = re.split(r"(?m)^(#{1,2} .*)$", card)
    text = parts[0]
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        title = heading.lstrip("# ").strip()
        if title in made:
            # What the bundle tells of its output has no number of a training in it.
            output = re.search(r"(?ms)^### Output\n.*?(?=^#|\Z)", body)
            body = f"\n\n{made[title].rstrip()}\n"
            if title == "Network" and output:
                body += f"\n{output[0].rstrip()}\n"
            body += "\n"
        text += heading + body
    # A link that leaves the bundle leads nowhere any more.
    return renamed(re.sub(r"\[([^\]]*)\]\((?:\.\./)+[^)]*\)", r"\1", text)).rstrip() + "\n"


def network(metadata: Mapping[str, Any], training: Config, parameters: int) -> str:
    image = metadata["network_data_format"]["inputs"]["image"]
    size = " x ".join(map(str, image["spatial_shape"]))
    kind = training.get("network_def")["_target_"]
    return (
        f"`{kind}` with {parameters:,} parameters; version {metadata['version']}.\n\n"
        f"### Input\n\n{image['num_channels']} x {size}, {metadata['image_classes']}."
    )


def options(training: Config) -> str:
    """Every plain value that the training had."""
    rows = [
        f"| `{name}` | `{training.built(name)}` |"
        for name, value in training.content.items()
        if row(name).role is Role.MODEL and is_plain(value) and value is not None
    ]
    return "\n".join(["| option | value |", "|---|---|", *rows])


def performance(source: Trained) -> str:
    """The numbers, from the files in which they were measured."""
    text = []
    for section, summary in sorted(source.evaluations.items()):
        units = summary.get("units", {})
        rows = [
            f"| {name} | {value(each['mean'])} | {interval(each)} | {unit_of(name, units)} "
            f"| {each['n']} |"
            for name, each in summary["metrics"].items()
        ]
        text += [
            f"### {section.capitalize()}, {summary['n_cases']} cases\n",
            "On the images' own grid; mean over cases with its 95 % bootstrap interval.\n",
            "| metric | mean | interval | unit | cases |\n|---|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n",
        ]
    if source.best:
        rows = [f"| {name} | {value(each)} |" for name, each in source.best.items()]
        text += [
            "### Validation during the training\n",
            "Of the best epoch, on the network's grid.\n",
            "| metric | value |\n|---|---|\n" + "\n".join(rows) + "\n",
        ]
    return "\n".join(text) if text else "These weights were not evaluated before packaging."


def value(number: float | None) -> str:
    return "undefined" if number is None else f"{number:.4g}"


def interval(summary: Mapping[str, Any]) -> str:
    low, high = summary["ci_low"], summary["ci_high"]
    return "" if low is None else f"{low:.4g} to {high:.4g}"


def commands(name: str) -> str:
    return f"""Segment a folder of images, from inside the folder `{name}`:

```bash
python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES
```

Train on from these weights, with a `datalist.json` in the dataset's folder; better weights replace
`models/model.pt`:

```bash
python -m monai.bundle run --config_file configs/train.json --dataset_dir DATASET
```

In MONAI Label, put the folder into `model/` of the `monaibundle` app and name it with
`--conf models {name}`."""
