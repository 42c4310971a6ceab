"""Read every file of a datalist before a training does, and list all problems at once."""

from __future__ import annotations

import hashlib
import ntpath
import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from ..bundle.cases import FILES, read_datalist
from ..errors import InputError, one_line
from ..files import some
from ..transforms.read import picture_problem
from ..transforms.volume_checks import (
    UnfitVolume,
    Volume,
    grid_difference,
    grid_problems,
    read_volume,
    value_problems,
)

Fault = tuple[str, str]  # a problem and its fix
Pixels = tuple[np.ndarray, np.ndarray | None]  # of a picture, or of a volume and its affine

_READ_AGAIN = "copy or extract the file again"
_VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class DataProblem:
    """What is wrong, with which item, and what to do about it."""

    item: str
    problem: str
    fix: str


def check_datalist(path: str | Path, dataset_dir: str | Path | None = None) -> list[DataProblem]:
    """Check a datalist and all its files, with one case in memory at a time.

    Volumes must be CTs in Hounsfield units, unless the datalist gives another ``modality``.

    Args:
        path: the datalist.
        dataset_dir: folder that its paths start from; by default the folder of the datalist.

    Returns:
        The problems, in the order of the datalist; an empty list if there is none.

    Raises:
        FileNotFoundError: the datalist or the folder does not exist.
    """
    path = Path(path)
    folder = Path(dataset_dir) if dataset_dir is not None else path.parent
    if not path.is_file():
        raise FileNotFoundError(f"no datalist at {path}: give the path of a datalist.json")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of the data, --dataset-dir")
    try:
        datalist = read_datalist(path, needs_labels=True)
    except InputError as error:
        return [DataProblem(path.name, str(error), "correct the datalist")]

    problems: list[DataProblem] = []

    def note(item: str, *faults: Fault) -> None:
        problems.extend(DataProblem(item, *fault) for fault in faults)

    places: dict[str, list[str]] = defaultdict(list)  # patient -> "fold 2", "testing", ...
    seen: dict[str, str] = {}  # digest of the pixels -> image
    present: set[int] = set()  # values that some label of a volume holds
    ct = str(datalist.get("modality", "CT")).upper() == "CT"
    values = {int(value): name for value, name in datalist["labels"].items()}
    ignored = datalist.get("ignore_label")
    cases = [
        (split, number, case)
        for split in ("training", "testing")
        for number, case in enumerate(datalist[split])
    ]
    for split, number, case in track(
        cases, description="Checking", console=Console(stderr=True), transient=True
    ):
        if faults := list(_check_entry(case, needs_fold=split == "training")):
            note(f"{split}[{number}]", *faults)
            continue
        places[case["patient"]].append("testing" if split == "testing" else f"fold {case['fold']}")
        read: dict[str, Pixels] = {}
        for key in FILES:
            try:
                read[key] = _read_file(folder, case[key])
            except UnfitVolume as error:
                note(case[key], error.args)
        if image := read.get("image"):
            note(case["image"], *_check_image(folder / case["image"], *image, ct=ct))
            digest = _digest(image[0])
            if first := seen.get(digest):
                note(case["image"], (f"same pixels as {first}", "keep one of the two"))
            seen.setdefault(digest, case["image"])
        if label := read.get("label"):
            held = set(np.unique(label[0]).tolist()) - {ignored}
            note(case["label"], *_check_label(folder / case["label"], *label, held, values))
            if label[1] is not None:
                present |= held - {0}
        if image and label and (how := _compare_grids(image, label)):
            fix = "export the mask again with one channel, or resample it to the image"
            note(case["label"], (f"is not on the grid of its image: {how}", fix))
    for patient, where in places.items():
        if len(distinct := sorted(set(where))) > 1:
            note(patient, (f"patient in {' and '.join(distinct)}", "keep each patient in one"))
    # A patient may lack a structure, such as a tumour; all patients may not.
    if present and (missing := [values[value] for value in sorted(values.keys() - present - {0})]):
        note(path.name, (f"no label holds {' or '.join(missing)}", 'correct its "labels"'))
    return problems


def _check_entry(case: Any, *, needs_fold: bool) -> Iterator[Fault]:
    """Yield the faults of an entry by itself."""
    if not isinstance(case, dict):
        yield f"is {case!r}", 'write {"image": ..., "label": ..., "patient": ...}'
        return
    for key in (*FILES, "patient"):
        value = case.get(key)
        if not isinstance(value, str) or not value:
            yield f'"{key}" is {value!r}', f'give "{key}" as a string'
        elif key != "patient" and _escapes(value):
            yield f'"{key}" {value} leaves the dataset folder', "give a path inside it"
    fold = case.get("fold")
    if needs_fold and (not isinstance(fold, int) or isinstance(fold, bool) or fold < 0):
        yield f'"fold" is {fold!r}', 'give "fold" as a number, 0 to 4'


def _escapes(path: str) -> bool:
    """Tell whether the text of a path leaves its folder; links in the folder are allowed."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    return plain.startswith(("/", "../")) or plain == ".." or bool(ntpath.splitdrive(path)[0])


def _read_file(folder: Path, name: str) -> Pixels:
    """Read all pixels of a picture ``(H, W[, C])``, or a NIfTI volume with its affine.

    Raises:
        UnfitVolume: it is something else, or cannot be read.
    """
    path = folder / name
    if path.is_dir():
        raise UnfitVolume("is a folder", "convert a series: data prepare dicom")
    if not path.is_file():
        raise UnfitVolume("missing file", f"put it below {folder}, or set --dataset-dir")
    try:
        if name.lower().endswith(_VOLUMES):
            return read_volume(path)
        with Image.open(path) as picture:
            return np.asarray(picture), None
    except UnfitVolume:
        raise
    except Exception as error:  # readers raise about anything on a broken file
        raise UnfitVolume(f"cannot be read: {one_line(error, None)}", _READ_AGAIN) from error


def _digest(image: np.ndarray) -> str:
    digest = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def _check_image(
    path: Path, pixels: np.ndarray, affine: np.ndarray | None, *, ct: bool
) -> Iterator[Fault]:
    if affine is not None:
        yield from grid_problems(path, Volume(pixels, affine))
        yield from value_problems(pixels, ct=ct)
        return
    if pixels.min() == pixels.max():
        yield f"has the value {pixels.min():g} all over", _READ_AGAIN
    if problem := picture_problem(path):
        yield problem


def _check_label(
    path: Path,
    pixels: np.ndarray,
    affine: np.ndarray | None,
    held: set[float],
    values: dict[int, str],
) -> Iterator[Fault]:
    """Yield the faults of a label that holds the values ``held``, by itself."""
    if affine is not None:
        yield from grid_problems(path, Volume(pixels, affine))
    if strange := sorted(held - values.keys()):
        shown = some([f"{value:g}" for value in strange])
        known = ", ".join(map(str, sorted(values)))
        yield f"holds the value {shown}", f"use {known} as in the datalist's labels, and not JPEG"
    missing = [name for value, name in values.items() if value not in held | {0}]
    if not held - {0}:
        yield "is empty", "draw the structure, or remove the case"
    elif missing and affine is None:
        yield f"has no {' and no '.join(missing)}", "draw it, or remove the case"


def _compare_grids(image: Pixels, label: Pixels) -> str:
    """Say how the grids of a label and of its image differ; empty where they do not."""
    (image_pixels, image_affine), (pixels, affine) = image, label
    shape, image_shape = pixels.shape, image_pixels.shape
    if image_affine is None:  # the size of a picture (H, W[, C]) as people say it: width first
        shape, image_shape = shape[1::-1] + shape[2:], image_shape[1::-1]
    return grid_difference(shape, affine, image_shape, None if affine is None else image_affine)
