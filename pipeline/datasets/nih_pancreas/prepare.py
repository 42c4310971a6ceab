"""NIH Pancreas-CT (CT-82): portal-venous CTs of healthy pancreases, 80 of them usable.

Roth et al., "Data From Pancreas-CT", The Cancer Imaging Archive (2016),
doi:10.7937/K9/TCIA.2016.tNB1kqBU. The CTs come as DICOM, the labels as NIfTI with other axes and no
position. Two of the first 82 cases were withdrawn, since they were copies of another one.
"""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import numpy as np

from ...bundle.listing import read_datalist
from ...files import some
from ...folders import CARDS
from ..datalist import pair_files, select_part, write_dataset
from ..dicom import series as dicom
from ..download import fetch_archive
from .idc import download_series, list_series, new_client
from .labels import match_label

#: Our split of the 80 cases, 60 to 20 as the article's 61 to 21 of 82, and five folds of the 60.
DATALIST = CARDS / "nih_pancreas" / "datalist.json"
COLLECTION = "pancreas_ct"
WITHDRAWN = ("PANCREAS_0025", "PANCREAS_0070")

_LABEL = re.compile(r"label(?P<number>\d{4})\.nii(\.gz)?", re.IGNORECASE)
_PATIENT = re.compile(r"PANCREAS_(?P<number>\d{4})", re.IGNORECASE)


def fetch_collection(
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
        ConnectionError, ValueError: see `fetch_archive`; also for CTs that did not arrive whole.
        ModuleNotFoundError: an optional dependency is not installed.
    """
    output = Path(output)
    client = new_client()
    labels = output / "files"
    if overwrite or archive is not None or not (labels.is_dir() and any(labels.iterdir())):
        fetch_archive("nih-pancreas", output, archive=archive, overwrite=overwrite)
    download_series(client, list_series(client, COLLECTION), output / "dicom")
    return output


def find_cases(
    folder: str | Path, *, skip_incomplete: bool = False
) -> dict[str, tuple[dicom.Series, Path]]:
    """Find the CT series and labels anywhere below ``folder`` and pair them by their numbers.

    Args:
        folder: where the CTs and the labels are, in any arrangement of folders.
        skip_incomplete: leave out cases that lack a file, or whose CT is not a valid volume,
            instead of refusing them.

    Returns:
        ``{"PANCREAS_0001": (ct, label), ...}``, sorted by id, without the withdrawn cases.

    Raises:
        FileNotFoundError: there is no such folder, it holds no complete case, or a case lacks a
            file.
        ValueError: a case has two CTs or labels, or its CT is not a valid volume.
    """

    def identify(path: Path) -> tuple[str, str] | None:
        match = _LABEL.fullmatch(path.name)
        return (f"PANCREAS_{match['number']}", "label") if match else None

    holds = "the downloaded CTs, and labelNNNN.nii.gz"
    files = pair_files(folder, identify, {"label": "label"}, holds=holds, skip_incomplete=False)
    labels = {name: found["label"] for name, found in files.items()}
    found: dict[str, dicom.Series] = {}
    for series in dicom.find_series(folder):
        # Copies of the data may have lost the patient's name in their headers.
        match = _PATIENT.fullmatch(series.patient) or _PATIENT.search(str(series.folder))
        if not match or not series.is_wanted:
            continue
        name = f"PANCREAS_{match['number']}"
        if name in WITHDRAWN:
            continue
        if name in found:
            raise ValueError(f"two CTs of {name}: {found[name]} and {series}: keep one")
        found[name] = series
    refused = {name: f"{name}: {ct}: {ct.problem}" for name, ct in found.items() if ct.problem}
    faults = list(refused.values())
    names = (found.keys() | labels.keys()) - set(WITHDRAWN)
    for name in sorted(names):
        if name not in found or name not in labels:
            faults.append(f"{name} has no {'CT' if name in labels else 'label'}")
    usable = sorted((found.keys() & labels.keys()) - refused.keys())
    if not usable or (faults and not skip_incomplete):
        message = f"incomplete below {folder}: {some(faults) or 'no case'}: download again"
        raise (ValueError if refused else FileNotFoundError)(
            f"{message}, or use --skip-incomplete" if usable else message
        )
    return {name: (found[name], labels[name]) for name in usable}


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
    cases = find_cases(folder, skip_incomplete=skip_incomplete)
    ours = read_datalist(DATALIST, needs_labels=True)
    part = select_part(ours, cases)
    notes = []

    def write_case(name: str, image_path: Path, label_path: Path) -> None:
        series, path = cases[name]
        ct, affine = dicom.read_series(series)
        label, note = _read_label(path, ct, affine)
        if note:
            notes.append(f"{name}: {note}")
        dicom.write_nifti(image_path, ct, affine)
        dicom.write_nifti(label_path, label, affine)

    datalist = write_dataset(
        output,
        cases,
        write_case,
        datalist=part,
        suffix=".nii.gz",
        progress="Preparing NIH Pancreas-CT",
        sources=[folder],
        overwrite=overwrite,
    )
    count = len(ours["training"]) + len(ours["testing"])
    if len(cases) != count:
        notes.append(f"{len(cases)} of {count} cases")
    return datalist, notes


def _read_label(path: Path, ct: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, str]:
    """Read a label on the grid of its CT, uint8 0 and 1; and a note where its file was wrong."""
    try:
        file = nibabel.load(path)
        mask = np.asanyarray(file.dataobj) > 0
        label, note = match_label(mask, file.affine, ct, affine)
    except Exception as error:  # nibabel raises about anything on a broken file
        raise ValueError(f"{path} cannot be used: {error}") from error
    return label.astype(np.uint8), note
