"""From pairs of files to a prepared dataset, whatever said which files belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bundle.listing import check_description, find_leaks
from ..errors import InputError
from ..folders import new_folder
from .datalist import write_datalist
from .describing import Options, describe_images, find_patients, make_regions, note_patients
from .folds import divide
from .label_values import Held, LabelValues, find_held
from .progress import show_progress
from .sources import TESTING, Source


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
    terms: Mapping[str, str] | None = None,
) -> Dataset:
    """Read every header and every label, and decide what becomes of them.

    Args:
        sources: the cases; their names differ.
        name_values: gives a meaning to the values in the label files, by the files' paths.
        options: of the user.
        name: of the dataset.
        terms: its licence and subjects, as far as they are known, for `write_datalist`.

    Raises:
        InputError: a file cannot be read or does not fit the others, a value has no meaning, or an
            option does not fit.
    """
    if len({source.name.casefold() for source in sources}) < len(sources):
        twice, _ = Counter(source.name.casefold() for source in sources).most_common(1)[0]
        raise InputError(f"two cases are called {twice}; rename one.")
    held, grids = {}, {}
    for source in show_progress(sources, "Reading labels"):
        grids[source.name] = source.read_grids()
        held[source.name] = find_held(source.read_label())
    values = name_values({str(source.label): held[source.name] for source in sources})
    about, notes = describe_images(grids, options)
    about = {"name": name, **about}
    about["labels"] = {str(value): name for value, name in sorted(values.names.items())}
    about["regions"] = make_regions(values.names, options.regions, values.regions)
    about["ignore_label"] = values.ignore_label
    about |= terms or {}
    try:
        check_description(dict(about), needs_labels=True)
    except InputError as error:
        if not values.regions:
            raise
        listed = ", ".join(f"{value} {name}" for value, name in values.names.items() if value)
        raise InputError(
            f"{error} The labels are {listed}; --region NAME=VALUE,VALUE says which belong to a "
            "region, and --region NAME= leaves one out."
        ) from None
    patients = {source.name: source.patient or source.name for source in sources}
    keys = {source.name: source.key or source.name for source in sources}
    if options.patient is not None:
        patients = find_patients(keys, options.patient)
    elif not all(source.patient or source.part is not None for source in sources):
        notes += note_patients(list(keys.values()))
    spelt: dict[str, str] = {}  # P1 and p1 are one patient
    patients = {name: spelt.setdefault(p.casefold(), p) for name, p in patients.items()}
    found = {name: values.names_in(each) for name, each in held.items()}
    holds: dict[str, list[str]] = {patient: [] for patient in patients.values()}
    for case, inside in found.items():
        regions = about["regions"].items()
        holds[patients[case]] += [region for region, own in regions if inside & set(own)]
    parts = _assign(sources, patients, holds, options)
    _refuse_leaks(patients, parts)
    everywhere = {0}.union(*found.values())
    if lacking := [label for value, label in values.names.items() if value not in everywhere]:
        notes.append(f"no label holds {' or '.join(lacking)}, which a check will refuse")
    if len(set(parts.values()) - {TESTING}) == 1:
        notes.append("there is one fold, so train with --fold all")
    if empty := [case for case, inside in found.items() if not inside - {0}]:
        notes.append(f"{len(empty)} labels hold nothing but background, such as {empty[0]}")
    notes += values.notes
    return Dataset(sources, about, values, held, patients, parts, notes)


def write_sources(dataset: Dataset, output: Path, *, overwrite: bool = False) -> Path:
    """Write ``images/``, ``labels/`` and ``datalist.json``, all of it or nothing.

    Returns:
        The path of the datalist.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        InputError: an image has no place in the folder.
    """
    files = [path for source in dataset.sources for path in source.files]
    lists: dict[str, list[dict[str, Any]]] = {"training": [], "testing": []}
    with new_folder(output, sources=files, overwrite=overwrite) as stage:
        for folder in ("images", "labels"):
            (stage / folder).mkdir()
        for source in show_progress(dataset.sources, "Writing"):
            images = [f"images/{name}" for name in source.write_images(stage / "images")]
            held = dataset.held[source.name]
            label = source.write_label(stage / "labels", dataset.values, held)
            case = {
                "image": images if len(images) > 1 else images[0],
                "label": f"labels/{label}",
                "patient": dataset.patients[source.name],
            }
            if (part := dataset.parts[source.name]) == TESTING:
                lists["testing"].append(case)
            else:
                lists["training"].append(case | {"fold": part})
        write_datalist(stage / "datalist.json", {**dataset.about, **lists})
    return Path(output) / "datalist.json"


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
        for option, value in {"--folds": options.folds, "--testing": options.testing}.items():
            if value:
                raise InputError(
                    f"{option} {value:g}: the dataset says the fold of each case; leave the option "
                    "out, or move the file of the splits away to draw new folds."
                )
        return said
    dealt = divide(free, testing=options.testing, folds=options.folds, holds=holds)
    drawn = {
        source.name: TESTING if (fold := dealt[patients[source.name]]) is None else fold
        for source in sources
        if source.name not in said
    }
    return said | drawn


def _refuse_leaks(patients: Mapping[str, str], parts: Mapping[str, int | str]) -> None:
    """Refuse a patient whose cases the dataset puts into several parts."""
    lists: dict[str, list[dict[str, Any]]] = {"training": [], "testing": []}
    for name, part in parts.items():
        section = "testing" if part == TESTING else "training"
        lists[section].append({"patient": patients[name], "fold": part})
    for patient, found in find_leaks(lists).items():
        raise InputError(
            f"patient {patient}: the dataset has cases of one patient in {' and '.join(found)}; "
            "keep each patient in one, or give new folds."
        )
