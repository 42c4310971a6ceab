"""Which images a run takes: those of a datalist's section, or of a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

CASE = ("image", "label", "fold")  # what tells two trainings' cases apart
PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def select_cases(
    datalist: str, dataset_dir: str, section: str, *, fold: int = 0
) -> list[dict[str, Any]]:
    """The image and the label of each case of one section of a datalist, with their paths.

    Args:
        datalist: a JSON file with the lists ``training`` (each case with its ``fold``) and,
            optionally, ``testing``; paths in it are relative to ``dataset_dir``.
        dataset_dir: the dataset's folder.
        section: ``"training"`` for the cases outside of ``fold``, ``"validation"`` for those in
            it, ``"testing"`` for the held-out cases.
        fold: the fold that is held out of training.

    Raises:
        InputError: for a missing folder or file, a malformed or empty list, an unknown section,
            a fold nobody is in, fewer cases to validate than processes of ``torchrun``.
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
        if not all(isinstance(case[key], str) for key in ("image", "label")):
            raise InputError(f"datalist {datalist}: in the case {case} a path is no text.")
    if section != "testing":
        folds = sorted({case.get("fold") for case in cases}, key=str)
        if fold not in folds:
            raise InputError(f"fold {fold}: datalist {datalist} has the folds {folds}.")
        cases = [case for case in cases if (case.get("fold") == fold) == (section == "validation")]
        if not cases:
            raise InputError(f"datalist {datalist}: no case is left for {section} of fold {fold}.")
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if section != "training" and len(cases) < processes:
        raise InputError(
            f"datalist {datalist}: {len(cases)} cases for {section} cannot be shared by "
            f"{processes} processes; start {len(cases)} at most."
        )
    located = []
    for case in cases:
        paths = {key: str(root / case[key]) for key in ("image", "label")}
        for key, path in paths.items():
            if not Path(path).is_file():
                raise InputError(f"{key} {path} of datalist {datalist}: there is no such file.")
        located.append(paths)  # what else it says does not fit into a batch
    return located


def find_images(folder: str, *, suffixes: Sequence[str] = PHOTOGRAPHS) -> list[dict[str, str]]:
    """The images of a folder, as ``[{"image": path}, ...]`` by name.

    Args:
        folder: its own files count, not those of folders in it.
        suffixes: how their names end.

    Raises:
        InputError: when there is no such folder, no image in it, or two of one name, whose masks
            would be one file.
    """
    if not Path(folder).is_dir():
        raise InputError(f"dataset_dir {folder}: there is no such folder; give --dataset_dir.")
    kinds = tuple(suffixes)
    paths = sorted(
        path
        for path in Path(folder).iterdir()
        if path.name.lower().endswith(kinds) and not path.name.startswith(".")
    )
    if not paths:
        raise InputError(f"dataset_dir {folder}: no image in it ends with {', '.join(kinds)}.")
    names: dict[str, Path] = {}
    for path in paths:
        ending = max((kind for kind in kinds if path.name.lower().endswith(kind)), key=len)
        other = names.setdefault(path.name.lower().removesuffix(ending), path)
        if other != path:
            raise InputError(
                f"dataset_dir {folder}: the masks of {other.name} and {path.name} would be one "
                "file; rename one, or use `python -m pipeline predict`."
            )
    return [{"image": str(path)} for path in paths]


def cases_digest(datalist: str) -> str:
    """Of the training's cases and their folds; empty without a datalist, as on a server."""
    try:
        cases = json.loads(Path(datalist).read_text(encoding="utf-8"))["training"]
        known = sorted(json.dumps([case.get(key) for key in CASE]) for case in cases)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""  # which `select_cases` says
    return f"sha256 {hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]}"
