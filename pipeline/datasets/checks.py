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
from ..transforms.read import picture_problem
from ..transforms.volume_checks import (
    UnfitVolume,
    Volume,
    grid_difference,
    grid_problems,
    read_volume,
    value_problems,
)

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
    places: dict[str, list[str]] = defaultdict(list)  # patient -> "fold 2", "testing", ...
    seen: dict[str, str] = {}  # digest of the pixels -> image
    present: set[int] = set()  # values that some label of a volume holds
    ct = str(datalist.get("modality", "CT")).upper() == "CT"
    values = {int(value): name for value, name in datalist["labels"].items()}
    cases = [
        (split, number, case)
        for split in ("training", "testing")
        for number, case in enumerate(datalist[split])
    ]
    for split, number, case in track(
        cases, description="Checking", console=Console(stderr=True), transient=True
    ):
        entry = f"{split}[{number}]"
        if malformed := list(_check_entry(entry, case, needs_fold=split == "training")):
            problems += malformed
            continue
        places[case["patient"]].append("testing" if split == "testing" else f"fold {case['fold']}")
        problems += _check_case(folder, case, values, seen=seen, present=present, ct=ct)
    for patient, where in places.items():
        if len(distinct := sorted(set(where))) > 1:
            problems.append(
                DataProblem(
                    patient, f"patient in {' and '.join(distinct)}", "keep each patient in one"
                )
            )
    # A patient may lack a structure, such as a tumour; all patients may not.
    if present and (missing := [values[value] for value in sorted(values.keys() - present - {0})]):
        problems.append(
            DataProblem(path.name, f"no label holds {' or '.join(missing)}", 'correct its "labels"')
        )
    return problems


def _check_entry(entry: str, case: Any, *, needs_fold: bool) -> Iterator[DataProblem]:
    """Yield the problems of an entry by itself."""
    if not isinstance(case, dict):
        yield DataProblem(
            entry, f"is {case!r}", 'write {"image": ..., "label": ..., "patient": ...}'
        )
        return
    for key in (*FILES, "patient"):
        value = case.get(key)
        if not isinstance(value, str) or not value:
            yield DataProblem(entry, f'"{key}" is {value!r}', f'give "{key}" as a string')
        elif key != "patient" and _escapes(value):
            yield DataProblem(
                entry, f'"{key}" {value} leaves the dataset folder', "give a path inside it"
            )
    fold = case.get("fold")
    if needs_fold and (not isinstance(fold, int) or isinstance(fold, bool) or fold < 0):
        yield DataProblem(entry, f'"fold" is {fold!r}', 'give "fold" as a number, 0 to 4')


def _escapes(path: str) -> bool:
    """Tell whether the text of a path leaves its folder; links in the folder are allowed."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    return plain.startswith(("/", "../")) or plain == ".." or bool(ntpath.splitdrive(path)[0])


def _check_case(
    folder: Path,
    case: dict,
    values: dict[int, str],
    *,
    seen: dict[str, str],
    present: set[int],
    ct: bool,
) -> Iterator[DataProblem]:
    """Yield the problems of the pixels.

    ``seen`` and ``present`` gather what is compared across cases.
    """
    read: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for key in FILES:
        path = folder / case[key]
        if path.is_dir():
            yield DataProblem(case[key], "is a folder", "convert a series: data prepare dicom")
            continue
        if not path.is_file():
            yield DataProblem(
                case[key], "missing file", f"put it below {folder}, or set --dataset-dir"
            )
            continue
        try:
            read[key] = _read_pixels(path)
        except UnfitVolume as error:
            yield DataProblem(case[key], *error.args)
            continue
        except Exception as error:  # readers raise about anything on a broken file
            yield DataProblem(case[key], f"cannot be read: {one_line(error, None)}", _READ_AGAIN)
            continue
        pixels, affine = read[key]
        if affine is None:
            if key == "image":
                yield from _photograph_problems(path, case[key], pixels)
            continue
        found = list(grid_problems(path, Volume(pixels, affine)))
        if key == "image":
            found += value_problems(pixels, ct=ct)
        for problem, fix in found:
            yield DataProblem(case[key], problem, fix)

    if "image" in read:
        image, _ = read["image"]
        digest = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
        digest.update(np.ascontiguousarray(image))
        if first := seen.get(digest.hexdigest()):
            yield DataProblem(case["image"], f"same pixels as {first}", "keep one of the two")
        seen.setdefault(digest.hexdigest(), case["image"])
    if "label" not in read:
        return
    label, affine = read["label"]
    if "image" in read:
        image, image_affine = read["image"]
        if image_affine is None:
            grids = _width_first(label.shape), None, _width_first(image.shape)[:2], None
        else:
            grids = label.shape, affine, image.shape, None if affine is None else image_affine
        if how := grid_difference(*grids):
            yield DataProblem(
                case["label"],
                f"is not on the grid of its image: {how}",
                "export the mask again with one channel, or resample it to the image",
            )
    held = set(np.unique(label).tolist())
    if strange := sorted(held - values.keys()):
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        yield DataProblem(
            case["label"],
            f"holds the value {shown}{more}",
            f"use {', '.join(map(str, sorted(values)))} as the datalist's labels say, and not JPEG",
        )
    if not held - {0}:
        yield DataProblem(case["label"], "is empty", "draw the structure, or remove the case")
    elif affine is not None:
        present.update(held)
    elif missing := [name for value, name in values.items() if value not in held | {0}]:
        yield DataProblem(
            case["label"], f"has no {' and no '.join(missing)}", "draw it, or remove the case"
        )


def _photograph_problems(path: Path, item: str, pixels: np.ndarray) -> Iterator[DataProblem]:
    if pixels.min() == pixels.max():
        yield DataProblem(item, f"has the value {pixels.min():g} all over", _READ_AGAIN)
    if problem := picture_problem(path):
        yield DataProblem(item, *problem)


def _read_pixels(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read all pixels of a picture ``(H, W[, C])``, or a NIfTI volume with its affine."""
    if path.name.lower().endswith(_VOLUMES):
        return read_volume(path)
    with Image.open(path) as picture:
        return np.asarray(picture), None


def _width_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The size of a picture ``(H, W[, C])`` as people say it, ``(W, H[, C])``."""
    return shape[1::-1] + shape[2:]
