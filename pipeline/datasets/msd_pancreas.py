"""Task07 of the Medical Segmentation Decathlon: portal-venous CTs with pancreas and tumour.

Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022),
doi:10.1038/s41467-022-30695-9. 281 cases have a label; the labels of the test split are secret.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..files import new_folder, some
from .datalist import PANCREAS_LABELS, assign_folds, case_paths, write_datalist

LABELLED = 281
_FILE_NAME = re.compile(r"pancreas_(?P<number>\d+)\.nii(?P<packed>\.gz)?", re.IGNORECASE)
_FOLDERS = {"imagestr": "image", "labelstr": "label"}


@dataclass(frozen=True)
class Case:
    """The two files of one patient."""

    image: Path
    label: Path


def find_cases(folder: str | Path, *, skip_incomplete: bool = False) -> dict[str, Case]:
    """Find and pair the CTs and labels in folders ``imagesTr`` and ``labelsTr`` below ``folder``.

    Args:
        folder: where the archive was extracted, however it is nested.
        skip_incomplete: leave out cases that lack a file instead of refusing them.

    Returns:
        ``{"pancreas_001": Case(...), ...}``, sorted by id.

    Raises:
        FileNotFoundError: no such folder, or no complete case in it, or some case lacks a file.
        ValueError: two files claim to be the same thing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of the extracted archive")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        kind = _FOLDERS.get(path.parent.name.lower())
        # The archive also holds the "._" files of a Mac, which are no images.
        match = _FILE_NAME.fullmatch(path.name)
        if not kind or not match or not path.is_file():
            continue
        files = found.setdefault(f"pancreas_{int(match['number']):03d}", {})
        if kind in files:
            raise ValueError(f"two files for one thing: {files[kind]} and {path}: keep one of them")
        files[kind] = path
    lacking = {
        case: "no label in labelsTr" if "image" in files else "no CT in imagesTr"
        for case, files in sorted(found.items())
        if len(files) < 2
    }
    if len(lacking) == len(found):
        raise FileNotFoundError(
            f"no pancreas_NNN.nii.gz with its label below {folder}: "
            "give the folder that holds imagesTr and labelsTr"
        )
    if lacking and not skip_incomplete:
        listing = some([f"{case} has {what}" for case, what in lacking.items()])
        raise FileNotFoundError(
            f"incomplete below {folder}: {listing}: extract the archive again, "
            "or use --skip-incomplete"
        )
    return {case: Case(**found[case]) for case in sorted(found.keys() - lacking.keys())}


def prepare(
    folder: str | Path,
    output: str | Path,
    *,
    skip_incomplete: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[str]]:
    """Write ``images/``, ``labels/`` and ``datalist.json`` with five folds from the archive.

    The volumes are hard links where the file system has them: they take no second space.

    Returns:
        The path of the datalist, and notes on what a user should know.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        FileNotFoundError, ValueError: see `find_cases`; also for a file that is no NIfTI volume,
            and for a label on another grid than its CT.
    """
    from rich.progress import track

    cases = find_cases(folder, skip_incomplete=skip_incomplete)
    folds = assign_folds(list(cases))
    training = []
    with new_folder(output, sources=[folder], overwrite=overwrite) as stage:
        (stage / "images").mkdir()
        (stage / "labels").mkdir()
        for name, case in track(cases.items(), description="Preparing MSD Pancreas"):
            _refuse_other_grids(case)
            paths = case_paths(name, suffix=".nii.gz")
            for kind in ("image", "label"):
                _place(getattr(case, kind), stage / paths[kind])
            training.append(paths | {"fold": folds[name]})
        write_datalist(
            stage / "datalist.json",
            name="MSD Task07 Pancreas, the labelled cases in five folds",
            labels=PANCREAS_LABELS,
            training=training,
            testing=[],
        )
    notes = []
    if len(cases) != LABELLED:
        notes.append(f"{len(cases)} of {LABELLED} cases: the folds are not those of all cases")
    return Path(output) / "datalist.json", notes


def _refuse_other_grids(case: Case) -> None:
    """Compare the headers; the voxels are for ``data check``."""
    import nibabel

    from ..transforms.same_grid import grid_difference

    headers = []
    for path in (case.image, case.label):
        try:
            headers.append(nibabel.load(path))
        except Exception as error:  # nibabel raises about anything on a broken file
            raise ValueError(f"{path} cannot be read: {error}: extract it again") from error
    image, label = headers
    if how := grid_difference(label.shape, label.affine, image.shape, image.affine):
        raise ValueError(
            f"{case.label} has another grid than its CT ({how}): extract the archive again"
        )


def _place(source: Path, target: Path) -> None:
    """Link or copy a volume; ``target`` ends in ``.nii.gz``, so it is packed if it is not yet."""
    if source.suffix != ".gz":
        # Its very bytes: written anew by nibabel, a scaled volume would be rounded once more.
        with source.open("rb") as plain, gzip.open(target, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)
        return
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
