"""Several checkpoints as one: an ensemble is a file of weights like any other."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..errors import InputError
from ..files import read_json, replacing, some
from ..networks.ensemble import Ensemble, join_states
from ..networks.weights import pack_weights, read_weights
from .as_trained import find_difference, shorten
from .configs import Config, as_json
from .ids import Same, named
from .lineage import DIGEST, TRAINED_ON, read_lineage
from .listing import ALL
from .trained import (
    BEST,
    CHECKPOINTS,
    ENSEMBLE,
    MEMBERS,
    PLAN,
    chosen_postprocessing,
    find_weights,
    read_config,
)

logger = logging.getLogger(__name__)
_FIX = "give the model.pt of a training, its folder, or that of a plan."
_FOLDERS: list[TemporaryDirectory] = []  # removed when Python ends


class Checkpoint:
    """One file of weights, or several as the members of an ensemble.

    Args:
        ckpt_path: a file, the folder of a training, that of a plan, whose trainings are the
            members, or a list of such.
        option: that the user gave it with, for errors.
        fix: what else to give, for errors.

    Attributes:
        members: the files.
        folder: of the file; of several, the one that holds them all.

    Raises:
        InputError: there is no such file, a plan is not done or of several networks, or a file is
            given twice.
    """

    def __init__(
        self,
        ckpt_path: str | Path | Sequence[str | Path],
        *,
        option: str = "ckpt_path",
        fix: str = _FIX,
    ) -> None:
        given = [ckpt_path] if isinstance(ckpt_path, str | Path) else list(ckpt_path)
        self.option = option
        self.members = [file for path in given for file in find_members(Path(path), option, fix)]
        if not self.members:
            raise InputError(f"{option} {given}: it is empty; {_FIX}")
        seen = [path.resolve() for path in self.members]
        if twice := next((path for path in seen if seen.count(path) > 1), None):
            raise InputError(f"{option} {twice}: it is given twice; give each member once.")
        folders = [path.parent for path in self.members]
        alone = len(folders) == 1
        self.folder = folders[0] if alone else Path(os.path.commonpath(map(Path.resolve, folders)))

    @property
    def tags(self) -> dict[str, str]:
        """The number of members of an ensemble, for MLflow."""
        count = len(self.members)
        return {"pipeline.members": str(count)} if count > 1 else {}

    def file(self, folder: str | Path | None = None) -> str:
        """The file of weights: of several members, one that holds them all.

        Args:
            folder: to write it into, as ``ensemble.pt``; by default one that lives as long as this
                program.

        Raises:
            InputError: the members are of different models.
        """
        if len(self.members) == 1:
            return str(self.members[0])
        if folder is None:
            _FOLDERS.append(TemporaryDirectory())
            folder = _FOLDERS[-1].name
        path = Path(folder, ENSEMBLE)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = join(self.members, option=self.option)
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)  # into a stream: the bytes do not depend on a name
        return str(path)


def find_members(path: Path, option: str, fix: str) -> list[Path]:
    """The checkpoints at a path: a file, that of a training, or those of a plan's trainings.

    Raises:
        InputError: there is none, or a plan is not done or of several networks.
    """
    if not (path / PLAN).is_file() or (path / BEST).is_file():
        return [find_weights(path, option=option, fix=fix)]
    plan = read_json(path / PLAN, "give the folder of an experiment.")
    trainings = list_trainings(plan)
    if len(trainings) != 1:
        raise InputError(
            f"{option} {path}: it has trainings of several networks, {some(list(trainings))}; "
            "give the folders of the members, each by its own option."
        )
    (names,) = trainings.values()
    name = CHECKPOINTS[plan.get("evaluate", {}).get("checkpoint", "last")]
    files = [path / each / "training" / name for each in names]
    if missing := next((file for file in files if not file.is_file()), None):
        raise InputError(
            f"{option} {path}: {missing} is not there; run the plan to its end, or give the "
            "folders of some of its trainings."
        )
    return files


def list_trainings(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of a plan's trainings by that of their network, as folders have them."""
    folds, seeds = plan.get("folds", [0]), plan.get("seeds", [0])
    runs = [f"fold{fold}-seed{seed}" for fold, seed in itertools.product(folds, seeds)]
    return {name: [f"{name}-{run}" for run in runs] for name in name_networks(plan)}


def name_networks(plan: Mapping[str, Any]) -> list[str]:
    """The names of a plan's networks, each with that of its variant if there are any."""
    pairs = itertools.product(plan.get("networks", {}), plan.get("variants") or [""])
    return ["-".join(filter(None, each)) for each in pairs]


def join(files: Sequence[Path], *, option: str) -> dict[str, Any]:
    """The content of a file of weights with several members.

    Its settings are those that the members share. They had to be trained with the same network,
    regions, channels and preprocessing.

    Raises:
        InputError: names the first difference, or a file that does not say its settings.
    """
    read = [read_weights(path, option=option, fix=_FIX)[0] for path in files]
    configs = [read_config(path, option=option) for path in files]
    first = as_json(Config(configs[0]).with_references(named(lambda r: r.same == Same.AFTERWARDS)))
    for path, state, config in zip(files, read, configs, strict=True):
        if not config:
            raise InputError(
                f"{option} {path}: it lacks the settings of its training, which a member of an "
                "ensemble needs; put its config.json next to it, or train again."
            )
        if MEMBERS in config:
            raise InputError(f"{option} {path}: it is an ensemble itself; give its members.")
        for name, value in first.items():
            if found := find_difference(config.get(name), value, name):
                place, now, before = found
                raise InputError(
                    f"{option} {path}: its {place} is {shorten(now)}, and that of {files[0]} is "
                    f"{shorten(before)}; the members of an ensemble share network, regions, "
                    "channels and preprocessing."
                )
        shapes = [{name: each.shape for name, each in one.items()} for one in (state, read[0])]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{option} {path}: its weights are not those of the network of {files[0]}; the "
                "members of an ensemble share one network."
            )
        if chosen := chosen_postprocessing(path):
            logger.warning(f"{chosen} was chosen for {path} alone: the ensemble does not use it.")
    return pack_weights(join_states(read), join_records(configs))


def join_records(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several trainings left, as that of their ensemble: what they share.

    Together, members of several folds have seen every case.
    """
    record = {
        name: value
        for name, value in configs[0].items()
        if all(name in each and each[name] == value for each in configs)
    }
    for name in ("fold", DIGEST):
        if name not in record and any(name in each for each in configs):
            record[name] = ALL
    lineages = [each for config in configs for each in read_lineage(config)]
    distinct = [each for n, each in enumerate(lineages) if each not in lineages[:n]]
    return record | ({TRAINED_ON: distinct} if distinct else {}) | {MEMBERS: len(configs)}


def with_members(network: torch.nn.Module, ckpt_path: str) -> torch.nn.Module:
    """A network, or an `Ensemble` of it with as many members as a file of weights has.

    Args:
        network: on its device; a distributed one is for training, and is unwrapped for an
            ensemble.
        ckpt_path: a file of weights.
    """
    count = read_config(Path(ckpt_path), option="ckpt_path").get(MEMBERS, 1)
    if count == 1 or isinstance(network, Ensemble):
        return network
    return Ensemble(getattr(network, "module", network), members=count)
