"""Which images a run takes: those of a datalist's section, or of a folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ADVICE, InputError
from ..files import some
from ..transforms.volume_file import list_files
from .case_files import find_faults
from .channels import PICTURES, VOLUMES, ChannelFiles, group_channels
from .listing import (
    ALL,
    DRAW,
    FILES,
    SOFT,
    check_cases,
    description_faults,
    file_fault,
    files_of,
    find_leaks,
    read_datalist,
)

logger = logging.getLogger(__name__)


def select_cases(
    datalist: str, dataset_dir: str, section: str, *, fold: int | str = 0, soft: bool = False
) -> list[dict[str, Any]]:
    """Choose the cases of one section of a datalist, each as the paths of image and label.

    An image of several files, one for each channel, gives a list of paths.

    Args:
        datalist: a JSON file with the lists ``training`` (each case with its ``fold``) and,
            optionally, ``testing``; paths in it are relative to ``dataset_dir``.
        dataset_dir: the dataset's folder.
        section: ``"training"`` for the cases outside ``fold``, ``"validation"`` for those in
            it, ``"testing"`` for the held-out cases.
        fold: the fold that is held out of training; ``"all"`` holds out none, so that every case
            is for training, and ``"validation"`` is an empty list.
        soft: whether each case also gives its ``soft_label``, paths by label value.

    Raises:
        InputError: a folder or file is missing, the list is malformed or empty, a patient is in two
            parts, the header of a file does not fit, the section is unknown, the fold has no cases,
            a soft label is asked for and absent, or a process of ``torchrun`` would validate none.
    """
    from .running import running_config

    if section not in ("training", "validation", "testing"):
        raise InputError(f"section {section}: give training, validation or testing.")
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(
            f"dataset_dir {root}: there is no such folder; give --dataset_dir, or {DRAW}."
        )
    name = "testing" if section == "testing" else "training"
    read = read_datalist(datalist)
    cases = read[name]
    if not cases:
        raise InputError(
            f'datalist {datalist}: "{name}" has no cases; list them there, or give another section.'
        )
    for problem, fix in description_faults(read, running_config()):
        raise InputError(f"datalist {datalist}: {problem}; {fix}.")
    channels = read.get("channel_names") or ()
    check_cases(cases, channels=channels, source=f"datalist {datalist}")
    for patient, where in find_leaks(read).items():
        raise InputError(
            f"datalist {datalist}: patient {patient} is in {' and '.join(where)}; keep each in one."
        )
    if fold == ALL and section == "validation":
        return []
    if fold != ALL and section != "testing":
        folds = sorted({case.get("fold") for case in cases}, key=str)
        if fold not in folds:
            raise InputError(
                f"fold {fold}: datalist {datalist} has the folds {folds}; give one, or all."
            )
        cases = [case for case in cases if (case.get("fold") == fold) == (section == "validation")]
        if not cases:
            raise InputError(
                f"datalist {datalist}: no case is left for {section} of fold {fold}; give another "
                "--fold."
            )
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if section != "training" and len(cases) < processes:
        raise InputError(
            f"datalist {datalist}: {len(cases)} cases for {section} cannot be shared by "
            f"{processes} processes; start {len(cases)} at most."
        )
    # Other entries of a case are left out: they cannot be collated into a batch.
    located: list[dict[str, Any]] = []
    for case in cases:
        paths: dict[str, list[str]] = {}
        for key in FILES:
            paths[key] = [str(root / name) for name in files_of(case[key])]
            for name in files_of(case[key]):
                if fault := file_fault(root, name):
                    where = f"{key} {root / name} of datalist {datalist}"
                    raise InputError("{}: {}; {}.".format(where, *fault))
        images, (label,) = (list(map(Path, paths[key])) for key in FILES)
        modality = read.get("modality", "CT")
        for path, problem, fix in find_faults(images, label, modality=modality, channels=channels):
            raise InputError(f"{path}: it {problem}; {fix}. {ADVICE}")
        located.append(
            {key: paths[key] if isinstance(case[key], list) else paths[key][0] for key in FILES}
        )
        if soft:
            located[-1][SOFT] = _find_shares(case, root, f"datalist {datalist}")
    return located


def _find_shares(case: dict[str, Any], root: Path, source: str) -> dict[str, str]:
    """The paths of the soft label of a case, by label value."""
    if not case.get(SOFT):
        raise InputError(
            f"{source}: the case {case} has no {SOFT}, which soft_labels asks for; add it, or give "
            "--soft_labels False."
        )
    for name in case[SOFT].values():
        if fault := file_fault(root, name):
            raise InputError("{}: {}; {}.".format(f"{SOFT} {root / name} of {source}", *fault))
    return {value: str(root / name) for value, name in case[SOFT].items()}


def find_images(
    folder: str,
    *,
    spatial_dims: int = 2,
    channel_names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """List the images of a folder by name, as ``[{"image": path}, ...]``.

    An image of several files, one for each channel, gives a list of paths; see `group_channels`.
    A warning names what is left out.

    Args:
        folder: where the images are; folders inside it are not searched.
        spatial_dims: 2 for pictures, 3 for volumes.
        channel_names: of the channels of an image.

    Raises:
        InputError: there is no such folder, it holds no image, an image lacks a channel, or two
            images have one name, so that their masks would be one file.
    """
    if not Path(folder).is_dir():
        raise InputError(f"dataset_dir {folder}: there is no such folder; give --dataset_dir.")
    kinds = VOLUMES if spatial_dims == 3 else PICTURES
    every = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    paths = [path for path in every if path.name.lower().endswith(kinds) and path.exists()]
    parts = {part for path in paths for part in list_files(path)}
    if left_out := [path.name for path in every if path not in parts]:
        shown = f"{len(left_out)} that end with none of {', '.join(kinds)}: {some(left_out)}"
        logger.warning(f"dataset_dir {folder}: left out {shown}")
    if not paths:
        raise InputError(
            f"dataset_dir {folder}: no image in it ends with {', '.join(kinds)}; give another "
            "--dataset_dir."
        )
    images = group_channels(paths, channel_names, suffixes=kinds)
    names: dict[str, ChannelFiles] = {}
    for image in images:
        if image.problem:
            raise InputError(f"dataset_dir {folder}: image {image.path.name}: {image.problem}.")
        other = names.setdefault(image.path.name.lower(), image)
        if other != image:
            raise InputError(
                f"dataset_dir {folder}: the masks of {other.files[0].name} and "
                f"{image.files[0].name} would be one file; rename one, or use "
                "`python -m pipeline predict`."
            )
    found = [[str(path) for path in image.files] for image in images]
    return [{"image": files if len(files) > 1 else files[0]} for files in found]


def cases_digest(datalist: str) -> str:
    """Digest the training's cases and their folds; empty where there are none, as on a server.

    What is wrong with a datalist is for `select_cases` to say.
    """
    try:
        cases = read_datalist(datalist)["training"]
        known = sorted(json.dumps([case.get(key) for key in (*FILES, "fold")]) for case in cases)
    except (TypeError, InputError, AttributeError):
        return ""
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    return f"sha256 {digest[:12]}" if known else ""
