"""The cells of a plan: one training and its evaluation for each network, fold and seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..bundle.configs import Config, top_level
from ..bundle.ids import PLACE, RECORD, row
from ..errors import InputError
from ..files import read_json, sha256
from .plan import Evaluate, Ids, Plan

EVALUATE = "evaluate.json"


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

    @cached_property
    def config(self) -> Config:
        """What the training runs with, after all overlays and overrides."""
        return Config.read(*self.configs).with_changes(self.ids)

    def settings(self, *, processes: int = 1) -> dict[str, Any]:
        """All that decides the cell's numbers; a file counts by its content.

        Args:
            processes: how many train together, which multiplies the batch size.
        """
        return {
            "configs": {path.name: sha256(path) for path in self.configs},
            "overlays": [path.name for path in self.configs],  # the last one wins
            "ids": that_decide(self.ids),
            "evaluate": self.evaluate.model_dump(),
            "processes": processes,
        }


def that_decide(ids: Ids) -> Ids:
    """The ids that decide numbers: not where a cell runs, nor how it is recorded.

    The others may change between two starts of an experiment.
    """
    return {n: v for n, v in ids.items() if row(top_level(n)).role not in (PLACE, RECORD)}


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
        config = Config.read(*configs)
        check_ids(ids, config, where=f"network {name}")
        evaluation = config.with_changes(read_json(find_config(bundle, EVALUATE)))
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


def check_ids(ids: Ids, config: Config, *, where: str) -> None:
    """Refuse an override that a plan cannot set, or that nothing in the config reads.

    A bundle refuses the latter when it starts, but that is one cell after another, and this is
    before the first.

    Raises:
        InputError: names the id, and the nearest one or what to give instead.
    """
    for name, value in ids.items():
        if reason := row(top_level(name)).in_plan:
            raise InputError(f"{where}: {name} {value!r} cannot be set; {reason}.")
    config.check_ids(ids, where=f"{where}: ")


def check_unchanged(cell: Cell, earlier: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a cell that was begun with other settings.

    Args:
        cell: the cell.
        earlier: its settings when it was begun.
        now: its settings as JSON keeps them.
        folder: the cell's.

    Raises:
        InputError: names the first setting that differs, with both values.
    """
    # What decides numbers today may be less than when the cell was begun.
    earlier = {**earlier, "ids": that_decide(earlier.get("ids", {}))}
    for part, after in now.items():
        before = earlier.get(part)
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
