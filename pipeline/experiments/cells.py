"""The cells of a plan: one training and its evaluation for each network, fold and seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..bundle.configs import Config, as_json, digest_config, top_level
from ..bundle.given import find_overlay
from ..bundle.ids import PLACE, RECORD, row
from ..bundle.members import list_trainings, name_networks
from ..errors import InputError
from ..files import read_json
from .plan import Evaluate, Ids, Plan

SETTINGS = "settings.json"  # in the folder of a cell or a search


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation.

    Args:
        name: unique in the plan; names the cell's folder and its MLflow run.
        network: the name that ``compare`` groups runs by.
        title: the name that it gives to them.
        bundle: the bundle's folder.
        configs: ``train.json`` and the overlays after it.
        ids: overrides.
        evaluate: cases and checkpoint of the evaluation.
    """

    name: str
    network: str
    title: str
    bundle: Path
    configs: tuple[Path, ...]
    ids: Ids
    evaluate: Evaluate

    @property
    def tags(self) -> dict[str, str]:
        """Which network it is, for its MLflow runs."""
        title = {"pipeline.title": self.title} if self.title else {}
        return {"pipeline.network": self.network, **title}

    @cached_property
    def config(self) -> Config:
        """The config of the training, after all overlays and overrides."""
        return Config.read(*self.configs).with_changes(self.ids)

    @property
    def evaluation_configs(self) -> tuple[Path, ...]:
        return (*self.configs, self.bundle / "configs" / "evaluate.json")

    @property
    def evaluation_ids(self) -> Ids:
        return {**self.ids, **self.evaluate.overrides, "section": self.evaluate.section}

    def settings(self, *, processes: int = 1) -> dict[str, Any]:
        """All that decides the cell's numbers; config files count by their content.

        Args:
            processes: that train together, which multiplies the batch size.
        """
        return {
            "configs": {path.name: digest_config(path) for path in self.configs},
            "overlays": [path.name for path in self.configs],  # the last one wins
            "ids": select_deciding(self.ids),
            "evaluate": self.evaluate.model_dump(),
            "processes": processes,
        }


def select_deciding(ids: Ids) -> Ids:
    """The ids that decide a cell's numbers.

    The others say where it runs and how it is recorded; they may change between two starts. But
    the runs of a plan stay in one experiment.
    """
    return {
        name: value
        for name, value in ids.items()
        if row(top_level(name)).role not in (PLACE, RECORD) or name == "experiment_name"
    }


def make_cells(plan: Plan) -> list[Cell]:
    """Make the cells of a plan, in the order of its networks, variants, folds and seeds.

    Raises:
        InputError: the bundle or an overlay does not exist, or nothing reads an override.
    """
    bundle = Path(plan.bundle)
    if not (bundle / "configs" / "train.json").is_file():
        raise InputError(
            f"bundle {plan.bundle}: it has no configs/train.json; give the path of a bundle's "
            f"folder, relative to {Path.cwd()}."
        )
    cells, content = [], plan.model_dump()
    named = name_networks(content)
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise InputError(f"plan {plan.name}: two networks have the name {twice}; rename one.")
    changes = itertools.product(plan.networks.values(), (plan.variants or {"": {}}).items())
    trainings = list_trainings(content).items()
    for (change, (variant, more)), (name, names) in zip(changes, trainings, strict=True):
        overlays = ["train.json", *plan.configs, *change.overlays]
        configs = tuple(find_overlay(overlay, bundle / "configs") for overlay in overlays)
        ids = {"experiment_name": plan.name} | plan.overrides | change.overrides | more
        check_ids(ids, Config.read(*configs), where=f"network {name}")
        cells += [
            Cell(
                name=each,
                network=name,
                title=", ".join(filter(None, (change.title, change.title and variant))),
                bundle=bundle,
                configs=configs,
                ids={**ids, "fold": fold, "seed": seed},
                evaluate=plan.evaluate,
            )
            for each, (fold, seed) in zip(
                names, itertools.product(plan.folds, plan.seeds), strict=True
            )
        ]
        evaluation = Config.read(*cells[-1].evaluation_configs)
        check_ids(plan.evaluate.overrides, evaluation, where="evaluate")
    return cells


def make_ensembles(cells: Sequence[Cell]) -> list[tuple[Cell, list[str]]]:
    """Make an ensemble of each network that is trained several times, with its members' names.

    Only where it is evaluated on cases that no member was trained on, which the section for
    validation has none of. Its name says how many members it has, so that a plan with more folds
    or seeds makes another.
    """
    found = []
    for network in dict.fromkeys(cell.network for cell in cells):
        own = [cell for cell in cells if cell.network == network]
        if len(own) > 1 and own[0].evaluate.section == "testing":
            name = f"{network}-ensemble{len(own)}"
            ids = {k: value for k, value in own[0].ids.items() if k not in ("fold", "seed")}
            ensemble = replace(own[0], name=name, ids=ids)
            found.append((ensemble, [cell.name for cell in own]))
    return found


def check_ids(ids: Ids, config: Config, *, where: str) -> None:
    """Refuse an override that a plan cannot set, or that nothing in the config reads.

    A bundle refuses the latter itself, but only when its own cell starts.

    Raises:
        InputError: names the id, and the nearest one or what to give instead.
    """
    for name, value in ids.items():
        if reason := row(top_level(name)).in_plan:
            raise InputError(f"{where}: {name} {value!r} cannot be set; {reason}.")
    config.check_ids(ids, where=f"{where}: ")


def check_unchanged(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on in a folder that was begun with other settings.

    Args:
        folder: of a cell or a search; without its settings nothing is compared.
        settings: as they are now.

    Raises:
        InputError: names the first setting that differs, with both values.
    """
    if not (folder / SETTINGS).exists():
        return
    earlier = read_json(folder / SETTINGS, "delete its folder.")
    for part, after in as_json(settings).items():
        before = earlier.get(part)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            part = next(k for k in {**after, **before} if before.get(k) != after.get(k))
            before, after = before.get(part), after.get(part)
        what = f"{part} {before!r}, now it is {after!r}"
        if part.endswith(".json"):
            what = f"another {part}"
        raise InputError(
            f"{folder}: it was started with {what}; restore it, rename the plan, or delete "
            "this folder."
        )
