"""Convert a user's own DICOM series, with or without labels, to a dataset of NIfTI volumes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...bundle.channels import VOLUMES, cut_ending, is_volume
from ...errors import InputError
from ...files import some
from ...folders import new_folder
from ...transforms.modality import OF_BODIES, find_modality, read_modality
from ...walk import walk
from ..describing import Options
from ..importing import Dataset, plan_dataset
from ..naming import name_values, read_spans
from ..progress import show_progress
from ..segments import Combinations
from ..sources import Source
from . import series as dicom
from .labelled import LabelledSeries, SegmentedSeries
from .screening import CONTOURS, RTSTRUCT
from .segmentation import SEG, find_segmentations

_FOLDER = "pictures, and volumes in other formats, are for `data prepare folder`"


def find_volumes(
    folder: str | Path,
    *,
    modality: str | None = None,
    chosen: str | None = None,
    skip_refused: bool = False,
) -> tuple[dict[str, dicom.Series], list[dicom.Series], list[str]]:
    """Find the series of one modality below a folder, and name each.

    A name is the patient's ID, followed by the series number where a patient has several.

    Args:
        folder: DICOM files in any arrangement of folders.
        modality: that is wanted, in any spelling; None where there is only one.
        chosen: number, description or UID of the only series that are wanted.
        skip_refused: leave out series that are not valid volumes instead of refusing all.

    Returns:
        The series by name, all that was found, and notes on what was left out.

    Raises:
        InputError: there is no such series of the modality, there are several modalities and none
            is given, or a series is not a valid volume.
        FileNotFoundError: there is no DICOM file.
    """
    wanted = read_modality(modality) if modality else None
    try:
        found = dicom.find_series(folder, modality=wanted, name=chosen)
    except FileNotFoundError as error:
        if not Path(folder).is_dir():
            raise
        raise FileNotFoundError(f"{error}; {_FOLDER}") from error
    candidates = [series for series in found if series.is_wanted]
    if chosen and not candidates:
        raise InputError(f"--series: {dicom.no_series(chosen, found, folder)}")
    kinds = sorted({str(find_modality(series.code)) for series in candidates})
    if len(kinds) > 1:
        raise InputError(f"{folder}: it holds series of {', '.join(kinds)}; give --modality.")
    usable = [series for series in candidates if not series.problem]
    broken = [f"{series}: {series.problem}" for series in candidates if series.problem]
    if broken and not (skip_refused and usable):
        hint = "; choose one with --series, or add --skip-refused" if usable else ""
        if not {find_modality(series.code) for series in candidates} & {*OF_BODIES, None}:
            hint = f"; {_FOLDER}"
        raise InputError(some(broken) + hint)
    notes = [
        f"left out {series}: {series.problem}"
        for series in found
        if not series.is_wanted and series.code != SEG
    ]
    passed = [each for each in walk(Path(folder))[1] if not each[0].name.startswith(".")]
    passed += [left for series in usable for left in series.left_out]
    notes += [f"left out {path}: {reason}" for path, reason in passed]
    if not usable:
        told = some(notes) or "no series"
        raise InputError(f"no {wanted or 'image'} below {folder}: {told}; {_FOLDER}.")
    return _name_series(usable), found, notes + [f"left out {line}" for line in broken]


def write_images(
    series_of: dict[str, dicom.Series],
    output: str | Path,
    *,
    source: str | Path,
    overwrite: bool = False,
) -> Path:
    """Write each series as ``images/NAME.nii.gz``, a CT in Hounsfield units; the folder of these.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        ValueError: a file cannot be decoded.
    """
    with new_folder(output, sources=[source], overwrite=overwrite) as stage:
        (stage / "images").mkdir()
        for name, series in show_progress(series_of.items(), "Converting DICOM"):
            dicom.write_nifti(stage / f"images/{name}.nii.gz", *dicom.read_series(series))
    return Path(output) / "images"


def plan_dicom(
    folder: str | Path,
    options: Options,
    *,
    name: str,
    labels: str | Path | None = None,
    values: Sequence[str] = (),
    chosen: str | None = None,
    skip_refused: bool = False,
) -> tuple[dict[str, dicom.Series], Dataset | None, list[str]]:
    """Find the series and their labels, and decide what becomes of them; nothing is written.

    Args:
        folder: see `find_volumes`.
        options: of the user.
        name: of the dataset.
        labels: folder of NIfTI masks on the voxels of the series, their axes in any order, each
            named as its series will be; or of DICOM segmentations. None looks for segmentations in
            ``folder``.
        values: what the values of NIfTI masks mean, see `read_spans` and `name_values`.
        chosen, skip_refused: see `find_volumes`.

    Returns:
        The series by name, the dataset or None if there are no labels, and notes.

    Raises:
        InputError: see `find_volumes` and `plan_dataset`; also for a series without a label.
    """
    spans = read_spans(values)
    series_of, found, notes = find_volumes(
        folder, modality=options.modality, chosen=chosen, skip_refused=skip_refused
    )
    kind = find_modality(next(iter(series_of.values())).code)
    options = replace(options, modality=kind)
    if labels is not None:
        found = [] if _has_volumes(Path(labels)) else dicom.find_series(labels, modality=None)
    segmentations = find_segmentations(found, list(series_of.values()))
    used = {path for paths in segmentations.values() for path in paths}
    others = [str(p) for each in found if each.code == SEG for p in each.files if p not in used]
    strange = f"segmentations that refer to none of these series: {some(others)}" if others else ""
    if strange:
        notes.append(f"left out {strange}")
    sources: Sequence[Source]
    if segmentations:
        lacking = [name for name, series in series_of.items() if series.uid not in segmentations]
        if spans:
            raise InputError("--values is for NIfTI masks; a DICOM SEG names its segments itself.")
        if lacking and not skip_refused:
            raise InputError(
                f"no segmentation of {some(lacking)}{f', but {strange}' if strange else ''}; add "
                "it, or leave these series out by --skip-refused."
            )
        notes += [f"left out {name}, which has no segmentation" for name in lacking]
        combinations = Combinations()
        meaning = combinations.name_values
        labelled = {case: series_of[case] for case in series_of if case not in lacking}
        sources = [
            SegmentedSeries(
                *(case, series.files, segmentations[series.uid][0]),
                patient=patient_of(series),
                series=series,
                segmentations=segmentations[series.uid],
                combinations=combinations,
            )
            for case, series in labelled.items()
        ]
    elif labels is None:
        return series_of, None, notes
    elif contours := [each for each in found if each.code == RTSTRUCT]:
        raise InputError(f"--labels {labels}: {contours[0]} is {RTSTRUCT}, and {CONTOURS}.")
    else:
        meaning = partial(name_values, spans)
        paths = _find_labels(Path(labels), series_of)
        read = {*paths.values(), *(path for each in series_of.values() for path in each.files)}
        rest = [str(path) for path in walk(Path(labels))[0] if path not in read]
        if rest:
            told = f"{len(rest)} files that are the label of no series"
            notes.append(f"left out {told}: {some(rest)}")
        sources = [
            LabelledSeries(
                case, series.files, paths[case], patient=patient_of(series), series=series
            )
            for case, series in series_of.items()
        ]
    return series_of, plan_dataset(sources, meaning, options, name=name), notes


def patient_of(series: dicom.Series) -> str:
    """Give the patient's ID as a file name, or the folder's name where there is no ID."""
    text = series.patient or series.folder.resolve().name
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "patient"


def _name_series(found: Sequence[dicom.Series]) -> dict[str, dicom.Series]:
    """Give each series its own name."""
    counts = Counter(map(patient_of, found))
    names: dict[str, dicom.Series] = {}
    for series in found:
        base = patient_of(series)
        if counts[base] > 1:
            base = f"{base}_{series.number or 0}"
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names[name] = series
    return names


def _has_volumes(folder: Path) -> bool:
    if not folder.is_dir():
        raise InputError(f"--labels {folder}: there is no such folder; give the labels' folder.")
    return any(map(is_volume, folder.iterdir()))


def _find_labels(folder: Path, series_of: dict[str, dicom.Series]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in sorted(filter(is_volume, folder.iterdir())):
        name = cut_ending(path.name, VOLUMES)
        if name in series_of and (other := paths.setdefault(name, path)) != path:
            raise InputError(f"{other} and {path}: both are labels of {name}; keep one.")
    if lacking := sorted(series_of.keys() - paths.keys()):
        raise InputError(
            f"no label in {folder} for {some(lacking)}; name each label as its series, "
            f"such as {lacking[0]}.nii.gz, or give a folder of DICOM SEG."
        )
    return paths
