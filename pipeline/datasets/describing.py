"""What the user, the names and the headers say of a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..bundle.channels import RGB, is_colour
from ..errors import InputError
from ..transforms.modality import find_modality, read_modality
from .images import Grid


@dataclass(frozen=True)
class Options:
    """What the user says of a dataset, beside where its files are.

    Attributes:
        modality: any spelling; None for what the dataset says.
        channels: names of the channels; empty for what the dataset says.
        regions: ``NAME=LABEL,LABEL`` or ``NAME=``, see `make_regions`.
        patient: a pattern with one group, the patient in a case's name; None for the whole name.
        testing: share of the cases, or their number, that becomes the test split.
        folds: their number; None for five, or fewer where there are fewer patients.
    """

    modality: str | None = None
    channels: Sequence[str] = ()
    regions: Sequence[str] = ()
    patient: str | None = None
    testing: float = 0
    folds: int | None = None


def describe_images(
    grids: Mapping[str, Sequence[Grid]], options: Options
) -> tuple[dict[str, Any], list[str]]:
    """Say the modality and the channels of a dataset, and what the user should know of them.

    Raises:
        InputError: the modality or the names of the channels are not known, or the images differ.
    """
    notes = []
    pictures = {grid.affine is None for each in grids.values() for grid in each}
    if len(pictures) > 1:
        raise InputError("some images are pictures and others volumes; prepare them separately.")
    flat = pictures.pop()
    coloured = flat and any(grid.channels > 1 for each in grids.values() for grid in each)
    if options.modality is None and not coloured:
        kind = ("grey pictures", "X-ray") if flat else ("volumes", "MR")
        raise InputError(
            f"the modality of the {kind[0]} is not known; give it, such as --modality {kind[1]}."
        )
    modality = read_modality(options.modality or "photograph")
    counts = {tuple(grid.channels for grid in each): name for name, each in grids.items()}
    if flat and counts.keys() == {(1,), (3,)}:
        notes.append(f"{counts[1,]} is grey and others are not: all are read as RGB")
        counts.pop((1,))
    if len(counts) > 1:
        (one, first), (other, second) = list(counts.items())[:2]
        raise InputError(
            f"{first} has {sum(one)} channels and {second} {sum(other)}; give all cases the same."
        )
    files = next(iter(counts))
    count, names = sum(files), list(options.channels)
    picture = flat and len(files) == 1  # which is read as RGB or grey, as the names say
    if not names and (picture or count == 1):
        names = (RGB if count == 3 else ["grey"]) if picture else [modality]
    if len(names) != count and not (picture and len(names) in (1, 3)):
        raise InputError(
            f"an image has {count} channels and {len(names)} names; give a name for each, by "
            "--channels T1,T2 for a folder, or in the dataset.json that it comes with."
        )
    other = [name for name in names if find_modality(name) not in (None, modality)]
    if other and not is_colour(names):
        notes.append(f"{', '.join(other)}: scaled as {modality} is, as all channels are")
    return {"modality": modality, "channel_names": names}, notes


def make_regions(
    names: Mapping[int, str],
    options: Sequence[str] = (),
    given: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, list[int]]:
    """Make the regions: those of the options, and of the other labels one each.

    Args:
        names: of the label values.
        options: ``NAME=LABEL,LABEL``; ``NAME=`` leaves a region out.
        given: where the dataset says the regions; these then stand for the other labels.

    Raises:
        InputError: an option is not ``NAME=LABEL,LABEL``, or names a label that is not there, or
            two regions get one name, or one is given twice; or there is none to leave out.
    """
    known = {name: value for value, name in names.items() if value}
    by_text = known | {str(value): value for value in known.values()}
    defaults = given or {name: [value] for name, value in known.items()}
    said: dict[str, list[int]] = {}
    for text in options:
        name, equals, labels = text.partition("=")
        name = name.strip()
        parts = [part.strip() for part in labels.split(",") if part.strip()]
        if not name or not equals or not set(parts) <= by_text.keys():
            raise InputError(
                f"--region {text}: give NAME=LABEL,LABEL, or NAME= to leave a region out; the "
                f"labels are {', '.join(known)}."
            )
        if name in said:
            raise InputError(f"--region {text}: {name} is given twice; give all its labels in one.")
        if not parts and name not in defaults:
            raise InputError(
                f"--region {text}: there is no region {name} to leave out; the regions are "
                f"{', '.join(defaults)}."
            )
        said[name] = sorted(by_text[part] for part in parts)
    regions = said | {name: list(v) for name, v in defaults.items() if name not in said}
    regions = {name: values for name, values in regions.items() if values}
    safe: dict[str, str] = {}
    for name in regions:
        if (other := safe.setdefault(_region_name(name).casefold(), name)) != name:
            raise InputError(
                f"{other} and {name} would be regions of one name; rename one, such as by --values "
                "1=NAME, or give both the same name if they are one."
            )
    return {_region_name(name): values for name, values in regions.items()}


def find_patients(keys: Mapping[str, str], pattern: str) -> dict[str, str]:
    """Find the patient of each case, ``{name: patient}``.

    Args:
        keys: what the pattern looks at, by the case's name.
        pattern: a regular expression with one group.

    Raises:
        InputError: the pattern is wrong, or does not find a patient in each case.
    """
    try:
        found = {name: re.search(pattern, key) for name, key in keys.items()}
        patients = {name: (match[1] or "").strip() for name, match in found.items() if match}
        lacking = [key for name, key in keys.items() if not patients.get(name)]
        reason = f"it finds nothing in {lacking[0]}" if lacking else ""
    except re.error as error:
        raise InputError(
            f"--patient {pattern}: it is not a regular expression ({error})."
        ) from None
    except IndexError:
        reason = "it has no group"
    if reason:
        raise InputError(
            f"--patient {pattern}: {reason}; put the patient in brackets, such as '^([^_]+)_'."
        )
    return patients


def note_patients(keys: Sequence[str]) -> list[str]:
    """Note that cases which share a folder, a name or its beginning count as several patients.

    Args:
        keys: what names the cases, such as ``p01/scan1``, ``before/p01`` or ``p01_scan1``.
    """
    found = []
    for pattern in ("^([^/]+)/", "/([^/]+)$", *(f"^([^{end}]+){end}" for end in "_- ")):
        groups: dict[str, list[str]] = {}
        for key in keys:
            if match := re.search(pattern, key):
                groups.setdefault(match[1], []).append(key)
        if len(groups) > 1 and (pair := next((g[:2] for g in groups.values() if len(g) > 1), None)):
            found.append((len(groups), pattern, pair))
    if not found:
        return []
    _, pattern, pair = max(found, key=lambda each: each[0])  # patients outnumber their visits
    both = " and ".join(pair)
    return [f"each case counts as a patient; if {both} are of one, add --patient '{pattern}'"]


def _region_name(name: str) -> str:
    """Turn a label's name into what MLflow and file names take."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.-") or "region"
