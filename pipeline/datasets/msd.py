"""Import a task of the Medical Segmentation Decathlon, whatever it segments.

Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022),
doi:10.1038/s41467-022-30695-9. The labels of the official test split are secret.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..bundle.channels import NIFTI
from ..bundle.listing import is_text
from ..errors import InputError
from .dataset_json import (
    keep_complete,
    name_channels,
    note_differences,
    read_description,
    read_files,
    read_terms,
)
from .describing import Options
from .images import ending
from .importing import Dataset, plan_dataset
from .naming import known_values
from .sources import Source


def plan_msd(folder: Path, options: Options, *, skip_incomplete: bool = False) -> Dataset:
    """Read ``dataset.json`` and the files that it lists; nothing is written.

    Raises:
        InputError: see `read_description`, `keep_complete` and `plan_dataset`.
    """
    root, content = read_description(folder, "modality", "for nnU-Net use `data prepare nnunet`")
    where = root / "dataset.json"
    options = name_channels(content["modality"], options, where)
    try:
        names = {int(value): name for value, name in content["labels"].items()}
        listed = list(content["training"])
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{where}: it is not that of a task of the Decathlon ({error!r}); for nnU-Net use "
            "`data prepare nnunet`."
        ) from None
    if not all(map(is_text, names.values())):
        raise InputError(f'{where}: "labels" is {content["labels"]}; give each value a name.')
    if not len(set(names.values())) == len(names) == len(content["labels"]):
        raise InputError(
            f'{where}: two of "labels", {content["labels"]}, have one value or one name; correct '
            "one."
        )
    names = {0: "background"} | names
    sources = [
        _find_source(*read_files(root, entry, "image"), channels=len(content["modality"]))
        for entry in listed
    ]
    notes = note_differences(content, sources)
    sources = keep_complete(sources, skip_incomplete=skip_incomplete, where=where)
    title = str(content.get("name") or root.name)
    terms = {"subjects": "patients", **read_terms(content)}
    dataset = plan_dataset(sources, partial(known_values, names), options, name=title, terms=terms)
    dataset.notes.extend(notes)
    if left := len(listed) - len(sources):
        dataset.notes.append(f"left out {left} cases that lack a file")
    if tested := content.get("test"):
        dataset.notes.append(f"left out {len(tested)} images for testing, which have no labels")
    return dataset


def _find_source(image: list[Path], label: Path, *, channels: int) -> Source:
    """Find the files of an entry, which an extracting program may have unpacked."""
    (path,) = image
    name = path.name.removesuffix(ending(path))
    parts = [path.with_name(f"{name}_{number:04d}{ending(path)}") for number in range(channels)]
    images = (_unpacked(path),)
    if not images[0].is_file() and all(part.is_file() for part in parts):  # as nnU-Net 1 does
        images = tuple(parts)
    return Source(name, images, _unpacked(label))


def _unpacked(path: Path) -> Path:
    """The path of a NIfTI, or of the same without or with compression where only that is there."""
    stem = path.name.removesuffix(ending(path))
    others = [path, *(path.with_name(stem + each) for each in NIFTI)]
    return next((each for each in others if each.is_file()), path)
