"""Import folders of images and labels, in pairs by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..files import some
from .describing import Options
from .importing import Dataset, plan_dataset
from .label_values import BACKGROUND, IGNORE
from .naming import name_values, read_spans
from .pairing import Pairs, find_files, pair_images
from .segments import Combinations, SegmentedSource, SegmentFile, read_segment_names
from .sources import Source


def plan_folder(
    images: Sequence[str],
    labels: Sequence[str],
    options: Options,
    *,
    name: str,
    values: Sequence[str] = (),
    skip_incomplete: bool = False,
    missing_is_empty: bool = False,
) -> tuple[Pairs, Dataset]:
    """Pair the files, read them, and decide what becomes of them; nothing is written.

    Args:
        images: a folder or pattern for each channel, see `pair_images`.
        labels: the folder or pattern, or ``NAME=FOLDER`` for the masks of each structure.
        options: of the user.
        name: of the dataset.
        values: what the values of the labels mean, see `read_spans` and `name_values`.
        skip_incomplete: leave out files without a partner.
        missing_is_empty: a case without a mask of a structure has nothing of it.

    Raises:
        InputError: see `pair_images`, `join_masks`, `name_values` and `plan_dataset`.
    """
    spans, places = read_spans(values), read_places(labels)
    found = [find_files(place, option="--labels")[0].values() for _, place in places]
    marked = {path for each in found for path in each}
    lenient = skip_incomplete or len(places) > 1  # `join_masks` is strict then
    several = [
        pair_images(images, place, skip_incomplete=lenient, marked=marked) for _, place in places
    ]
    pairs = join_masks(several, skip_incomplete=skip_incomplete, missing_is_empty=missing_is_empty)
    cases = {case: (key, *pairs.files[key]) for key, case in name_files(pairs.files).items()}
    unnamed = not places[0][0]
    named = [path for *_, (path, *_) in cases.values() if unnamed and read_segment_names(path)]
    if unnamed and not named:
        sources = [Source(case, i, path, key=key) for case, (key, i, (path,)) in cases.items()]
        meaning = partial(name_values, spans)
        return pairs, plan_dataset(sources, meaning, options, name=name)
    if named and (spans or len(named) < len(cases)):
        told = "--values is for labels that do not" if spans else "other labels do not"
        raise InputError(f"{named[0]}: its header names its segments, and {told}; give one kind.")
    combinations = Combinations()
    sources = []
    for case, (key, files, masks) in cases.items():
        first = next(path for path in masks if path)
        parts = [(part, path) for (part, _), path in zip(places, masks, strict=True)]
        given = {"key": key, "combinations": combinations, "masks": parts, "spans": spans}
        kind = SegmentFile if named else SegmentedSource
        sources.append(kind(case, files, first, **given))
    return pairs, plan_dataset(sources, combinations.name_values, options, name=name)


def read_places(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Take the options ``--labels`` apart, ``NAME=FOLDER``; one without a name may stand alone.

    Raises:
        InputError: there are several, and one has no name, or a name means no structure.
    """
    places = []
    for text in labels:
        name, equals, place = text.partition("=")
        named = equals and name.strip() and not Path(text).exists() and not re.search(r"[/*]", name)
        places.append((name.strip(), place) if named else ("", text))
    if reserved := [name for name, _ in places if name.lower() in (BACKGROUND, IGNORE)]:
        raise InputError(
            f"--labels {reserved[0]}=...: a mask is of a structure; name that, or give one label "
            f"for each image and say by --values which value is {reserved[0]}."
        )
    if len(places) > 1 and (lacking := [place for name, place in places if not name]):
        raise InputError(
            f"--labels {some(lacking, shown=2)}: several --labels are masks of one structure each; "
            "say which, --labels NAME=FOLDER, and one NAME twice for the parts of a structure."
        )
    return places


def join_masks(several: Sequence[Pairs], *, skip_incomplete: bool, missing_is_empty: bool) -> Pairs:
    """Join the pairs of the same images with the masks of several structures.

    Args:
        several: the pairs with the masks of each structure.
        skip_incomplete: leave out files without a partner.
        missing_is_empty: keep cases that have some of the masks.

    Raises:
        InputError: a file has no partner.
    """
    names: dict[tuple[Path, ...], str] = {}
    masks: dict[tuple[Path, ...], list[Path | None]] = {}
    for number, pairs in enumerate(several):
        for name, (images, (label,)) in pairs.files.items():
            names.setdefault(images, name)
            masks.setdefault(images, [None] * len(several))[number] = label
    files = {
        names[images]: (images, tuple(found))
        for images, found in sorted(masks.items(), key=lambda item: names[item[0]])
        if missing_is_empty or None not in found
    }
    used = {path for images, found in files.values() for path in (*images, *found)}
    every = [path for images, found in masks.items() for path in (*images, *found) if path]
    every += [path for pairs in several for path in pairs.unpaired]
    unpaired = [path for path in dict.fromkeys(every) if path not in used]
    if not files or (unpaired and not skip_incomplete):
        raise InputError(
            f"{len(unpaired)} files have no partner: {some(list(map(str, unpaired)), shown=3)}; "
            "add what is missing, or --missing-is-empty if a case without a mask has nothing of "
            "that structure, or --skip-incomplete."
        )
    left_out = dict.fromkeys(left for pairs in several for left in pairs.left_out)
    rules = [rule for pairs in several for rule in pairs.rules]
    return Pairs(rules, files, unpaired, [left for left in left_out if left[0] not in used])


def name_files(keys: Sequence[str]) -> dict[str, str]:
    """Turn what names the cases, such as paths, into names of files: ``{key: name}``.

    Raises:
        InputError: two cases get one name.
    """
    names = {key: re.sub(r"[^\w.-]+", "_", key).strip("_.-") or "case" for key in keys}
    first: dict[str, str] = {}
    for key, name in names.items():
        if (other := first.setdefault(name.casefold(), key)) != key:
            raise InputError(f"{other} and {key}: both cases would be {name}; rename one.")
    return names
