"""Import folders of images and labels, in pairs by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InputError
from .describing import Options
from .importing import Dataset, plan_dataset
from .naming import name_values, read_spans
from .pairing import Pairs, pair_images
from .sources import Source


def plan_folder(
    images: Sequence[str],
    labels: str,
    options: Options,
    *,
    name: str,
    values: Sequence[str] = (),
    skip_incomplete: bool = False,
) -> tuple[Pairs, Dataset]:
    """Pair the files, read them, and decide what becomes of them; nothing is written.

    Args:
        images: a folder or pattern for each channel, see `pair_images`.
        labels: the folder or pattern.
        options: of the user.
        name: of the dataset.
        values: what the values of the labels mean, see `read_spans` and `name_values`.
        skip_incomplete: leave out files without a partner.

    Raises:
        InputError: see `pair_images`, `name_values` and `plan_dataset`.
    """
    spans = read_spans(values)
    pairs = pair_images(images, labels, skip_incomplete=skip_incomplete)
    sources = [
        Source(name, *pairs.files[key], key=key) for key, name in name_files(pairs.files).items()
    ]
    return pairs, plan_dataset(sources, lambda held: name_values(spans, held), options, name=name)


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
