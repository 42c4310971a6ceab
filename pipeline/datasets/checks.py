"""Read every file of a datalist before any training does, and say all that is wrong at once."""

from __future__ import annotations

import hashlib
import ntpath
import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import one_line
from .datalist import read_datalist
from .volume_checks import UnfitVolume, Volume, grid_problems, read_volume, value_problems

if TYPE_CHECKING:
    import numpy as np

_READ_AGAIN = "copy or extract the file again"
_VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Problem:
    """What is wrong, with which item, and what to do about it."""

    item: str
    problem: str
    fix: str


def check_datalist(path: str | Path, dataset_dir: str | Path | None = None) -> list[Problem]:
    """Check a datalist and all its files; one case at a time is in memory.

    Volumes count as CTs, so in Hounsfield units, unless the datalist has another ``modality``.

    Args:
        path: the datalist.
        dataset_dir: folder that its paths start from; by default the folder of the datalist.

    Returns:
        The problems, in the order of the datalist; an empty list if there is none.

    Raises:
        FileNotFoundError: there is no such datalist or folder.
    """
    from rich.console import Console
    from rich.progress import track

    path = Path(path)
    folder = Path(dataset_dir) if dataset_dir is not None else path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of the data, --dataset-dir")
    try:
        datalist = read_datalist(path)
    except ValueError as error:
        return [Problem(path.name, str(error), "correct the datalist")]

    problems: list[Problem] = []
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
        problems += _check_files(folder, case, values, seen=seen, present=present, ct=ct)
    for patient, where in places.items():
        if len(distinct := sorted(set(where))) > 1:
            problems.append(
                Problem(patient, f"patient in {' and '.join(distinct)}", "keep a patient in one")
            )
    # A patient may lack a structure, such as a tumour; all patients may not.
    if present and (missing := [values[value] for value in sorted(values.keys() - present - {0})]):
        problems.append(
            Problem(path.name, f"no label holds {' or '.join(missing)}", 'correct its "labels"')
        )
    return problems


def _check_entry(entry: str, case: Any, *, needs_fold: bool) -> Iterator[Problem]:
    """Problems of the JSON alone."""
    if not isinstance(case, dict):
        yield Problem(entry, f"is {case!r}", 'write {"image": ..., "label": ..., "patient": ...}')
        return
    for key in ("image", "label", "patient"):
        value = case.get(key)
        if not isinstance(value, str) or not value:
            yield Problem(entry, f'"{key}" is {value!r}', f'give "{key}" as a text')
        elif key != "patient" and _escapes(value):
            yield Problem(
                entry, f'"{key}" {value} leaves the dataset folder', "give a path inside it"
            )
    fold = case.get("fold")
    if needs_fold and (not isinstance(fold, int) or isinstance(fold, bool) or fold < 0):
        yield Problem(entry, f'"fold" is {fold!r}', 'give "fold" as a number, 0 to 4')


def _escapes(path: str) -> bool:
    """Whether a path leaves its folder by its text; links inside the folder are the user's own."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    return plain.startswith(("/", "../")) or plain == ".." or bool(ntpath.splitdrive(path)[0])


def _check_files(
    folder: Path,
    case: dict,
    values: dict[int, str],
    *,
    seen: dict[str, str],
    present: set[int],
    ct: bool,
) -> Iterator[Problem]:
    """Problems of the pixels; ``seen`` and ``present`` gather what is compared over all cases."""
    import numpy as np

    from ..transforms.same_grid import TOLERANCE, corner_shift

    read: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for key in ("image", "label"):
        path = folder / case[key]
        if path.is_dir():
            yield Problem(case[key], "is a folder", "convert a series: data prepare dicom")
            continue
        if not path.is_file():
            yield Problem(case[key], "missing file", f"put it below {folder}, or set --dataset-dir")
            continue
        try:
            read[key] = _read(path)
        except UnfitVolume as error:
            yield Problem(case[key], *error.args)
            continue
        except Exception as error:  # readers raise about anything on a broken file
            yield Problem(case[key], f"cannot be read: {one_line(error, None)}", _READ_AGAIN)
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
            yield Problem(case[key], problem, fix)

    if "image" in read:
        image, _ = read["image"]
        digest = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
        digest.update(np.ascontiguousarray(image))
        if first := seen.get(digest.hexdigest()):
            yield Problem(case["image"], f"same pixels as {first}", "keep one of the two")
        seen.setdefault(digest.hexdigest(), case["image"])
    if "label" not in read:
        return
    label, affine = read["label"]
    if "image" in read:
        image, image_affine = read["image"]
        spatial = image.shape[:2] if image_affine is None else image.shape
        if label.shape != spatial:
            yield Problem(
                case["label"],
                f"label is {_size(label.shape)}, image is {_size(spatial)}",
                "export the mask again: one channel, on the grid of its image",
            )
        elif (
            affine is not None
            and label.ndim == 3
            and (apart := corner_shift(affine, image_affine, label.shape)) > TOLERANCE
        ):
            yield Problem(
                case["label"],
                f"its affine is not that of the image: a corner is {apart:.3g} mm apart",
                "resample it to the image",
            )
    held = set(np.unique(label).tolist())
    if strange := sorted(held - values.keys()):
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        yield Problem(
            case["label"],
            f"holds the value {shown}{more}",
            f"use {', '.join(map(str, sorted(values)))} as the datalist's labels say; no JPEG",
        )
    if not held - {0}:
        yield Problem(case["label"], "is empty", "draw the structure, or remove the case")
    elif affine is not None:
        present.update(held)
    elif missing := [name for value, name in values.items() if value not in held | {0}]:
        yield Problem(
            case["label"], f"has no {' and no '.join(missing)}", "draw it, or remove the case"
        )


def _photograph_problems(path: Path, item: str, pixels: np.ndarray) -> Iterator[Problem]:
    from ..transforms.read import picture_problem

    if pixels.min() == pixels.max():
        yield Problem(item, f"has the value {pixels.min():g} all over", _READ_AGAIN)
    if problem := picture_problem(path):
        yield Problem(item, *problem)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """All pixels of a picture ``(H, W[, C])``, or of a NIfTI volume with its affine."""
    import numpy as np

    if path.name.lower().endswith(_VOLUMES):
        return read_volume(path)
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture), None


def _size(shape: tuple[int, ...]) -> str:
    """``(H, W)`` as people say it, width first; other shapes as they are."""
    return f"{shape[1]} x {shape[0]} px" if len(shape) == 2 else " x ".join(map(str, shape))
