"""NIH Pancreas-CT (CT-82): portal-venous CTs of healthy pancreases, 80 of them usable.

Roth et al., "Data From Pancreas-CT", The Cancer Imaging Archive (2016),
doi:10.7937/K9/TCIA.2016.tNB1kqBU. The CTs come as DICOM, the labels as NIfTI with other axes and no
place. Two of the 82 first cases were withdrawn, since they were copies of another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import new_folder, some
from ..datalist import read_datalist, write_datalist
from ..dicom import series as dicom
from ..download import fetch as fetch_archive
from .idc import download_series, list_series, new_client
from .labels import match_label

if TYPE_CHECKING:
    import numpy as np

#: Our split of the 80 cases, 60 to 20 as the article's 61 to 21 of 82, and five folds of the 60.
DATALIST = Path(__file__).parents[3] / "data" / "nih_pancreas" / "datalist.json"
COLLECTION = "pancreas_ct"
WITHDRAWN = ("PANCREAS_0025", "PANCREAS_0070")

_LABEL = re.compile(r"label(?P<number>\d{4})\.nii(\.gz)?", re.IGNORECASE)
_PATIENT = re.compile(r"PANCREAS_(?P<number>\d{4})", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """The CT and the label of one patient."""

    series: dicom.Series
    label: Path


def fetch(
    output: str | Path, *, archive: str | Path | None = None, overwrite: bool = False
) -> Path:
    """Download the labels from TCIA to ``output/files`` and the CTs from IDC to ``output/dicom``.

    Both go on where an earlier run stopped. The labels are compared with the SHA-256 of their card,
    the CTs with the number of files and the bytes in the index of the Imaging Data Commons (IDC).

    Args:
        output: folder of labels and CTs, 10 GB.
        archive: the labels, if the user has downloaded them.
        overwrite: replace labels that were extracted before.

    Returns:
        ``output``.

    Raises:
        ConnectionError, ValueError: see `download.fetch`; also for CTs that did not come whole.
        ModuleNotFoundError: an optional dependency is not installed.
    """
    output = Path(output)
    client = new_client()
    labels = output / "files"
    if overwrite or archive is not None or not (labels.is_dir() and any(labels.iterdir())):
        fetch_archive("nih-pancreas", output, archive=archive, overwrite=overwrite)
    download_series(client, list_series(client, COLLECTION), output / "dicom")
    return output


def find_cases(folder: str | Path, *, skip_incomplete: bool = False) -> dict[str, Case]:
    """Find the CT series and labels anywhere below ``folder`` and pair them by their numbers.

    Args:
        folder: where the CTs and the labels are, in any arrangement of folders.
        skip_incomplete: leave out cases that lack a file, or whose CT is no sound volume, instead
            of refusing them.

    Returns:
        ``{"PANCREAS_0001": Case(...), ...}``, sorted by id, without the withdrawn cases.

    Raises:
        FileNotFoundError: no such folder, no complete case in it, or a case that lacks a file.
        ValueError: two files for one thing, or a CT that is no sound volume.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of the downloaded files")
    labels: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if (match := _LABEL.fullmatch(path.name)) and path.is_file():
            name = f"PANCREAS_{match['number']}"
            if name in labels:
                raise ValueError(f"two labels of {name}: {labels[name]} and {path}: keep one")
            labels[name] = path
    found: dict[str, dicom.Series] = {}
    faults: list[str] = []
    unsound: set[str] = set()
    for series in dicom.find_series(folder):
        # Copies of the data may have lost the patient's name in their headers.
        match = _PATIENT.fullmatch(series.patient) or _PATIENT.search(str(series.folder))
        if not match or not series.is_ct:
            continue
        name = f"PANCREAS_{match['number']}"
        if name in WITHDRAWN:
            continue
        if name in found:
            raise ValueError(f"two CTs of {name}: {found[name]} and {series}: keep one")
        found[name] = series
        if series.problem:
            faults.append(f"{name}: {series}: {series.problem}")
            unsound.add(name)
    names = (found.keys() | labels.keys()) - set(WITHDRAWN)
    for name in sorted(names):
        if name not in found or name not in labels:
            faults.append(f"{name} has no {'CT' if name in labels else 'label'}")
    usable = sorted((found.keys() & labels.keys()) - unsound)
    if faults and not (skip_incomplete and usable):
        message = f"incomplete below {folder}: {some(faults)}: download again"
        raise (ValueError if unsound else FileNotFoundError)(
            f"{message}, or use --skip-incomplete" if usable else message
        )
    if not usable:
        raise FileNotFoundError(
            f"no CT of a PANCREAS_NNNN with a labelNNNN.nii.gz below {folder}: "
            "give the folder of the downloaded files"
        )
    return {name: Case(found[name], labels[name]) for name in usable}


def prepare(
    folder: str | Path,
    output: str | Path,
    *,
    skip_incomplete: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[str]]:
    """Write ``images/``, ``labels/`` (NIfTI on one grid) and ``datalist.json``.

    Returns:
        The path of the datalist, and notes on labels whose axes were not what their file says.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        FileNotFoundError, ValueError: see `find_cases`; also for a file that cannot be decoded and
            for a label that does not fit its CT.
    """
    from rich.progress import track

    cases = find_cases(folder, skip_incomplete=skip_incomplete)
    ours = read_datalist(DATALIST)
    known = {item["patient"] for item in ours["training"] + ours["testing"]}
    if strange := sorted(cases.keys() - known):
        raise ValueError(f"no case of the collection: {some(strange)}: remove the files")
    notes = []
    with new_folder(output, sources=[folder], overwrite=overwrite) as stage:
        (stage / "images").mkdir()
        (stage / "labels").mkdir()
        for name, case in track(cases.items(), description="Preparing NIH Pancreas-CT"):
            ct, affine = dicom.read_series(case.series)
            label, note = _read_label(case.label, ct, affine)
            if note:
                notes.append(f"{name}: {note}")
            dicom.write_nifti(stage / f"images/{name}.nii.gz", ct, affine)
            dicom.write_nifti(stage / f"labels/{name}.nii.gz", label, affine)
        write_datalist(
            stage / "datalist.json",
            name=ours["name"],
            labels=ours["labels"],
            training=[item for item in ours["training"] if item["patient"] in cases],
            testing=[item for item in ours["testing"] if item["patient"] in cases],
        )
    if len(cases) != len(known):
        notes.append(f"{len(cases)} of {len(known)} cases")
    return Path(output) / "datalist.json", notes


def _read_label(path: Path, ct: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, str]:
    """The label on the grid of its CT, uint8 0 and 1, and a note if its file was not believed."""
    import nibabel
    import numpy as np

    try:
        file = nibabel.load(path)
        mask = np.asanyarray(file.dataobj) > 0
        label, note = match_label(mask, file.affine, ct, affine)
    except Exception as error:  # nibabel raises about anything on a broken file
        raise ValueError(f"{path} cannot be used: {error}") from error
    return label.astype(np.uint8), note
