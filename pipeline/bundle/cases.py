"""Which images a run takes: those of a datalist's section, or of a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json
from ..transforms.modality import read_modality
from .channels import ChannelFiles, group_channels

FILES = ("image", "label")  # of a case
ALL = "all"  # the fold of a training on every case
PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_DRAW = "draw phantoms with `python -m pipeline data phantom`"


def read_datalist(path: str | Path, *, needs_labels: bool = False) -> dict[str, Any]:
    """Read a datalist: an object with the lists ``training`` and ``testing``, not both empty.

    What it says of the dataset is checked where it is there: ``modality``, whose spelling becomes
    that of ``MODALITIES``, ``channel_names``, ``labels``, ``regions`` and ``ignore_label``. The
    cases in the lists are not checked.

    Args:
        path: JSON file; a list that it lacks is empty in the result.
        needs_labels: whether it must name the values of its masks under ``labels``.

    Raises:
        InputError: there is no such file, it is not JSON, or one of these parts is wrong.
    """
    if not Path(path).is_file():
        raise InputError(
            f"datalist {path}: there is no such file; give the path of one, in training by "
            f"--dataset_dir or --datalist, or {_DRAW}."
        )
    content = read_json(Path(path), "correct it, or write it anew.")
    for section in ("training", "testing"):
        if content.get(section) is None:
            content[section] = []
        if not isinstance(content[section], list):
            raise InputError(f'datalist {path}: "{section}" is not a list; list the cases there.')
    if not content["training"] and not content["testing"]:
        raise InputError(f'datalist {path}: it has no cases; fill "training" or "testing".')
    try:
        check_description(content, needs_labels=needs_labels)
    except InputError as error:
        raise InputError(f"datalist {path}: {error}") from None
    return content


def check_description(content: dict[str, Any], *, needs_labels: bool) -> None:
    """Check what a datalist says of its dataset, and spell its modality as the table does."""
    labels = content.get("labels")
    named = isinstance(labels, dict) and all(
        value.isdecimal() and _is_text(name) for value, name in labels.items()
    )
    needs_labels = needs_labels or content.get("regions") is not None
    if needs_labels and (not named or "0" not in labels):
        raise InputError(
            f'"labels" is {labels!r}; give each value of a mask a name, '
            'such as {"0": "background", "1": "lesion"}.'
        )
    if (modality := content.get("modality")) is not None:
        content["modality"] = read_modality(modality)
    if (names := content.get("channel_names")) is not None and not (
        isinstance(names, list) and names and all(map(_is_text, names))
    ):
        raise InputError(
            f'"channel_names" is {names!r}; name each input channel, such as ["T1", "T2"].'
        )
    if (ignored := content.get("ignore_label")) is not None and not _is_value(ignored):
        raise InputError(
            f'"ignore_label" is {ignored!r}; give the value that is not counted, such as 255.'
        )
    if (regions := content.get("regions")) is None:
        return
    from ..transforms.regions import Regions  # loads MONAI

    known = {int(value) for value in labels} - {0, ignored}
    if strange := sorted(set(Regions(regions).known) - known):
        raise InputError(
            f'"regions" has the value {strange[0]}; use values that "labels" names, except for 0 '
            "and the ignore_label."
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_value(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def files_of(value: str | Sequence[str]) -> list[str]:
    """The files of an image or a label, which may be one, or one for each channel."""
    return [value] if isinstance(value, str) else list(value)


def select_cases(
    datalist: str, dataset_dir: str, section: str, *, fold: int | str = 0
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

    Raises:
        InputError: a folder or file is missing, the list is malformed or empty, the section is
            unknown, the fold has no cases, or a process of ``torchrun`` would validate none.
    """
    if section not in ("training", "validation", "testing"):
        raise InputError(f"section {section}: give training, validation or testing.")
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(
            f"dataset_dir {root}: there is no such folder; give --dataset_dir, or {_DRAW}."
        )
    name = "testing" if section == "testing" else "training"
    read = read_datalist(datalist)
    cases = read[name]
    if not cases:
        raise InputError(f"datalist {datalist}: the list {name!r} is missing or empty.")
    channels = read.get("channel_names")
    for case in cases:
        if not isinstance(case, dict) or not case.keys() >= set(FILES):
            raise InputError(f"datalist {datalist}: the case {case} lacks an image or a label.")
        image, label = (case[key] for key in FILES)
        listed = isinstance(image, list) and image and all(map(_is_text, image))
        if not (_is_text(image) or listed) or not _is_text(label):
            raise InputError(f"datalist {datalist}: a path in the case {case} is not a string.")
        if listed and channels and len(image) != len(channels):
            raise InputError(
                f"datalist {datalist}: the case {case} has {len(image)} images; give one for each "
                f"of channel_names, {', '.join(channels)}."
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
            raise InputError(f"datalist {datalist}: no case is left for {section} of fold {fold}.")
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if section != "training" and len(cases) < processes:
        raise InputError(
            f"datalist {datalist}: {len(cases)} cases for {section} cannot be shared by "
            f"{processes} processes; start {len(cases)} at most."
        )
    # Other entries of a case are left out: they cannot be collated into a batch.
    located: list[dict[str, Any]] = []
    for case in cases:
        paths = {key: [str(root / file) for file in files_of(case[key])] for key in FILES}
        for key in FILES:
            if gone := next((path for path in paths[key] if not Path(path).is_file()), ""):
                raise InputError(f"{key} {gone} of datalist {datalist}: there is no such file.")
        located.append(
            {key: paths[key] if isinstance(case[key], list) else paths[key][0] for key in FILES}
        )
    return located


def find_images(
    folder: str, *, suffixes: Sequence[str] = PHOTOGRAPHS, channel_names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """List the images of a folder by name, as ``[{"image": path}, ...]``.

    An image of several files, one for each channel, gives a list of paths; see `group_channels`.

    Args:
        folder: where the images are; folders inside it are not searched.
        suffixes: how their names end.
        channel_names: of the channels of an image.

    Raises:
        InputError: there is no such folder, it holds no image, an image lacks a channel, or two
            images have one name, so that their masks would be one file.
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
