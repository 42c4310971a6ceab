"""What a training leaves in its folder."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, sha256

logger = logging.getLogger(__name__)
_ENSEMBLE = ".networks.Ensemble"
_COMPONENT = re.compile(r"\b(?:pipeline|scripts)\.(bundle|engines|networks|tracking|transforms)\.")

BEST = "model.pt"  # weights of the epoch with the best key metric
FINAL = "model_final.pt"  # weights of the last epoch
CHECKPOINT = "checkpoint.pt"  # the whole state of the training, to go on from
CONFIG = "config.json"  # the merged config of the training, of which the weights have a part too
BUNDLE = "bundle_folder"  # in it, the folder of the bundle
HISTORY = "history.csv"  # a row for each epoch
ENSEMBLE = "ensemble.pt"  # weights of several trainings, which an evaluation of them leaves
CHOSEN = "postprocessing.json"  # the postprocessing that an evaluation chose for its model
# An evaluation leaves these in a folder of its own, ``evaluation-SECTION``.
CASES, SUMMARY, QUALITY = "cases.csv", "summary.json", "quality.json"
PLAN = "plan.json"  # in the folder of an experiment
CHECKPOINTS = {"last": FINAL, "best": BEST}  # by what a plan calls them
# In what weights say of their training: how many members of an ensemble they are, if several.
MEMBERS = "members"


def check_file(path: str | Path, *, option: str, fix: str) -> Path:
    """The path of a file that a user gave.

    Args:
        path: what the user gave.
        option: as what the user gave it, for the error.
        fix: what else to give, for the error.

    Raises:
        InputError: there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(f"{option} {path}: there is no such file; {fix}")
    return Path(path)


def find_weights(path: str | Path, *, fix: str, option: str = "checkpoint") -> Path:
    """The checkpoint at ``path``, which may be the folder of a training or of an evaluation.

    Raises:
        InputError: there is no such file.
    """
    path = Path(path)
    if path.is_dir():
        path = next(
            (file for name in (BEST, ENSEMBLE) if (file := path / name).is_file()), path / BEST
        )
    return check_file(path, option=option, fix=fix)


def read_history(folder: Path) -> list[dict[str, str]]:
    """The epochs of a training so far, a row each; none before the end of the first."""
    if not (folder / HISTORY).is_file():
        return []
    with (folder / HISTORY).open(newline="") as file:
        return list(csv.DictReader(file))


def read_config(weights: Path, *, option: str = "checkpoint") -> dict[str, Any]:
    """The ids that weights were trained with: those in their file, else in ``config.json`` beside.

    This is what somebody wrote, and nothing that may run: see `take_settings`.

    Args:
        weights: the file.
        option: that the user gave it with, for the error.

    Returns:
        ids and values, with the components of this project under the name that it has here; empty
        where the training left nothing. The network of an ensemble is that of a
        member, and ``members`` says how many there are.

    Raises:
        InputError: a file is broken.
    """
    from ..networks.weights import read_weights  # loads torch, which a job does not need

    fix = "give another, such as the model.pt that a training wrote"
    state, config = read_weights(weights, option=option, fix=fix)
    if not config and (beside := weights.with_name(CONFIG)).is_file():
        config = read_json(beside, "move it away, or give another checkpoint.")
    own = __name__.partition(".")[0]  # in a package the project has another name
    text = _COMPONENT.sub(rf"{own}.\1.", json.dumps(config))
    config = without_ensemble(json.loads(text))
    count = config.get(MEMBERS, 1)
    held = {name.split(".")[1] for name in state if name.startswith(f"{MEMBERS}.")}
    if MEMBERS in config and (type(count) is not int or count != len(held)):
        raise InputError(f"{option} {weights}: its {MEMBERS} is {count!r}; {fix}.")
    return config


def as_ensemble(config: Mapping[str, Any], members: int) -> dict[str, Any]:
    """A config whose ``network_def`` is an ensemble of as many members as its weights have."""
    config = without_ensemble(config)
    config.pop(MEMBERS, None)
    if members == 1:
        return config
    target = f"{__name__.partition('.')[0]}{_ENSEMBLE}"
    network = {"_target_": target, "network": config["network_def"], "members": members}
    return config | {"network_def": network}


def without_ensemble(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose ``network_def`` is that of a member, with ``members`` if it was not."""
    network = config.get("network_def")
    if not isinstance(network, Mapping) or not str(network.get("_target_")).endswith(_ENSEMBLE):
        return dict(config)
    return {**config, "network_def": network.get("network"), MEMBERS: network.get("members")}


def record_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What weights carry of a training's config: that which decides the model.

    Paths, the tracking server and a server's list of patients stay out of a file that travels.
    """
    from .configs import top_level
    from .ids import Role, row

    return {n: value for n, value in config.items() if row(top_level(n)).role is Role.MODEL}


def chosen_postprocessing(weights: str | Path) -> dict[str, Any]:
    """The ids ``threshold`` and ``components`` that an evaluation chose for a checkpoint.

    Returns:
        their values; empty where nothing was chosen, or for other weights than these.

    Raises:
        InputError: the file beside the checkpoint has no such value of one of them.
    """
    path, ids = Path(weights).with_name(CHOSEN), ("threshold", "components")
    if not path.is_file():
        return {}
    fix = "move it away, and choose again by an evaluation with --choose True."
    content = read_json(path, fix)
    from .ids import IDS

    for name in ids:  # an expression would run
        if name not in content or not IDS[name].rule.holds(content[name]):
            raise InputError(f"{path}: its {name} is {content.get(name)!r}; {fix}")
    if content.get("checkpoint_sha256") not in (None, sha256(weights)):
        logger.warning(f"{path} was chosen for other weights than {weights}: it is not used.")
        return {}
    return {name: content[name] for name in ids}
