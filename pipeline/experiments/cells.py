"""The cells of a plan: one training and its evaluation for each network, fold and seed."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, sha256
from .plan import Evaluate, Ids, Plan

# What a cell gets from elsewhere, and from where.
NOT_OVERRIDDEN = {
    "fold": "give the plan's folds",
    "seed": "give the plan's seeds",
    "section": "give evaluate.section",
    "ckpt_path": "give evaluate.checkpoint",
    "output_dir": "give --output",
    "run_name": "it is the cell's name",
    "tags": "they say which cell a run is",
    "resume": "an interrupted training goes on by itself",
}
# Where a cell runs and is recorded, which may change between two starts of an experiment.
BOOKKEEPING = {"device", "cache_device", "tracking_uri", "tracking_offline", "log_to_mlflow"}


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation.

    Args:
        name: unique in the plan; a folder and the name of the MLflow run.
        network: the name that runs are compared by.
        bundle: the bundle's folder.
        configs: ``train.json`` and the overlays after it.
        ids: what the plan changes in them.
        evaluate: which cases and which checkpoint.
    """

    name: str
    network: str
    bundle: Path
    configs: tuple[Path, ...]
    ids: Ids
    evaluate: Evaluate

    def value(self, name: str, default: Any = None) -> Any:
        """The value of a plain id of the config, after all overlays and overrides."""
        layers = [*map(read_json, self.configs), self.ids]
        return next((layer[name] for layer in reversed(layers) if name in layer), default)

    def settings(self, *, processes: int = 1) -> dict[str, Any]:
        """All that decides the cell's numbers; a file counts by its content.

        Args:
            processes: how many train together, which multiplies the batch size.
        """
        return {
            "configs": {path.name: sha256(path) for path in self.configs},
            "overlays": [path.name for path in self.configs],  # the last one wins
            "ids": {name: v for name, v in self.ids.items() if name not in BOOKKEEPING},
            "evaluate": self.evaluate.model_dump(),
            "processes": processes,
        }


def cells(plan: Plan) -> list[Cell]:
    """The cells of a plan, in its order: networks, then variants, folds and seeds.

    Raises:
        InputError: when the bundle or an overlay is not there, or nothing reads an override.
    """
    bundle = Path(plan.bundle)
    if not (bundle / "configs" / "train.json").is_file():
        raise InputError(
            f"bundle {plan.bundle}: it holds no configs/train.json; give the path of a bundle's "
            f"folder, from the working folder {Path.cwd()}."
        )
    found = []
    variants = plan.variants or {"": {}}
    for (network, change), (variant, more) in itertools.product(
        plan.networks.items(), variants.items()
    ):
        name = "-".join(filter(None, (network, variant)))
        overlays = ["train.json", *plan.configs, *change.overlays]
        configs = tuple(find_config(bundle, overlay) for overlay in overlays)
        ids = {"experiment_name": plan.name} | plan.overrides | change.overrides | more
        check_ids(ids, configs, where=f"network {name}")
        evaluation = (*configs, find_config(bundle, "evaluate.json"))
        check_ids(plan.evaluate.overrides, evaluation, where="evaluate")
        found += [
            Cell(
                name=f"{name}-fold{fold}-seed{seed}",
                network=name,
                bundle=bundle,
                configs=configs,
                ids={**ids, "fold": fold, "seed": seed},
                evaluate=plan.evaluate,
            )
            for fold, seed in itertools.product(plan.folds, plan.seeds)
        ]
    names = [cell.name for cell in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"plan {plan.name}: two cells are called {twice}; rename a network.")
    return found


def find_config(bundle: Path, name: str) -> Path:
    """A config file: one of the bundle's ``configs``, or else a path from the working folder.

    Raises:
        InputError: when there is no such file.
    """
    for path in (bundle / "configs" / name, Path(name)):
        if path.is_file():
            return path
    raise InputError(f"config {name}: it is neither in {bundle / 'configs'} nor in {Path.cwd()}.")


def check_ids(ids: Ids, configs: Iterable[Path], *, where: str) -> None:
    """Refuse an override that nothing in the merged config reads.

    MONAI takes any new top-level id in silence. A bundle of this project refuses one when it
    starts, but that is one cell after another, and this is before the first.

    Raises:
        InputError: names the nearest id.
    """
    merged: dict[str, Any] = {}
    for path in configs:
        merged |= read_json(path)
    references = set(re.findall(r"@(\w+)", json.dumps(merged)))
    known = {
        name
        for name, value in merged.items()
        if name in references or isinstance(value, dict | list)
    }
    for name, value in ids.items():
        top = re.split("#|::", name.lstrip("+"))[0]
        if top in NOT_OVERRIDDEN:
            raise InputError(f"{where}: {name} {value!r} cannot be set; {NOT_OVERRIDDEN[top]}.")
        if top not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}."
            raise InputError(f"{where}: nothing in the bundle reads {name} {value!r}; {hint}")


def check_settings(cell: Cell, earlier: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a cell that was begun with other settings.

    Raises:
        InputError: names the first setting that differs, with both values.
    """
    if earlier == now:
        return
    for part in now:
        before, after = earlier.get(part), now[part]
        if before == after or part not in earlier:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            part = next(k for k in {**after, **before} if before.get(k) != after.get(k))
            before, after = before.get(part), after.get(part)
        what = f"{part} {before!r}, and is now {after!r}"
        if part.endswith(".json"):
            what = f"another {part}"
        raise InputError(
            f"cell {cell.name} in {folder} was begun with {what}; restore it, or give the plan "
            "another name, or delete that folder."
        )
