"""What a bundle run checks and loads before it starts; a fault ends it in one line."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.dummy import DummyProcess
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from ..errors import InputError, one_line
from ..networks.weights import load_fitting_weights, load_weights
from .as_trained import check_as_trained, check_recorded, find_difference
from .configs import Config, as_json, first_cause, is_plain, read_overlay, top_level
from .device import tell_out_of_memory
from .listing import ALL
from .running import changed_ids, config_files, overrides, running_config
from .settings import check_settings
from .trained import (
    BUNDLE,
    CHECKPOINT,
    HISTORY,
    check_file,
    chosen_postprocessing,
    find_weights,
    read_config,
    read_history,
)

logger = logging.getLogger(__name__)


def check_run() -> None:
    """Refuse what the running bundle cannot run with, before any work.

    Called first in a config's ``initialize``. From then on an ``InputError`` that ends the program
    is printed as one line instead of a traceback.

    Raises:
        InputError: an override, or an id of an overlay, is not read by anything, such as
            ``--epohcs 1``; an override is None, or is a word of JSON that the command line does
            not know; a value is out of range, see ``check_settings``; or several processes would
            not work together.
    """
    show_input_errors_as_one_line()
    config = running_config()
    given = overrides()
    Config(config).check_ids(given)
    first, *overlays = [(path, read_overlay(path, "")) for path in config_files()] or [("", {})]
    for path, content in overlays:
        if BUNDLE not in content:  # the record of a training, of any age
            # Another overlay may bring a network that does not read an id of the bundle.
            new = {name: v for name, v in content.items() if top_level(name) not in first[1]}
            Config(config).check_ids(new, where=f"{path}: ")
    for name, value in given.items():
        if value is None:
            raise InputError(
                f"--{name} None: MONAI ignores it; leave it out, or write --{name} '$None'."
            )
        if value in ("true", "false", "null"):
            # The command line passes them on as texts, and any text counts as true.
            as_python = {"true": "True", "false": "False", "null": "'$None'"}[value]
            raise InputError(f"--{name} {value}: this is text; write --{name} {as_python}.")
        if isinstance(value, str) and "#" in value and is_plain(value):
            raise InputError(
                f"--{name} {value}: MONAI reads what follows # as a part of an id; rename it."
            )
    check_settings(config)
    check_processes(config)


def check_processes(config: Mapping[str, Any]) -> None:
    """Refuse processes that would know nothing of each other, and a group without processes."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if config.get("distributed") and "LOCAL_RANK" not in os.environ:
        raise InputError(
            "multi_gpu.json is for several processes: start them by torchrun --nproc_per_node=2 "
            "-m monai.bundle run ..., or leave the overlay out."
        )
    if processes > 1 and not (config.get("distributed") or torch.distributed.is_initialized()):
        fix = "give the overlay multi_gpu.json" if "distributed" in config else "start one"
        raise InputError(f"{processes} processes would each do all of the work; {fix}.")


def show_input_errors_as_one_line() -> None:
    """Print an ``InputError`` or a full GPU, wherever among the causes, and Ctrl-C in one line."""
    if getattr(sys.excepthook, "prints_input_errors", False):
        return
    previous = sys.excepthook

    def hook(kind: type, error: BaseException, traceback: Any) -> None:
        # A thread that still reads a case when Python ends would abort the program.
        for thread in threading.enumerate():
            if isinstance(thread, DummyProcess):
                thread.join(timeout=30)
        if issubclass(kind, KeyboardInterrupt):
            config = running_config(error)
            training = "resume" in config and "checkpoint" not in config
            hint = "; --resume True and the same options continue" if training else ""
            print(f"interrupted{hint}", file=sys.stderr)
            return
        cause = first_cause(error, (InputError, torch.OutOfMemoryError))
        text = str(cause) if isinstance(cause, InputError) else ""
        if isinstance(cause, torch.OutOfMemoryError):
            text = tell_out_of_memory(cause, running_config(error))
        if text:
            print(f"error: {text}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    hook.prints_input_errors = True
    sys.excepthook = hook


def load_pretrained(network: torch.nn.Module, path: str) -> None:
    """Load the weights that a training starts from, as far as they fit, and log what does not.

    Args:
        network: of the running bundle.
        path: a training's folder, or its ``model.pt``; empty to load nothing.

    Raises:
        InputError: there is no such file, or none of its weights fits.
    """
    if not path:
        return
    missing = "give --pretrained, the folder of an earlier training, or its model.pt."
    weights = find_weights(path, option="pretrained", fix=missing)
    before, now = read_config(weights, option="pretrained"), as_json(running_config())
    other = [
        f"{name} {before[name]} (now {now[name]})"
        for name in ("channels", "strides", "gates", "regions", "channel_names")
        if name in before and name in now and find_difference(now[name], before[name], name)
    ]
    trained = f" It was trained with {', '.join(other)}." if other else ""
    if not before:
        other, trained = ["nothing"], " The settings of its training are not recorded."
    fix = "give the overlays and the channels, strides and gates that it was trained with"
    left = load_fitting_weights(network, weights, option="pretrained", fix=fix + trained)
    if left or other:
        logger.warning(f"pretrained {weights}: {left or 'all weights fit'}.{trained}")


def load_trained(
    network: torch.nn.Module,
    ckpt_path: str,
    *,
    section: str = "",
    fold: int | str | None = None,
    datalist: str = "",
) -> None:
    """Load a trained network for an evaluation or inference with the settings of its training.

    Args:
        network: of the running bundle; of an ensemble, see `with_members`.
        ckpt_path: the checkpoint.
        section: of the cases; in all but ``"testing"`` the fold and the datalist must be the
            training's too, or other cases would be measured than the section says.
        fold: that was held out.
        datalist: that lists the cases.

    Raises:
        InputError: there is no such file, it holds another network's weights, it was trained with
            other settings, or these are unknown.
    """
    missing = "give --ckpt_path, the model.pt that a training wrote into its output_dir."
    weights = check_file(ckpt_path, option="ckpt_path", fix=missing)
    trained, config = read_config(weights, option="ckpt_path"), running_config()
    if config:
        own = changed_ids("train.json" if section else "inference.json")
        said = {top_level(name) for name in overrides()} | own
        check_recorded(
            Config(config),
            trained.keys() | said,
            source=f"ckpt_path {weights}",
            option="--{} {}",
        )
    if section == "validation" and ALL in (fold, trained.get("fold")):
        raise InputError(
            f"section validation: {weights} may have been trained on every case (fold {ALL}); give "
            f"--section testing, or --section training --fold {ALL} to measure those cases."
        )
    of_training = section in ("training", "validation")
    same_cases = {"fold": fold, "datalist": datalist} if of_training else {}
    check_as_trained(trained, weights, config, **same_cases)
    for name, value in {} if section else chosen_postprocessing(weights).items():
        if config.get(name) != value:  # an evaluation takes it by itself
            logger.warning(
                f"{name} is {config.get(name)}, and {value} was chosen for {weights}: give "
                f'--{name} "{value}", or use `python -m pipeline predict`.'
            )
    fix = "give the overlays and options that it was trained with"
    network = getattr(network, "module", network)  # in a group of processes
    load_weights(network, weights, option="ckpt_path", fix=fix)


def check_output_dir(path: str, holds: Sequence[str], *, resume: bool = False) -> None:
    """Refuse a folder that a run cannot write to, or whose files it would overwrite.

    Args:
        path: the folder, which need not exist.
        holds: patterns of the names of files that an earlier run would have left.
        resume: the earlier run may go on from its ``checkpoint.pt``.

    Raises:
        InputError: names the folder and what it holds.
    """
    folder = Path(path)
    above = next(each for each in (folder, *folder.resolve().parents) if each.exists())
    try:
        with TemporaryFile(dir=above):  # the folder is made when there is something to write
            pass
    except OSError as error:
        reason = one_line(error)
        raise InputError(
            f"output_dir {path}: it cannot be written to ({reason}); give another --output_dir."
        ) from None
    found = sorted(each.name for pattern in holds for each in folder.glob(pattern))
    goes_on = (folder / CHECKPOINT).exists()
    # A training that was cut off in its first epoch, after its model and before its checkpoint,
    # starts again.
    starts_again = (folder / HISTORY).exists() and len(read_history(folder)) < 2
    if found and not (resume and (goes_on or starts_again)):
        fix = ", or go on with --resume True" if goes_on else ""
        none = f", and no {CHECKPOINT} to go on from" if resume else ""
        raise InputError(
            f"output_dir {path}: it holds {found[0]}{none}; give another --output_dir{fix}."
        )
