"""Import a raw dataset of nnU-Net, version 2.

The format is that of its page "nnU-Net dataset format",
https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..bundle.listing import is_value
from ..errors import InputError
from ..files import some
from .dataset_json import (
    keep_complete,
    name_channels,
    note_differences,
    read_description,
    read_files,
    read_terms,
)
from .describing import Options
from .images import KINDS
from .importing import Dataset, plan_dataset
from .naming import known_values
from .sources import TESTING, Source

SPLITS = "splits_final.json"


def plan_nnunet(
    folder: Path, options: Options, *, splits: Path | None = None, skip_incomplete: bool = False
) -> Dataset:
    """Read ``dataset.json`` and the files of the cases; nothing is written.

    Args:
        folder: such as ``Dataset004_Hippocampus``, however it is nested.
        options: of the user.
        splits: nnU-Net's file of folds; by default ``splits_final.json`` in the folder, if any.
        skip_incomplete: leave out cases that lack a file.

    Raises:
        InputError: see `read_description`, `keep_complete` and `plan_dataset`; also for splits
            that do not validate each case once.
    """
    other = "for a task of the Decathlon use `data prepare msd`"
    root, content = read_description(folder, "channel_names", other)
    where = root / "dataset.json"
    options = name_channels(content["channel_names"], options, where)
    names, regions, ignored = read_labels(content["labels"], where)
    kind = content.get("file_ending")
    if kind not in KINDS:
        raise InputError(f'{where}: "file_ending" is {kind!r}; give one of {", ".join(KINDS)}.')
    sources = _list_cases(root, content, kind)
    complete = keep_complete(sources, skip_incomplete=skip_incomplete, where=root)
    strange: list[str] = []
    if splits or (root / SPLITS).is_file():
        complete, named = _with_folds(complete, splits or root / SPLITS)
        strange = sorted(named - {source.name for source in sources})
    listed = _in_folders(root, "Ts", kind)
    tested = [source for source in listed if not source.find_missing()]
    cases = [*complete, *(replace(source, part=TESTING) for source in tested)]
    name_values = partial(known_values, names, ignore_label=ignored, regions=regions)
    terms = read_terms(content)
    dataset = plan_dataset(cases, name_values, options, name=root.name, terms=terms)
    if "nonorm" in (name.lower() for name in options.channels):
        dataset.notes.append("noNorm is not heeded: all channels are scaled")
    dataset.notes.extend(note_differences(content, sources, listed))
    if strange:
        dataset.notes.append(f"the splits name cases that are not there: {some(strange)}")
    if left := len(sources) - len(complete):
        dataset.notes.append(f"left out {left} cases that lack a file")
    if left := len(listed) - len(tested):
        dataset.notes.append(f"left out {left} images of imagesTs, which have no labels")
    return dataset


def read_labels(
    labels: Mapping[str, Any], where: Path
) -> tuple[dict[int, str], dict[str, list[int]], int | None]:
    """Read ``{name: value or values}``.

    Returns:
        The names of the values, the regions, and the value of what is not counted.

    Raises:
        InputError: a value is not a whole number, or the background is not 0.
    """
    regions: dict[str, list[int]] = {}
    for name, values in labels.items():
        listed = values if isinstance(values, list) else [values]
        if not listed or not all(is_value(v) and v <= 255 for v in listed):
            raise InputError(
                f'{where}: "labels" gives {name} {values!r}; give whole numbers by name, such as '
                '{"background": 0, "liver": 1}.'
            )
        regions[name] = listed
    if regions.pop("background", None) != [0]:
        raise InputError(f'{where}: "labels" does not give background 0; correct it.')
    ignored = regions.pop("ignore", [None])[0]
    names = {0: "background"}
    for value in sorted({value for values in regions.values() for value in values}):
        around = min((n for n, v in regions.items() if value in v), key=lambda n: len(regions[n]))
        names[value] = around if len(regions[around]) == 1 else f"{around}, value {value}"
    return names, regions, ignored


def _list_cases(root: Path, content: Mapping[str, Any], kind: str) -> list[Source]:
    """List the cases of training, which ``dataset`` may name one by one."""
    named = content.get("dataset")
    if named is None:
        return _in_folders(root, "Tr", kind, channels=len(content["channel_names"]))
    if not isinstance(named, dict):
        raise InputError(
            f'{root / "dataset.json"}: "dataset" is a {type(named).__name__}; give the files of '
            'each case by its name, such as {"a": {"images": [...], "label": ...}}.'
        )
    sources = []
    for name, files in sorted(named.items()):
        images, label = read_files(root, files, "images")
        sources.append(Source(name, tuple(images), label))
    return sources


def _in_folders(root: Path, end: str, kind: str, *, channels: int = 1) -> list[Source]:
    """Find the cases of ``imagesTr`` and ``labelsTr``, or ``Ts``; files may be missing."""
    images: dict[str, set[str]] = {}
    for path in sorted((root / f"images{end}").glob(f"*_[0-9][0-9][0-9][0-9]{kind}")):
        if not path.name.startswith("."):
            stem = path.name.removesuffix(kind)
            images.setdefault(stem[:-5], set()).add(stem[-4:])
    labels = [path.name.removesuffix(kind) for path in (root / f"labels{end}").glob(f"*{kind}")]
    cases = sorted({*images, *(name for name in labels if not name.startswith("."))})
    # A picture in colour is one file of several channels.
    most = max((len(found) for found in images.values()), default=channels)
    return [
        Source(
            name,
            tuple(root / f"images{end}/{name}_{number:04d}{kind}" for number in range(most)),
            root / f"labels{end}/{name}{kind}",
        )
        for name in cases
    ]


def _with_folds(sources: Sequence[Source], path: Path) -> tuple[list[Source], set[str]]:
    """Give each case the fold that validates it; also the names of all cases in the splits.

    Raises:
        InputError: the file is not a list of splits, or a case is not validated once.
    """
    fix = f"correct it, or move {path.name} away to draw new folds"
    try:
        splits = json.loads(path.read_bytes())
        folds = [set(split["val"]) for split in splits]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: it does not hold splits ({error!r}); {fix}.") from None
    found = {s.name: [n for n, names in enumerate(folds) if s.name in names] for s in sources}
    if wrong := [f"{name} in {len(where)}" for name, where in found.items() if len(where) != 1]:
        raise InputError(f"{path}: a case is validated in one fold, but {some(wrong)}; {fix}.")
    named = set[str]().union(*folds)
    return [replace(source, part=found[source.name][0]) for source in sources], named
