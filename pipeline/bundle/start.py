"""What must be right before a bundle run starts, each fault ended by one clear line."""

from __future__ import annotations

import difflib
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.dummy import DummyProcess
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from ..errors import InputError, one_line
from ..networks.weights import load_weights
from .configs import texts
from .running import READ_BY_MONAI, overrides, running_config
from .settings import check_settings


def check_run() -> None:
    """Refuse what the running bundle cannot run with, before any work.

    MONAI accepts any new top-level id in silence, so a mistyped override would train with the
    default. Called in the config's ``initialize``; from then on an ``InputError`` that ends the
    program is printed as one line instead of a traceback.

    Raises:
        InputError: names an override that nothing reads, such as ``--epohcs 1``, and its nearest
            neighbour; a JSON word that stays a text; a value that cannot be, see
            ``check_settings``; or how to start several processes.
    """
    show_input_errors_as_one_line()
    config = running_config()
    read = config.keys() & (READ_BY_MONAI | set(re.findall(r"@(\w+)", " ".join(texts(config)))))
    for name, value in overrides().items():
        if value in ("true", "false", "null"):
            # The command line would pass on the text, which counts as true.
            as_python = {"true": "True", "false": "False", "null": "'$None'"}[value]
            raise InputError(f"--{name} {value}: here it is a text; write --{name} {as_python}.")
        if re.split("#|::", name.lstrip("+"))[0] not in read:
            near = difflib.get_close_matches(name, read, n=1, cutoff=0.5)
            hint = f"did you mean --{near[0]}?" if near else f"it has {', '.join(sorted(read))}."
            raise InputError(f"--{name} {value}: nothing in the bundle reads this id; {hint}")
        if isinstance(value, str) and "#" in value and value[0] not in "$@%":
            raise InputError(f"--{name} {value}: MONAI takes the # for a part of an id; rename it.")
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
    """Print an ``InputError``, wherever in a chain of causes, and Ctrl-C without the traceback."""
    if getattr(sys.excepthook, "prints_input_errors", False):
        return
    previous = sys.excepthook

    def hook(kind: type, error: BaseException, traceback: Any) -> None:
        # A thread that still reads a case when Python ends would abort the program.
        for thread in threading.enumerate():
            if isinstance(thread, DummyProcess):
                thread.join(timeout=30)
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            return
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            previous(kind, error, traceback)
        else:
            print(f"error: {cause}", file=sys.stderr)

    hook.prints_input_errors = True
    sys.excepthook = hook


def existing_file(path: str, what: str, fix: str) -> str:
    """``path`` itself.

    Raises:
        InputError: when there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(f"{what} {path}: there is no such file; {fix}")
    return path


def load_pretrained(network: torch.nn.Module, path: str) -> None:
    """Load the weights of an earlier training into ``network``; an empty path loads nothing.

    Raises:
        InputError: when there is no such file, or it holds another network.
    """
    if not path:
        return
    existing_file(path, "pretrained", "give --pretrained, the model.pt of an earlier training.")
    fix = "give the overlays and the channels, strides and gates that it was trained with"
    load_weights(network, path, option="pretrained", fix=fix)


def unused_folder(path: str, holds: Sequence[str], *, resume: bool = False) -> str:
    """``path`` itself, a folder for a run's files.

    Args:
        path: the folder.
        holds: names of files that an earlier run would have left, with ``*`` for any letters.
        resume: the earlier run goes on from its ``checkpoint.pt``, and may have them.

    Raises:
        InputError: when it holds a file of an earlier run, which would be overwritten, or cannot
            be written to.
    """
    above = next(each for each in (Path(path), *Path(path).resolve().parents) if each.exists())
    try:
        with TemporaryFile(dir=above):  # the folder is made when there is something to write
            pass
    except OSError as error:
        reason = one_line(error)
        raise InputError(
            f"output_dir {path}: it cannot be written to ({reason}); give another --output_dir."
        ) from None
    found = sorted(each.name for name in holds for each in Path(path).glob(name))
    goes_on = (Path(path) / "checkpoint.pt").exists()
    # One that was cut off in its first epoch, between its model and its checkpoint, begins again.
    history = Path(path) / "history.csv"
    begun = history.exists() and len(history.read_text().splitlines()) <= 2
    if found and not (resume and (goes_on or begun)):
        fix = ", or go on with --resume True" if goes_on else ""
        none = ", and no checkpoint.pt to go on from" if resume else ""
        raise InputError(
            f"output_dir {path}: it holds {found[0]}{none}; give another --output_dir{fix}."
        )
    return path
