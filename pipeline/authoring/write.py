"""Copy the nearest bundle that ships, and set its ids, texts and plan for a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bundle.configs import Config
from ..bundle.settings import check_settings
from ..files import read_json
from ..folders import BUNDLES, new_folder
from . import texts
from .choices import Choice

NEAREST = {2: "fundus_disc_cup_segmentation", 3: "pancreas_ct_segmentation"}
_CONFIGS = ("train.json", "inference.json", "evaluate.json")
_COPIED = ("LICENSE", "configs/logging.conf")
_THEIRS = {"regions", "spacing", "roi_size", "patch_size"}  # set by an overlay for one dataset
_WIDTH = 100  # characters of a line
_COMPARED = ("unet", "unet_plus_plus")  # with the network of train.json, in the plan


def write_bundle(
    output: Path,
    *,
    datalist: Path,
    found: Mapping[str, Any],
    choices: Sequence[Choice],
    title: str,
    overwrite: bool = False,
) -> None:
    """Write a complete bundle, all of it or nothing; its folder names its experiment and runs.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        InputError: a chosen value is impossible.
    """
    shipped = nearest(found)
    ids = {each.id: each.value for each in choices} | place(output, datalist, shipped)
    files: dict[str, str] = {}
    for name in _CONFIGS:
        mine = ids
        if name == "inference.json":  # which takes a folder of images, not one with a datalist
            images = datalist.parent / "images"
            mine = ids | {"dataset_dir": str(images if images.is_dir() else datalist.parent)}
        if name == "evaluate.json":
            mine = {key: ids[key] for key in ("threshold", "components")}
        content = read_json(shipped / "configs" / name)
        files[f"configs/{name}"] = file_text({key: mine.get(key, content[key]) for key in content})
    for path in [*(shipped / name for name in _COPIED), *overlays(shipped)]:
        files[path.relative_to(shipped).as_posix()] = path.read_text(encoding="utf-8")
    metadata = read_json(shipped / "configs/metadata.json")
    about = {"found": found, "ids": ids, "title": title}
    files |= {
        "configs/metadata.json": file_text(texts.make_metadata(metadata, **about)),
        "docs/README.md": texts.make_card(**about, choices=choices),
        "docs/data_license.txt": texts.make_licence(found),
        "docs/fingerprint.json": file_text(found),
        "plans/networks.json": file_text(make_plan(output, found)),
    }
    with new_folder(output, sources=[datalist, shipped], overwrite=overwrite) as stage:
        for name, text in files.items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_text(text, encoding="utf-8")
        for name in _CONFIGS[:2]:
            check_settings(Config.read(stage / "configs" / name).content)


def nearest(found: Mapping[str, Any]) -> Path:
    """The bundle that ships for images of as many dimensions."""
    return BUNDLES / NEAREST[found["spatial_dims"]]


def place(output: Path, datalist: Path, shipped: Path) -> dict[str, Any]:
    """The ids that say where the data are and how runs are called."""
    name = output.resolve().name
    run_name = read_json(shipped / "configs/train.json")["run_name"]
    prefix = run_name.split("'")[1]
    return {
        "dataset_dir": str(datalist.parent),
        "datalist": f"$@dataset_dir + '/{datalist.name}'",
        "experiment_name": name,
        "run_name": run_name.replace(f"'{prefix}'", repr(f"{name}-")),
    }


def overlays(bundle: Path) -> list[Path]:
    """The overlays of a bundle that fit another dataset too."""
    found = {*(bundle / "configs").rglob("*.json")}
    found -= {bundle / "configs" / name for name in (*_CONFIGS, "metadata.json")}
    return sorted(path for path in found if not _THEIRS & read_json(path).keys())


def make_plan(output: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """A plan of all folds, for the network with gates, without, and UNet++."""
    validated = len(found["folds"]) > 1
    networks = {name: {"overlays": [f"networks/{name}.json"]} for name in _COMPARED}
    return {
        "name": f"{output.resolve().name}_networks",
        "description": f"Three networks on the same folds of {found['dataset']}.",
        "bundle": str(output),
        "networks": {"attention_unet": {}, **networks},
        "folds": found["folds"] if validated else ["all"],
        "seeds": [0],
        "evaluate": {"section": "validation" if validated else "testing", "checkpoint": "last"},
    }


def file_text(content: Mapping[str, Any]) -> str:
    """The text of a JSON file as the bundles that ship are written."""
    return lay_out(dict(content), used=_WIDTH) + "\n"


def lay_out(value: Any, *, indent: int = 0, used: int = 0) -> str:
    """Write a value as JSON with an indent of four; a list or an object that fits is one line.

    Args:
        value: what to write.
        indent: of the line on which it starts.
        used: characters of that line before it.
    """
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return line
    named = isinstance(value, dict)
    items = list(value.values()) if named else value
    deep = any(isinstance(each, dict) and each for each in items)
    if not deep and used + len(line) <= _WIDTH:
        return line
    inside = indent + 4
    rows = []
    for key, each in zip(value, items, strict=True):
        start = f"{json.dumps(key, ensure_ascii=False)}: " if named else ""
        text = lay_out(each, indent=inside, used=inside + 1 + len(start))
        rows.append(f"{' ' * inside}{start}{text}")
    opening, closing = "{}" if named else "[]"
    return f"{opening}\n" + ",\n".join(rows) + f"\n{' ' * indent}{closing}"
