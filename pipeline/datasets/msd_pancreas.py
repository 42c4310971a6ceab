"""Task07 of the Medical Segmentation Decathlon: portal-venous CTs with pancreas and tumour.

Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022),
doi:10.1038/s41467-022-30695-9. 281 cases have a label; the labels of the test split are secret.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from pathlib import Path

from ..transforms.volume_checks import grid_difference
from .datalist import assign_folds, case_paths, pair_files, write_dataset
from .phantoms.ct import ABOUT

LABELLED = 281
_FILE_NAME = re.compile(r"pancreas_(?P<number>\d+)\.nii(\.gz)?", re.IGNORECASE)
_FOLDERS = {"imagestr": "image", "labelstr": "label"}


def find_cases(folder: str | Path, *, skip_incomplete: bool = False) -> dict[str, dict[str, Path]]:
    """Find and pair the CTs and labels in folders ``imagesTr`` and ``labelsTr`` below ``folder``.

    Args:
        folder: where the archive was extracted, however it is nested.
        skip_incomplete: leave out cases that lack a file instead of refusing them.

    Returns:
        ``{"pancreas_001": {"image": ..., "label": ...}, ...}``, sorted by id.

    Raises:
        FileNotFoundError, ValueError: see `pair_files`.
    """

    def identify(path: Path) -> tuple[str, str] | None:
        # The archive also holds the "._" files of a Mac, which are not images.
        match = _FILE_NAME.fullmatch(path.name)
        kind = _FOLDERS.get(path.parent.name.lower())
        return (f"pancreas_{int(match['number']):03d}", kind) if match and kind else None

    kinds = {"image": "CT in imagesTr", "label": "label in labelsTr"}
    holds = "imagesTr and labelsTr"
    return pair_files(folder, identify, kinds, holds=holds, skip_incomplete=skip_incomplete)


def prepare(
    folder: str | Path,
    output: str | Path,
    *,
    skip_incomplete: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[str]]:
    """Write ``images/``, ``labels/`` and ``datalist.json`` with five folds from the archive.

    The volumes are hard links where the file system has them, so they take no extra space.

    Returns:
        The path of the datalist, and notes on what a user should know.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        FileNotFoundError, ValueError: see `find_cases`; also for a file that is not a NIfTI
            volume, and for a label whose grid is not that of its CT.
    """
    cases = find_cases(folder, skip_incomplete=skip_incomplete)
    folds = assign_folds(cases)

    def write_case(name: str, image_path: Path, label_path: Path) -> None:
        image, label = cases[name]["image"], cases[name]["label"]
        _refuse_other_grids(image, label)
        _place(image, image_path)
        _place(label, label_path)

    datalist = write_dataset(
        output,
        cases,
        write_case,
        datalist={
            "name": "MSD Task07 Pancreas, the labelled cases in five folds",
            **ABOUT,
            "training": [
                case_paths(name, suffix=".nii.gz") | {"fold": folds[name]} for name in cases
            ],
        },
        suffix=".nii.gz",
        progress="Preparing MSD Pancreas",
        sources=[folder],
        overwrite=overwrite,
    )
    notes = []
    if len(cases) != LABELLED:
        notes.append(f"{len(cases)} of {LABELLED} cases: the folds are not those of all cases")
    return datalist, notes


def _refuse_other_grids(image_path: Path, label_path: Path) -> None:
    """Compare the headers; the voxels are for ``data check``."""
    import nibabel

    headers = []
    for path in (image_path, label_path):
        try:
            headers.append(nibabel.load(path))
        except Exception as error:  # nibabel raises about anything on a broken file
            raise ValueError(f"{path} cannot be read: {error}: extract it again") from error
    image, label = headers
    if how := grid_difference(label.shape, label.affine, image.shape, image.affine):
        raise ValueError(
            f"{label_path} has another grid than its CT ({how}): extract the archive again"
        )


def _place(source: Path, target: Path) -> None:
    """Link or copy a volume to ``target``, a ``.nii.gz``; one that is not packed yet is packed."""
    if source.suffix != ".gz":
        # The same bytes: nibabel would round a scaled volume once more.
        with source.open("rb") as plain, gzip.open(target, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)
        return
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
