"""Find the cases of files, folders and DICOM series, and give each its own name."""

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
class InputCase:
    """One image to segment.

    Attributes:
        path: the file, or the folder of the series.
        series: the DICOM series, if the case is one.
        problem: why it cannot be segmented, as far as its path and headers show.
        name: the stem of its outputs, different for each case of a command.
    """

    path: Path
    series: Series | None = None
    problem: str = ""
    name: str = ""

    def __str__(self) -> str:
        """The name of the case in a message."""
        return make_printable(str(self.series or self.path))

    @property
    def source(self) -> str:
        """The file, or the folder and the UID of the series."""
        uid = self.series.uid if self.series else ""
        return f"{self.path}#{uid}" if uid else str(self.path)

    def stamp(self) -> list[int]:
        """Number of files, bytes, latest change in ns: the same on all machines."""
        files = self.series.files if self.series else [self.path]
        states = [os.stat(file) for file in files if os.path.exists(file)]
        latest = max((state.st_mtime_ns for state in states), default=0)
        return [len(states), sum(state.st_size for state in states), latest]


def find_inputs(inputs: Sequence[Path], *, volumes: bool, output: Path) -> list[InputCase]:
    """Find the cases in files and folders, in the order of the inputs.

    What cannot be segmented becomes a case with a problem, so that the others go on.

    Args:
        inputs: files and folders.
        volumes: look for NIfTI and CT series in DICOM, else for PNG, JPEG and TIFF.
        output: the folder of the masks, which are not inputs.

    Raises:
        InputError: an input does not exist.
    """
    output = output.resolve()
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: it does not exist; give a file or folder to segment.")
        if path.resolve() == output:
            raise InputError(f"--output {path}: it is also an input; give another folder.")
    kinds = VOLUMES if volumes else PICTURES
    found: dict[str, InputCase] = {}
    for path in (Path(os.path.abspath(path)) for path in inputs):
        cases = _below(path, kinds, output) if path.is_dir() else [_file(path, kinds)]
        for case in cases:
            found.setdefault(case.source, case)
    return name_cases(list(found.values()))


def _file(path: Path, kinds: Sequence[str]) -> InputCase:
    if path.name.lower().endswith(tuple(kinds)):
        return InputCase(path)
    hint = "give the folder of its series" if _is_dicom(path) else f"give {', '.join(kinds)}"
    return InputCase(path, problem=f"{path}: this bundle does not take such a file: {hint}")


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _below(folder: Path, kinds: Sequence[str], output: Path) -> Iterator[InputCase]:
    """Find the files of these kinds, and for volumes the CT series too.

    Hidden files, and files that an earlier run wrote below the same folder, are left out.
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
    yield from map(InputCase, paths)
    series: list[Series] = []
    problem = f"{folder}: it holds no {', '.join(kinds)}: give another folder"
    if kinds == VOLUMES:
        try:
            series = [s for s in find_series(folder) if not is_output(s.files[0].resolve())]
        except (FileNotFoundError, ModuleNotFoundError) as error:
            if not paths:
                problem = f"{error}, or of NIfTI files"
    # Nobody means the scout or the report beside a CT.
    cts = [each for each in series if each.is_wanted] or ([] if paths else series)
    for each in cts:
        refused = f"{each}: {each.problem}" if each.problem else ""
        yield InputCase(each.folder, each, refused)
    if not paths and not cts:
        yield InputCase(folder, problem=problem)


def name_cases(cases: Sequence[InputCase]) -> list[InputCase]:
    """Give each case the shortest name that no other case has."""
    places = Counter(normalize_name(f"{case.path.parent}/{_stem(case)}") for case in cases)
    names = [_possible_names(case, places) for case in cases]
    level = [0] * len(cases)
    while True:
        chosen = [normalize_name(names[n][level[n]]) for n in range(len(cases))]
        counts = Counter(chosen)
        clashing = [n for n, name in enumerate(chosen) if counts[name] > 1]
        longer = [n for n in clashing if level[n] + 1 < len(names[n])]
        if not longer:
            for n in clashing:  # a.png beside A.png
                digest = hashlib.sha256(cases[n].source.encode(errors="surrogateescape"))
                names[n][level[n]] += f"_{digest.hexdigest()[:8]}"
            return [replace(case, name=names[n][level[n]]) for n, case in enumerate(cases)]
        for n in longer:
            level[n] += 1


def _possible_names(case: InputCase, places: Counter[str]) -> list[str]:
    """List the possible names of a case, from the shortest to the most distinct."""
    stem = _stem(case)
    names = [stem]
    if case.series:
        stem = f"{stem}_{case.series.number or 0}"
        names.append(stem)
    elif places[normalize_name(f"{case.path.parent}/{stem}")] > 1:
        names = [stem := make_printable(case.path.name).replace(".", "_")]  # a.png beside a.jpg
    parts = [make_printable(part) for part in case.path.parts[1:]]
    folders = parts if case.series else parts[:-1]
    for depth in range(1, len(folders) + 1):
        names.append("_".join([*folders[-depth:], stem]))
    if case.series:
        names.append(f"{names[-1]}_{case.series.uid}")
    return names


def _stem(case: InputCase) -> str:
    if case.series:
        return patient_of(case.series)
    name = make_printable(case.path.name)
    ending = next((kind for kind in VOLUMES + PICTURES if name.lower().endswith(kind)), "")
    return name[: len(name) - len(ending)] or name


def make_printable(text: str) -> str:
    """Escape what cannot be encoded: a file may have any name."""
    return text.encode(errors="backslashreplace").decode()


def normalize_name(name: str) -> str:
    """Map names that some file system cannot tell apart to one text."""
    return unicodedata.normalize("NFC", name).casefold()
