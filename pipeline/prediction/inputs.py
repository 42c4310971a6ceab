"""The cases that a user names: files, folders and DICOM series, each with a name of its own."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..datasets.dicom.prepare import patient_of
from ..datasets.dicom.series import Series, find_series
from ..errors import InputError

VOLUMES = (".nii.gz", ".nii")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class Case:
    """One image to segment.

    Attributes:
        path: the file, or the folder of the series.
        series: the DICOM series, if it is one.
        problem: why it cannot be segmented, as far as its place and its headers tell.
        name: what its outputs are called, different for each case of a command.
    """

    path: Path
    series: Series | None = None
    problem: str = ""
    name: str = ""

    def __str__(self) -> str:
        """How a message names it."""
        return printable(str(self.series or self.path))

    @property
    def source(self) -> str:
        """What a record names: the file, or the folder and the UID of the series."""
        return (
            f"{self.path}#{self.series.uid}" if self.series and self.series.uid else str(self.path)
        )

    def stamp(self) -> list[int]:
        """Number of files, bytes, latest change in ns: the same on all machines that see it."""
        files = self.series.files if self.series else [self.path]
        states = [os.stat(file) for file in files if os.path.exists(file)]
        latest = max((state.st_mtime_ns for state in states), default=0)
        return [len(states), sum(state.st_size for state in states), latest]


def find_cases(inputs: Sequence[Path], *, volumes: bool, output: Path) -> list[Case]:
    """The cases of files, and of all that lies below folders, in the order of the inputs.

    What cannot be segmented is a case with a problem, so that the others can go on.

    Args:
        inputs: files and folders.
        volumes: look for NIfTI and CT series in DICOM, else for PNG, JPEG and TIFF.
        output: the folder of the masks, which are no inputs.

    Raises:
        InputError: an input does not exist.
    """
    output = output.resolve()
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; give one to segment.")
        if path.resolve() == output:
            raise InputError(f"--output {path} is an input too; give the masks another folder.")
    kinds = VOLUMES if volumes else PICTURES
    found: dict[str, Case] = {}
    for path in (Path(os.path.abspath(path)) for path in inputs):
        cases = _below(path, kinds, output) if path.is_dir() else [_file(path, kinds)]
        for case in cases:
            found.setdefault(case.source, case)
    return named(list(found.values()))


def _file(path: Path, kinds: Sequence[str]) -> Case:
    if path.name.lower().endswith(tuple(kinds)):
        return Case(path)
    hint = "give the folder of its series" if _is_dicom(path) else f"give {', '.join(kinds)}"
    return Case(path, problem=f"{path}: this bundle cannot take such a file: {hint}")


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _below(folder: Path, kinds: Sequence[str], output: Path) -> Iterator[Case]:
    """The files of these kinds, and for volumes the CT series.

    Hidden files are passed over, and what an earlier run wrote below the same folder.
    """

    def is_output(path: Path) -> bool:
        return folder.resolve() in output.parents and output in path.parents

    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith(tuple(kinds))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not is_output(path.resolve())
        and path.is_file()
    ]
    yield from map(Case, paths)
    series: list[Series] = []
    problem = f"{folder}: no {', '.join(kinds)} below it: give a folder that holds some"
    if kinds == VOLUMES:
        try:
            series = [s for s in find_series(folder) if not is_output(s.files[0].resolve())]
        except (FileNotFoundError, ModuleNotFoundError) as error:
            if not paths:
                problem = f"{error}, or of NIfTI files"
    # A scout or a report beside a CT is nothing that anyone meant.
    cts = [each for each in series if each.is_ct] or ([] if paths else series)
    for each in cts:
        refused = f"{each}: {each.problem}" if each.problem else ""
        yield Case(each.folder, each, refused)
    if not paths and not cts:
        yield Case(folder, problem=problem)


def named(cases: Sequence[Case]) -> list[Case]:
    """Give each case the shortest name that none of the others has."""
    places = Counter(key(f"{case.path.parent}/{_stem(case)}") for case in cases)
    names = [_names(case, places) for case in cases]
    level = [0] * len(cases)
    while True:
        counts = Counter(key(names[n][level[n]]) for n in range(len(cases)))
        clashing = [n for n in range(len(cases)) if counts[key(names[n][level[n]])] > 1]
        longer = [n for n in clashing if level[n] + 1 < len(names[n])]
        if not longer:
            for n in clashing:  # a.png beside A.png
                digest = hashlib.sha256(cases[n].source.encode(errors="surrogateescape"))
                names[n][level[n]] += f"_{digest.hexdigest()[:8]}"
            return [replace(case, name=names[n][level[n]]) for n, case in enumerate(cases)]
        for n in longer:
            level[n] += 1


def _names(case: Case, places: Counter[str]) -> list[str]:
    """What a case may be called, from the shortest to the most distinct."""
    stem = _stem(case)
    names = [stem]
    if case.series:
        stem = f"{stem}_{case.series.number or 0}"
        names.append(stem)
    elif places[key(f"{case.path.parent}/{stem}")] > 1:
        names = [stem := printable(case.path.name).replace(".", "_")]  # a.png beside a.jpg
    parts = [printable(part) for part in case.path.parts[1:]]
    folders = parts if case.series else parts[:-1]
    for depth in range(1, len(folders) + 1):
        names.append("_".join([*folders[-depth:], stem]))
    if case.series:
        names.append(f"{names[-1]}_{case.series.uid}")
    return names


def _stem(case: Case) -> str:
    if case.series:
        return patient_of(case.series)
    name = printable(case.path.name)
    ending = next((kind for kind in VOLUMES + PICTURES if name.lower().endswith(kind)), "")
    return name[: len(name) - len(ending)] or name


def printable(text: str) -> str:
    """Text that can be encoded; a file's name need not be."""
    return text.encode(errors="backslashreplace").decode()


def key(name: str) -> str:
    """What two names share that some file system cannot tell apart."""
    return unicodedata.normalize("NFC", name).casefold()
