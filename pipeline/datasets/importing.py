"""From pairs of files to a prepared dataset, whatever said which files belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bundle.cases import check_description
from ..errors import InputError
from ..folders import new_folder
from ..transforms.volume_checks import grid_difference
from .datalist import write_datalist
from .describing import Options, describe_images, find_patients, make_regions
from .folds import divide
from .images import Grid, ending, link, place_image, read_grid, write_picture, write_volume
from .label_values import Held, LabelValues, find_held, read_label

TESTING = "testing"


@dataclass(frozen=True)
class Source:
    """The files of a case.

    Attributes:
        name: of the case, and of its files in the prepared folder.
        images: one file, or one for each channel.
        label: the file of its label.
        part: its fold, or ``TESTING``, where the dataset says so.
        key: what a pattern finds the patient in; the name where it is empty.
    """

    name: str
    images: tuple[Path, ...]
    label: Path
    part: int | str | None = None
    key: str = ""


@dataclass(frozen=True)
class Dataset:
    """All that is decided before anything is written.

    Attributes:
        sources: the cases.
        about: name, modality, channels, labels, regions and the ignored label, for the datalist.
        values: what becomes of the values of the label files.
        held: the values in each label file, by the case's name.
        patients: of the cases, by name.
        parts: the fold of each case by name, or ``TESTING``.
    """

    sources: Sequence[Source]
    about: Mapping[str, Any]
    values: LabelValues
    held: Mapping[str, Held]
    patients: Mapping[str, str]
    parts: Mapping[str, int | str]
    notes: list[str] = field(default_factory=list)


def plan_dataset(
    sources: Sequence[Source],
    name_values: Callable[[Mapping[str, Held]], LabelValues],
    options: Options,
    *,
    name: str,
    regions: Mapping[str, Sequence[int]] | None = None,
) -> Dataset:
    """Read every header and every label, and decide what becomes of them.

    Args:
        sources: the cases; their names differ.
        name_values: gives a meaning to the values in the label files, by the files' paths.
        options: of the user.
        name: of the dataset.
        regions: where the dataset says them; the user may say others.

    Raises:
        InputError: a file cannot be read or does not fit the others, a value has no meaning, or an
            option does not fit.
    """
    if len({source.name.casefold() for source in sources}) < len(sources):
        twice, _ = Counter(source.name.casefold() for source in sources).most_common(1)[0]
        raise InputError(f"two cases are called {twice}; rename one.")
    held, grids = {}, {}
    for source in _progress(sources, "Reading labels"):
        grids[source.name] = _check_grids(source)
        held[source.name] = find_held(read_label(source.label))
    values = name_values({str(source.label): held[source.name] for source in sources})
    about, notes = describe_images(grids, options)
    about["name"] = name
    about["labels"] = {str(value): name for value, name in sorted(values.names.items())}
    about["regions"] = make_regions(values.names, options.regions, regions)
    about["ignore_label"] = values.ignore_label
    check_description(dict(about), needs_labels=True)
    patients = find_patients({s.name: s.key or s.name for s in sources}, options.patient)
    holds: dict[str, list[str]] = {}
    for source in sources:
        found = values.names_in(held[source.name])
        holds.setdefault(patients[source.name], []).extend(
            name for name, inside in about["regions"].items() if found & set(inside)
        )
    parts = _assign(sources, patients, holds, options)
    if empty := [s.name for s in sources if not values.names_in(held[s.name]) - {0}]:
        notes.append(f"{len(empty)} labels hold nothing but background, such as {empty[0]}")
    return Dataset(sources, about, values, held, patients, parts, notes)


def write_sources(dataset: Dataset, output: Path, *, overwrite: bool = False) -> Path:
    """Write ``images/``, ``labels/`` and ``datalist.json``, all of it or nothing.

    Returns:
        The path of the datalist.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        InputError: an image has no place in the folder.
    """
    files = [path for source in dataset.sources for path in (*source.images, source.label)]
    lists: dict[str, list[dict[str, Any]]] = {"training": [], "testing": []}
    with new_folder(output, sources=files, overwrite=overwrite) as stage:
        for folder in ("images", "labels"):
            (stage / folder).mkdir()
        for source in _progress(dataset.sources, "Writing"):
            several = len(source.images) > 1
            names = [
                each
                for number, path in enumerate(source.images)
                for each in place_image(
                    path,
                    stage / "images",
                    f"{source.name}_{number:04d}" if several else source.name,
                )
            ]
            images = [f"images/{each}" for each in names]
            case = {
                "image": images if len(images) > 1 else images[0],
                "label": f"labels/{_write_label(source, dataset, stage / 'labels')}",
                "patient": dataset.patients[source.name],
            }
            if (part := dataset.parts[source.name]) == TESTING:
                lists["testing"].append(case)
            else:
                lists["training"].append(case | {"fold": part})
        write_datalist(stage / "datalist.json", **dataset.about, **lists)
    return Path(output) / "datalist.json"


def _check_grids(source: Source) -> list[Grid]:
    """Read the grids of a case's images, and refuse files that are on others."""
    grids = [read_grid(path) for path in source.images]
    first = grids[0]
    others = [*zip(source.images[1:], grids[1:], strict=True)]
    for path, grid in [*others, (source.label, read_grid(source.label))]:
        if (grid.affine is None) != (first.affine is None):
            how = "one is a picture and the other a volume"
        else:
            how = grid_difference(grid.shape, grid.affine, first.shape, first.affine)
        if how:
            raise InputError(
                f"{path}: it is not on the grid of {source.images[0]} ({how}); resample it to the "
                "image, a label without interpolation of its values."
            )
    return grids


def _assign(
    sources: Sequence[Source],
    patients: Mapping[str, str],
    holds: Mapping[str, Sequence[str]],
    options: Options,
) -> dict[str, int | str]:
    """Find the part of each case: that which the dataset says, or one that is drawn."""
    said = {source.name: source.part for source in sources if source.part is not None}
    free = [patients[source.name] for source in sources if source.name not in said]
    if not free:
        return said
    dealt = divide(free, testing=options.testing, folds=options.folds, holds=holds)
    drawn = {
        source.name: TESTING if (fold := dealt[patients[source.name]]) is None else fold
        for source in sources
        if source.name not in said
    }
    return said | drawn


def _write_label(source: Source, dataset: Dataset, folder: Path) -> str:
    """Write the index mask of a case, or link it where the file is one; the file's name."""
    grid, kind = read_grid(source.label), ending(source.label)
    suffix = ".png" if grid.affine is None else ".nii.gz"
    target = folder / f"{source.name}{suffix}"
    if dataset.values.keeps(dataset.held[source.name]) and _is_index(source.label, kind):
        link(source.label, target, pack=kind == ".nii")
        return target.name
    index = dataset.values.to_index(read_label(source.label))
    if grid.affine is None:
        write_picture(target, index, source.label)
    else:
        write_volume(target, index.reshape(grid.shape), grid.affine)
    return target.name


def _is_index(path: Path, kind: str) -> bool:
    """Tell whether a label file can stay as it is."""
    if kind == ".png":
        from PIL import Image

        with Image.open(path) as picture:
            return picture.mode == "L"
    return kind in (".nii", ".nii.gz") and read_grid(path).affine is not None


def _progress(items: Sequence[Source], description: str) -> Iterable[Source]:
    from rich.console import Console
    from rich.progress import track

    return track(items, description=description, console=Console(stderr=True), transient=True)
