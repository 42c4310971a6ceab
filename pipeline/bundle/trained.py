"""What a training leaves in its folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, sha256

logger = logging.getLogger(__name__)

BEST = "model.pt"  # weights of the epoch with the best key metric
FINAL = "model_final.pt"  # weights of the last epoch
CHECKPOINT = "checkpoint.pt"  # the whole state of the training, to go on from
CONFIG = "config.json"  # the merged config of the training
BUNDLE = "bundle_folder"  # in it, the folder of the bundle
HISTORY = "history.csv"  # a row for each epoch
CHOSEN = "postprocessing.json"  # the postprocessing that an evaluation chose for its model
# An evaluation leaves these in a folder of its own, ``evaluation-SECTION``.
CASES, SUMMARY = "cases.csv", "summary.json"


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
    """The checkpoint at ``path``, which may be the folder of a training.

    Raises:
        InputError: there is no such file.
    """
    path = Path(path)
    return check_file(path / BEST if path.is_dir() else path, option=option, fix=fix)


def read_config(weights: Path) -> dict[str, Any]:
    """The config that the training left beside its weights; empty where it left none."""
    path = weights.with_name(CONFIG)
    if not path.is_file():
        return {}
    from .upgrade import upgrade  # loads torch, which a job does not need

    return upgrade(read_json(path, "move it away, or give another checkpoint."), str(path))


def chosen_postprocessing(weights: str | Path) -> dict[str, Any]:
    """The ids ``threshold`` and ``components`` that an evaluation chose for a checkpoint.

    Returns:
        their values; empty where nothing was chosen, or for other weights than these.

    Raises:
        InputError: the file beside the checkpoint lacks one of them.
    """
    path, ids = Path(weights).with_name(CHOSEN), ("threshold", "components")
    if not path.is_file():
        return {}
    fix = "move it away, and choose again by an evaluation with --choose True."
    content = read_json(path, fix)
    if lacking := [name for name in ids if name not in content]:
        raise InputError(f"{path}: it lacks {lacking[0]}; {fix}")
    if content.get("checkpoint_sha256") not in (None, sha256(weights)):
        logger.warning(f"{path} was chosen for other weights than {weights}: it is not used.")
        return {}
    return {name: content[name] for name in ids}
