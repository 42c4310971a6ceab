"""What the user, the names and the headers say of a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..bundle.channels import RGB
from ..errors import InputError
from ..transforms.modality import read_modality
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

    Args:
        grids: those of the files of each image, by the case's name.
        options: of the user.

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
            f"an image has {count} channels and {len(names)} names; give --channels with a name "
            "for each, such as T1,T2."
        )
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
            two regions get one name.
    """
    known = {name: value for value, name in names.items() if value}
    by_text = known | {str(value): value for value in known.values()}
    said: dict[str, list[int]] = {}
    for text in options:
        name, equals, labels = text.partition("=")
        parts = [part.strip() for part in labels.split(",") if part.strip()]
        if not name.strip() or not equals or not set(parts) <= by_text.keys():
            raise InputError(
                f"--region {text}: give NAME=LABEL,LABEL, or NAME= to leave a region out; the "
                f"labels are {', '.join(known)}."
            )
        said[name.strip()] = sorted(by_text[part] for part in parts)
    defaults = given or {name: [value] for name, value in known.items()}
    regions = said | {name: list(v) for name, v in defaults.items() if name not in said}
    regions = {name: values for name, values in regions.items() if values}
    safe = {_region_name(name): values for name, values in regions.items()}
    if len(safe) < len(regions):
        raise InputError(
            f"the labels {', '.join(regions)} give the regions {', '.join(safe)}: two would have "
            "one name; rename one, such as --values 1=NAME."
        )
    return safe


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
        return {name: match[1] for name, match in found.items()}
    except re.error as error:
        raise InputError(
            f"--patient {pattern}: it is not a regular expression ({error})."
        ) from None
    except (IndexError, TypeError):
        lacking = next((name for name, match in found.items() if match is None), "")
        reason = f"it finds nothing in {keys[lacking]}" if lacking else "it has no group"
        raise InputError(
            f"--patient {pattern}: {reason}; put the patient in brackets, such as '^([^_]+)_'."
        ) from None


def _region_name(name: str) -> str:
    """Turn a label's name into what MLflow and file names take."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.-") or "region"
