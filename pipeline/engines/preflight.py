"""What must be right before a bundle run starts, each fault ended by one clear line."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from monai.bundle import ConfigWorkflow, create_workflow
from monai.bundle import run as bundle_run
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS, ID_SEP_KEY

from ..errors import InputError
from ..json_file import read_json
from .inference_config import inference_config
from .weights import load_weights

# Ids that MONAI itself reads, so a config need not refer to them.
READ_BY_MONAI = {
    *("_meta_", "imports", "initialize", "run", "finalize", "displayable_configs"),
    *(p["id"].split(ID_SEP_KEY)[0] for p in (*TrainProperties.values(), *InferProperties.values())),
    *(name for tool in DEFAULT_EXP_MGMT_SETTINGS.values() for name in tool["configs"]),
}


def check_run() -> None:
    """Refuse an override of the running bundle that nothing reads, such as ``--epohcs 1``.

    MONAI accepts any new top-level id in silence, so a mistyped override would train with the
    default. Called in the config's ``initialize``; from then on an ``InputError`` that ends the
    program is printed as one line instead of a traceback.

    Raises:
        InputError: names the id and its nearest neighbour, or a JSON word that stays a text.
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


def running_config() -> dict[str, Any]:
    """The config of the bundle that is being run, overrides and overlays merged.

    An expression in a config cannot see the config it stands in, so this looks up the stack for
    the MONAI workflow that evaluates the expression. Empty outside of one.
    """
    for frame in stack():
        if is_workflow(frame):
            return frame.f_locals["self"].parser.config
    return {}


def running_bundle() -> dict[str, Any]:
    """The bundle that is being run, for its record: config, overrides, tags, files."""
    config = running_config()
    bundle = {"config": config, "overrides": overrides(), "tags": {}, "files": []}
    root = next((f.f_locals["self"].config_root_path for f in stack() if is_workflow(f)), None)
    if root is not None:
        root = Path(root)
        inference = root / "inference.json"
        if inference.exists():
            bundle["inference"] = inference_config(json.loads(inference.read_text()), config)
        metadata = root / "metadata.json"
        version = json.loads(metadata.read_text())["version"] if metadata.exists() else "unknown"
        network = str(config.get("network_def", {}).get("_target_", "unknown")).split(".")[-1]
        names = ("metadata.json", "logging.conf", "inference.json")
        bundle["files"] = [
            str(path.resolve()) for path in map(root.joinpath, names) if path.exists()
        ]
        bundle["tags"] = {
            "pipeline.bundle": (root.parent if root.name == "configs" else root).resolve().name,
            "pipeline.bundle_version": version,
            "pipeline.network": network,
        }
    return bundle


def is_workflow(frame: FrameType) -> bool:
    return isinstance(frame.f_locals.get("self"), ConfigWorkflow)


def overrides() -> dict[str, Any]:
    """The ids that were given to ``monai.bundle run``, with their values, found up the stack.

    The merged config does not tell them from the ids of the files, of which some may rest: one
    that reads ``epochs`` may itself be overridden, or dropped by an overlay.
    """
    own = inspect.signature(ConfigWorkflow).parameters
    # Their names, in MONAI's functions that run the ids ``initialize`` and ``run``.
    names = {create_workflow.__code__: "_args", bundle_run.__code__: "override"}
    for frame in stack():
        if frame.f_code in names:
            given = frame.f_locals[names[frame.f_code]]
            return {name: value for name, value in given.items() if name not in own}
    return {}


def stack() -> Iterator[FrameType]:
    """The calls that led here, the innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def texts(node: Any) -> Iterator[str]:
    """Every string in a config."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)


def show_input_errors_as_one_line() -> None:
    """Print an ``InputError``, wherever in a chain of causes, without the traceback."""
    if getattr(sys.excepthook, "prints_input_errors", False):
        return
    previous = sys.excepthook

    def hook(kind: type, error: BaseException, traceback: Any) -> None:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            previous(kind, error, traceback)
        else:
            print(f"error: {cause}", file=sys.stderr)

    hook.prints_input_errors = True
    sys.excepthook = hook


def select_cases(
    datalist: str, dataset_dir: str, section: str, *, fold: int = 0
) -> list[dict[str, Any]]:
    """The cases of one section of a datalist, with absolute paths.

    Args:
        datalist: a JSON file with the lists ``training`` (each case with its ``fold``) and,
            optionally, ``testing``; paths in it are relative to ``dataset_dir``.
        dataset_dir: the dataset's folder.
        section: ``"training"`` for the cases outside of ``fold``, ``"validation"`` for those in
            it, ``"testing"`` for the held-out cases.
        fold: the fold that is held out of training.

    Raises:
        InputError: for a missing folder or file, a malformed or empty list, an unknown section,
            a fold nobody is in.
    """
    if section not in ("training", "validation", "testing"):
        raise InputError(f"section {section}: give training, validation or testing.")
    root = Path(dataset_dir)
    make = "give --dataset_dir, or make phantoms with `python -m pipeline data phantom`."
    if not root.is_dir():
        raise InputError(f"dataset_dir {root}: there is no such folder; {make}")
    try:
        lists = json.loads(Path(datalist).read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"datalist {datalist}: there is no such file; {make}") from None
    except ValueError as error:
        raise InputError(f"datalist {datalist}: not JSON ({error}).") from None
    name = "testing" if section == "testing" else "training"
    cases = lists.get(name) if isinstance(lists, dict) else None
    if not cases or not isinstance(cases, list):
        raise InputError(f"datalist {datalist}: the list {name!r} is missing or empty.")
    for case in cases:
        if not isinstance(case, dict) or not case.keys() >= {"image", "label"}:
            raise InputError(f"datalist {datalist}: the case {case} lacks an image or a label.")
    if section != "testing":
        folds = sorted({case.get("fold") for case in cases}, key=str)
        if fold not in folds:
            raise InputError(f"fold {fold}: datalist {datalist} has the folds {folds}.")
        cases = [case for case in cases if (case.get("fold") == fold) == (section == "validation")]
        if not cases:
            raise InputError(f"datalist {datalist}: no case is left for {section} of fold {fold}.")
    located = []
    for case in cases:
        paths = {key: str(root / case[key]) for key in ("image", "label")}
        for key, path in paths.items():
            if not Path(path).is_file():
                raise InputError(f"{key} {path} of datalist {datalist}: there is no such file.")
        located.append({**case, **paths})
    return located


def existing_file(path: str, what: str, fix: str) -> str:
    """``path`` itself.

    Raises:
        InputError: when there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(f"{what} {path}: there is no such file; {fix}")
    return path


def as_trained(checkpoint: str, settings: Mapping[str, Any]) -> None:
    """Refuse an evaluation with other settings than the training of a checkpoint had.

    The network fits all the same, so that only its numbers would be wrong.

    Args:
        checkpoint: with the training's ``config.json`` beside it, or nothing is known.
        settings: value by id; None where it does not matter.

    Raises:
        InputError: names the first that differs.
    """
    config = Path(checkpoint).with_name("config.json")
    if not config.is_file():
        return
    trained = read_json(config, "take it away, or give another --ckpt_path.")
    for name, value in settings.items():
        known = trained.get(name)
        if value in (None, known) or known is None or isinstance(known, str):
            continue  # a text is an expression
        raise InputError(
            f"--{name} {value}: {checkpoint} was trained with {known}; give that, or the overlays "
            "of the training once more. A copy of it without its config.json takes any."
        )


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
        holds: names of files that an earlier run would have left.
        resume: the earlier run goes on, and may have.

    Raises:
        InputError: when it holds a file of an earlier run, which would be overwritten.
    """
    found = [name for name in holds if (Path(path) / name).exists()]
    if found and not resume:
        fix = ", or go on with --resume True" if "checkpoint.pt" in found else ""
        raise InputError(f"output_dir {path}: it holds {found[0]}; give another --output_dir{fix}.")
    return path


PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def find_images(folder: str, *, suffixes: Sequence[str] = PHOTOGRAPHS) -> list[dict[str, str]]:
    """The images of a folder, as ``[{"image": path}, ...]`` by name.

    Args:
        folder: its own files count, not those of folders in it.
        suffixes: how their names end.

    Raises:
        InputError: when there is no such folder, or no image in it.
    """
    if not Path(folder).is_dir():
        raise InputError(f"dataset_dir {folder}: there is no such folder; give --dataset_dir.")
    kinds = tuple(suffixes)
    paths = sorted(path for path in Path(folder).iterdir() if path.name.lower().endswith(kinds))
    if not paths:
        raise InputError(f"dataset_dir {folder}: no image in it ends with {', '.join(kinds)}.")
    return [{"image": str(path)} for path in paths]
