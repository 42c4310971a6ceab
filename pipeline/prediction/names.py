"""Names for the outputs of cases, different on any file system and the same on all machines."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..bundle.channels import PICTURES, VOLUMES, cut_ending
from ..datasets.dicom.prepare import patient_of
from .input_case import InputCase, make_printable


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
        stem = f"{stem}_{case.series[0].number or 0}"
        names.append(stem)
    elif places[normalize_name(f"{case.path.parent}/{stem}")] > 1:
        names = [stem := make_printable(case.path.name).replace(".", "_")]  # a.png beside a.jpg
    parts = [make_printable(part) for part in case.path.parts[1:]]
    folders = parts if case.series else parts[:-1]
    for depth in range(1, len(folders) + 1):
        names.append("_".join([*folders[-depth:], stem]))
    if case.series:
        names.append(f"{names[-1]}_{case.series[0].uid}")
    return names


def _stem(case: InputCase) -> str:
    if case.series:
        return patient_of(case.series[0])
    return cut_ending(make_printable(case.path.name), VOLUMES + PICTURES)


def normalize_name(name: str) -> str:
    """Map names that some file system cannot tell apart to one text."""
    return unicodedata.normalize("NFC", name).casefold()
