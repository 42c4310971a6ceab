"""What a datalist says of its dataset and of its cases."""

from __future__ import annotations

import difflib
import ntpath
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json
from ..transforms.modality import read_modality
from ..transforms.regions import Regions
from .channels import is_colour

Fault = tuple[str, str]  # a problem and its fix

ALL = "all"  # the fold of a training on every case
SECTIONS = ("training", "testing")
FILES = ("image", "label")  # of a case
SOFT = "soft_label"  # the files of a case that hold the shares of its label values
_KEYS = (
    *("name", "modality", "channel_names", "labels", "regions", "ignore_label"),
    *("subjects", "licence", *SECTIONS),
)
_CASE_KEYS = (*FILES, SOFT, "patient", "fold")
DRAW = "draw phantoms with `python -m pipeline data phantom`"


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
            f"datalist {path}: there is no such file; give its path (to a training by "
            "--dataset_dir or --datalist), make one with `python -m pipeline data prepare`, or "
            f"{DRAW}."
        )
    content = read_json(Path(path), "correct it, or write it anew.")
    for section in SECTIONS:
        if content.get(section) is None:
            content[section] = []
        if not isinstance(content[section], list):
            raise InputError(f'datalist {path}: "{section}" is not a list; list the cases there.')
    for name, value in content.items():
        known = name in SECTIONS or not isinstance(value, list)
        if not known and any(isinstance(each, dict) for each in value):
            raise InputError(
                f'datalist {path}: "{name}" lists cases, which nothing reads; list them under '
                '"training", where the "fold" of a case says when it validates, or "testing".'
            )
    for problem, fix in _misspelt(content, _KEYS, cutoff=0.85):
        raise InputError(f"datalist {path}: it {problem}; {fix}.")
    if not content["training"] and not content["testing"]:
        raise InputError(f'datalist {path}: it has no cases; fill "training" or "testing".')
    try:
        check_description(content, needs_labels=needs_labels)
    except InputError as error:
        raise InputError(f"datalist {path}: {error}") from None
    return content


def description_faults(datalist: Mapping[str, Any], bundle: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield where what a datalist says of its dataset does not fit the ids of a bundle."""
    for name, fix in (
        ("modality", "correct the datalist, or give --modality in training"),
        ("channel_names", "correct the datalist, or train a bundle for these channels"),
    ):
        said, own = datalist.get(name), bundle.get(name)
        if said and own and _comparable(said) != _comparable(own):
            yield f'"{name}" is {said}, and {own} in the bundle', fix


def _comparable(said: str | Sequence[str]) -> Any:
    """A modality, or what of channels matters: how many, and of several the order."""
    if isinstance(said, str):
        return said
    names = [name.casefold() for name in said]
    return len(names) if len(names) == 1 or is_colour(names) else names


def check_description(content: dict[str, Any], *, needs_labels: bool) -> None:
    """Check what a datalist says of its dataset, and spell its modality as the table does."""
    labels = content.get("labels")
    named = isinstance(labels, dict) and all(
        value.isdecimal() and is_text(name) for value, name in labels.items()
    )
    needs_labels = needs_labels or content.get("regions") is not None
    named = named and len(set(map(int, labels))) == len(labels)
    if needs_labels and (not named or "0" not in labels):
        raise InputError(
            f'"labels" is {labels!r}; give each value of a mask one name, '
            'such as {"0": "background", "1": "lesion"}.'
        )
    if (modality := content.get("modality")) is not None:
        content["modality"] = read_modality(modality)
    if (names := content.get("channel_names")) is not None and not (
        isinstance(names, list) and names and all(map(is_text, names))
    ):
        raise InputError(
            f'"channel_names" is {names!r}; name each input channel, such as ["T1", "T2"].'
        )
    if (ignored := content.get("ignore_label")) is not None and not is_value(ignored):
        raise InputError(
            f'"ignore_label" is {ignored!r}; give the value that is not counted, such as 255.'
        )
    if (regions := content.get("regions")) is None:
        return
    known = {int(value) for value in labels} - {0, ignored}
    if strange := sorted(set(Regions(regions).known) - known):
        raise InputError(
            f'"regions" has the value {strange[0]}; use values that "labels" names, except for 0 '
            "and the ignore_label."
        )


def is_text(value: Any) -> bool:
    """A text that is not empty."""
    return isinstance(value, str) and value != ""


def is_value(value: Any) -> bool:
    """A whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def files_of(value: str | Sequence[str]) -> list[str]:
    """The files of an image or a label, which may be one, or one for each channel."""
    return [value] if isinstance(value, str) else list(value)


def entry_faults(case: Any, *, channels: Sequence[str] = ()) -> Iterator[Fault]:
    """Yield the faults of a case in a datalist by itself.

    Args:
        case: of the list.
        channels: names of the dataset's channels, if it says them.
    """
    if not isinstance(case, dict):
        yield f"is {case!r}", 'write {"image": ..., "label": ..., "patient": ..., "fold": ...}'
        return
    for key in FILES:
        value = case.get(key)
        listed = key == "image" and isinstance(value, list) and value
        paths = value if listed else [value]
        if not all(map(is_text, paths)):
            yield f'"{key}" is {value!r}', f'give "{key}" as a path'
        elif escaping := next(filter(_escapes, paths), None):
            fix = "give the path from that folder on, such as images/1.png"
            yield f'"{key}" {escaping} is not a path below the dataset folder', fix
        elif listed and channels and len(value) != len(channels):
            fix = f"give one for each of channel_names, {', '.join(channels)}"
            yield f'"{key}" has {len(value)} files', fix
    if is_text(case.get("label")) and case["label"] == case.get("image"):
        yield f'"label" {case["label"]} is also its "image"', "give the file of the mask"
    yield from _misspelt(case, _CASE_KEYS, cutoff=0.82)
    shares = case.get(SOFT, {})
    if not isinstance(shares, dict) or not all(
        value.isdecimal() and is_text(path) and not _escapes(path) for value, path in shares.items()
    ):
        fix = "give the path of a file below the dataset folder for each label value"
        yield f'"{SOFT}" is {shares!r}', f'{fix}, such as {{"1": "shares/a_1.png"}}'
    if not isinstance(case.get("patient", ""), str | int):
        yield f'"patient" is {case["patient"]!r}', 'give "patient" as a text'


def check_cases(cases: Sequence[Any], *, channels: Sequence[str], source: str) -> None:
    """Refuse cases with a fault by themselves, see `entry_faults`.

    Raises:
        InputError: names the first one; it begins with ``source``, the datalist.
    """
    for case in cases:
        for problem, fix in entry_faults(case, channels=channels):
            raise InputError(f"{source}: the case {case}: {problem}; {fix}.")


def _misspelt(given: Mapping[str, Any], known: Sequence[str], *, cutoff: float) -> Iterator[Fault]:
    """Yield the keys that nothing reads, and that are nearly one that is read."""
    for key in given:
        near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=cutoff)
        if near and key not in known:
            yield f'has the key "{key}", which nothing reads', f'write "{near[0]}", or rename it'


def file_fault(folder: Path, name: str) -> Fault | None:
    """Why a dataset's folder has no file of a name; None if it has."""
    if (folder / name).is_file():
        return None
    if (folder / name).is_dir():
        return "is a folder", "convert a series: data prepare dicom"
    if "\\" in name:  # the list was written on Windows
        return "missing file", "write / instead of \\"
    return "missing file", f"put it below {folder}, or give the folder of the data"


def find_leaks(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Find the patients who are in two folds, or in a fold and in the test split.

    Names that differ only in case, or in spaces around them, are of one patient.

    Returns:
        The parts by patient, such as ``{"p1": ["fold 0", "testing"]}``.
    """
    places: dict[str, set[str]] = defaultdict(set)
    names: dict[str, str] = {}
    for section in SECTIONS:
        for case in content[section]:
            if isinstance(case, dict) and case.get("patient") is not None:
                place = "testing" if section == "testing" else f"fold {case.get('fold')}"
                patient = str(case["patient"]).strip()
                places[names.setdefault(patient.casefold(), patient)].add(place)
    return {patient: sorted(where) for patient, where in places.items() if len(where) > 1}


def _escapes(path: str) -> bool:
    """Tell whether the text of a path leaves its folder; links in the folder are allowed."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    return plain.startswith(("/", "../")) or plain == ".." or bool(ntpath.splitdrive(path)[0])
