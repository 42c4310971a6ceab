"""Convert a user's own CTs in DICOM, with or without labels, to a dataset of NIfTI volumes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import some
from ...folders import new_folder
from ...transforms.volume_checks import grid_difference
from ..datalist import case_paths, write_datalist
from ..folds import assign_folds
from ..phantoms.ct import ABOUT
from . import series as dicom

if TYPE_CHECKING:
    import numpy as np


def prepare(
    folder: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    uid: str | None = None,
    skip_refused: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[str]]:
    """Write each CT series below ``folder`` as ``images/NAME.nii.gz``, in Hounsfield units.

    NAME is the patient's ID, followed by the series number where a patient has several. With
    ``labels``, it also writes ``labels/NAME.nii.gz`` and a datalist with five folds.

    Args:
        folder: DICOM files in any arrangement of folders.
        output: folder to make.
        labels: folder of ``NAME.nii.gz`` masks on the grids of the CTs, their axes in any order.
        uid: only the series of this UID.
        skip_refused: leave out CTs that are not valid volumes instead of refusing all.
        overwrite: replace what was made in ``output`` before.

    Returns:
        The datalist, or without labels the folder of images; and notes on what was left out.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        FileNotFoundError: there is no DICOM file or no CT, or a CT has no label.
        ValueError: a CT is not a valid volume, or its label is on another grid.
    """
    from rich.progress import track

    found = dicom.find_series(folder)
    if uid is not None:
        found = [dicom.select_series(folder, uid=uid)]
    broken = [
        f"{series}: {series.problem}" for series in found if series.is_wanted and series.problem
    ]
    notes = [f"left out {series}: {series.problem}" for series in found if not series.is_wanted]
    usable = [series for series in found if not series.problem]
    if broken and not (skip_refused and usable):
        hint = ": choose one with --series, or add --skip-refused" if usable else ""
        raise ValueError(some(broken) + hint)
    if not usable:
        raise FileNotFoundError(f"no CT below {folder}: {some(notes)}")
    notes += [f"left out {line}" for line in broken]
    series_of = _name_series(usable)
    masks = _find_labels(Path(labels), series_of) if labels is not None else {}
    highest = 1  # label value, since the labels may be without tumours

    sources = [folder] if labels is None else [folder, labels]
    with new_folder(output, sources=sources, overwrite=overwrite) as stage:
        (stage / "images").mkdir()
        for name, series in track(series_of.items(), description="Converting DICOM"):
            ct, affine = dicom.read_series(series)
            dicom.write_nifti(stage / f"images/{name}.nii.gz", ct, affine)
            if masks:
                (stage / "labels").mkdir(exist_ok=True)
                mask = _read_label(masks[name], ct.shape, affine)
                dicom.write_nifti(stage / f"labels/{name}.nii.gz", mask, affine)
                highest = max(highest, int(mask.max()))
        if masks:
            folds = assign_folds([patient_of(series) for series in series_of.values()])
            training = [
                case_paths(name, suffix=".nii.gz")
                | {"patient": patient_of(series), "fold": folds[patient_of(series)]}
                for name, series in series_of.items()
            ]
            write_datalist(
                stage / "datalist.json",
                name=Path(folder).resolve().name,
                modality="CT",
                channel_names=["CT"],
                labels={k: v for k, v in ABOUT["labels"].items() if int(k) <= highest},
                regions={"pancreas": list(range(1, highest + 1))},
                training=training,
                testing=[],
            )
    return Path(output) / ("datalist.json" if masks else "images"), notes


def patient_of(series: dicom.Series) -> str:
    """Give the patient's ID as a file name, or the folder's name where there is no ID."""
    text = series.patient or series.folder.resolve().name
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "patient"


def _name_series(found: list[dicom.Series]) -> dict[str, dicom.Series]:
    """Give each series a file name."""
    names: dict[str, dicom.Series] = {}
    for series in found:
        alone = sum(patient_of(other) == patient_of(series) for other in found) == 1
        base = patient_of(series) if alone else f"{patient_of(series)}_{series.number or 0}"
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names[name] = series
    return names


def _find_labels(folder: Path, series_of: dict[str, dicom.Series]) -> dict[str, Path]:
    paths = {
        name: path
        for name in series_of
        for suffix in (".nii", ".nii.gz")  # the latter counts where there are both
        if (path := folder / f"{name}{suffix}").is_file()
    }
    if lacking := sorted(series_of.keys() - paths.keys()):
        raise FileNotFoundError(
            f"no label in {folder} for {some(lacking)}: name each label as its CT, "
            f"such as {lacking[0]}.nii.gz"
        )
    return paths


def _read_label(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Read a mask and put its axes in the order of the CT's."""
    import nibabel
    import numpy as np
    from nibabel import orientations

    try:
        file = nibabel.load(path)
        turn = orientations.ornt_transform(
            orientations.io_orientation(file.affine), orientations.io_orientation(affine)
        )
        turned = file.as_reoriented(turn)
        mask = np.asanyarray(turned.dataobj)
    except Exception as error:  # nibabel raises about anything on a broken file
        raise ValueError(f"{path} cannot be read: {error}: save it again") from error
    if how := grid_difference(mask.shape, turned.affine, shape, affine):
        raise ValueError(
            f"{path} is not on the grid of its CT ({how}): "
            "resample it to the CT, without interpolation of its values"
        )
    if not np.isin(mask, [int(value) for value in ABOUT["labels"]]).all():
        held = ", ".join(f"{value:g}" for value in np.unique(mask)[:5])
        raise ValueError(f"{path} holds {held}: use {ABOUT['labels']}")
    return mask.astype(np.uint8)
