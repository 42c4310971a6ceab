"""Read every file of a datalist before a training does, and list all problems at once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.case_files import explain_failure, find_faults
from ..bundle.channels import is_volume
from ..bundle.listing import (
    FILES,
    SECTIONS,
    SOFT,
    Fault,
    description_faults,
    entry_faults,
    file_fault,
    files_of,
    find_leaks,
    is_value,
    read_datalist,
)
from ..errors import ADVICE, InputError
from ..files import some
from ..transforms import ReadImaged, ReadSharesd, SameGridd
from ..transforms.picture import read_mask, read_picture
from ..transforms.volume_checks import value_problems
from ..transforms.volume_file import read_volume
from .progress import show_progress


@dataclass(frozen=True)
class DataProblem:
    """What is wrong, with which item, and what to do about it.

    Attributes:
        item: a file, an entry of the datalist or a patient.
        problem: what is wrong.
        fix: what to do.
        blocks: false for what may be intended.
    """

    item: str
    problem: str
    fix: str
    blocks: bool = True


def check_datalist(
    path: str | Path,
    dataset_dir: str | Path | None = None,
    *,
    bundle: str | Path | None = None,
) -> list[DataProblem]:
    """Check a datalist and all its files, with one case in memory at a time.

    Entries, patients and headers are checked by what a training checks first, and with ``bundle``
    every case is read by that bundle's own transforms. CTs must be in Hounsfield units; volumes
    are CTs unless the datalist gives another ``modality``.

    Args:
        path: the datalist.
        dataset_dir: folder that its paths start from; by default the folder of the datalist.
        bundle: folder of the bundle that is to be trained.

    Returns:
        The problems, in the order of the datalist; an empty list if there is none.

    Raises:
        FileNotFoundError: the datalist or the folder does not exist.
        InputError: the bundle cannot be read.
    """
    path = Path(path)
    folder = Path(dataset_dir) if dataset_dir is not None else path.parent
    if not path.is_file():
        raise FileNotFoundError(
            f"no datalist at {path}: give the path of a datalist.json, or its folder"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of the data, --dataset-dir")
    reader = None
    if bundle is not None:
        from .bundle_reader import BundleReader

        reader = BundleReader(Path(bundle))
    try:
        datalist = read_datalist(path, needs_labels=True)
    except InputError as error:
        return [DataProblem(path.name, str(error), "correct the datalist")]

    problems: list[DataProblem] = []

    def note(item: str, *faults: Fault, blocks: bool = True) -> None:
        problems.extend(DataProblem(item, *fault, blocks) for fault in faults)

    if reader:
        note(path.name, *description_faults(datalist, reader.said))
    reads = reader is not None and not problems
    seen: dict[str, str] = {}  # digest of the pixels -> image
    drawn: dict[str, dict[str, Any]] = {}  # digest of a label that is not empty -> case
    channels = datalist.get("channel_names") or ()
    present: dict[str, set[float]] = defaultdict(set)  # values of the labels, by fold or testing
    cases = [
        (split, number, case) for split in SECTIONS for number, case in enumerate(datalist[split])
    ]
    for split, number, case in show_progress(cases, "Checking"):
        faults = list(entry_faults(case, channels=channels))
        if not faults and split == "training" and not is_value(case.get("fold")):
            faults = [(f'"fold" is {case.get("fold")!r}', 'give "fold" as a number, 0 to 4')]
        if faults:
            note(f"{split}[{number}]", *faults)
            continue
        found = list(_check_headers(folder, case, datalist))
        for name, *fault in found:
            note(name, fault)
        unfit = {name for name, *_ in found}
        names = files_of(case["image"])
        for name in names:
            pixels, fault = _read(folder / name, channels=len(channels))
            if fault and name not in unfit:
                note(name, fault)
            if pixels is not None:
                if is_volume(name):
                    ct = datalist.get("modality", "CT") == "CT"
                    note(name, *value_problems(pixels, ct=ct, alone=len(names) == 1))
                elif pixels.ndim == 3 and len(channels) not in (0, 3):
                    fix = 'save it in grey, or name "channel_names" red, green and blue'
                    note(name, (f"is in colour, and the channels are {', '.join(channels)}", fix))
                digest = _digest(pixels)
                if first := seen.get(digest):
                    note(name, (f"same pixels as {first}", "keep one of the two"))
                seen.setdefault(digest, name)
        name = case["label"]
        pixels, fault = _read(folder / name, is_label=True)
        if fault and name not in unfit:
            note(name, fault)
        if pixels is not None:
            held = set(np.unique(pixels).tolist())
            note(name, *_check_values(held, datalist))
            present[f"fold {case['fold']}" if split == "training" else split] |= held
            if not held - {0, datalist.get("ignore_label")}:
                note(name, ("is empty", "draw the structure, if it is there"), blocks=False)
            elif (other := drawn.setdefault(_digest(pixels), case)) is not case and (
                other.get("patient") is None or other["patient"] != case.get("patient")
            ):
                twin = f"has the same pixels as the label of {files_of(other['image'])[0]}"
                note(name, (twin, "give each image its own label"), blocks=False)
        fit = all(problem.item not in _names(case) for problem in problems if problem.blocks)
        if fit and case.get(SOFT):
            note(case["label"], *_check_shares(folder, case, datalist))
        if reads and fit and (fault := reader.read(folder, case)):
            note(fault[0], fault[1:])
    for patient, where in find_leaks(datalist).items():
        note(patient, (f"patient in {' and '.join(where)}", "keep each patient in one"))
    # A patient may lack a structure, such as a tumour; all patients may not.
    names = {int(value): name for value, name in datalist["labels"].items() if value != "0"}
    trained = set().union(*(held for part, held in present.items() if part != "testing"))
    every = trained | present.get("testing", set())
    if present and (missing := [name for value, name in names.items() if value not in every]):
        note(path.name, (f"no label holds {' or '.join(missing)}", 'correct its "labels"'))
    if reader:
        if trained:
            note(path.name, *reader.find_absent(trained))
        note(path.name, *reader.find_gaps(present), *reader.remark(datalist), blocks=False)
    return problems


def _names(case: Mapping[str, Any]) -> list[str]:
    return [name for key in FILES for name in files_of(case[key])]


def _check_headers(
    folder: Path, case: Mapping[str, Any], datalist: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield the files of a case that are missing or unfit, each with a problem and a fix."""
    named = {folder / name: name for name in _names(case)}
    if gone := [(name, *fault) for name in named.values() if (fault := file_fault(folder, name))]:
        yield from gone
        return
    faults = find_faults(
        [folder / name for name in files_of(case["image"])],
        folder / case["label"],
        modality=datalist.get("modality", "CT"),
        channels=datalist.get("channel_names") or (),
    )
    yield from ((named[path], problem, fix) for path, problem, fix in faults)


def _check_shares(
    folder: Path, case: Mapping[str, Any], datalist: Mapping[str, Any]
) -> Iterator[Fault]:
    """Read the soft label of a case as a training does, and yield what is wrong with it."""
    if gone := [name for name in case[SOFT].values() if file_fault(folder, name)]:
        yield f'"{SOFT}": missing file {some(gone)}', f"put it below {folder}"
        return
    dims = 3 if is_volume(case["label"]) else 2
    own = {0, datalist.get("ignore_label")}
    named = {name: [int(v)] for v, name in datalist["labels"].items() if int(v) not in own}
    data: Any = {
        "label": str(folder / case["label"]),
        SOFT: {value: str(folder / name) for value, name in case[SOFT].items()},
    }
    try:
        for step in (
            ReadImaged("label", spatial_dims=dims, is_label=True, ensure_channel_first=True),
            ReadSharesd(SOFT, datalist.get("regions") or named, dims),
            SameGridd(SOFT, image_key="label"),
        ):
            data = step(data)
    except InputError as error:  # whose end names the command that is running
        yield str(error).removesuffix(ADVICE).strip(), f'correct its "{SOFT}"'


def _read(
    path: Path, *, channels: int = 1, is_label: bool = False
) -> tuple[np.ndarray | None, Fault | None]:
    """Read all pixels of a picture ``(H, W[, C])`` or of a volume, or say why that fails."""
    if not path.is_file():  # which is told already, and a pipe would wait forever
        return None, None
    try:
        if is_volume(path):
            return read_volume(path, channels=channels, is_label=is_label).voxels, None
        return (read_mask if is_label else read_picture)(path), None
    except Exception as error:
        return None, explain_failure(error)


def _digest(image: np.ndarray) -> str:
    digest = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def _check_values(held: set[float], datalist: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the values in a label that the datalist does not name."""
    known = {*map(int, datalist["labels"]), datalist.get("ignore_label")}
    if strange := sorted(held - known):
        shown = some([f"{value:.17g}" for value in strange])
        names = ", ".join(map(str, sorted(known - {None})))
        yield f"holds the value {shown}", f"use {names} as in the datalist's labels, and not JPEG"
