"""What writing drawn cases has in common, whatever is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..datalist import case_paths, write_dataset
from ..folds import FOLDS, deal


def write_phantoms(
    output: str | Path,
    draw: Callable[[int, Path, Path], None],
    *,
    stem: str,
    suffix: str,
    title: str,
    about: Mapping[str, Any],
    count: int = 60,
    seed: int = 0,
    testing: float = 0.2,
    overwrite: bool = False,
) -> Path:
    """Write ``images/``, ``labels/`` and ``datalist.json`` of ``count`` drawn cases.

    Args:
        output: folder to make.
        draw: takes a case's index and the paths of its image and label, and writes both.
        stem: what stands before the number in a case's name.
        suffix: of the files, such as ``.png``.
        title: name of the dataset.
        about: modality, channels, labels and regions, for `write_datalist`.
        count: number of cases, at least 10, so that no fold is empty.
        seed: of the folds; with the index of a case, that of its drawing.
        testing: share of the cases, the last ones, that become the test split.
        overwrite: replace what was made in ``output`` before.

    Returns:
        The path of the datalist.

    Raises:
        ValueError: ``count``, ``seed`` or ``testing`` is out of range.
        FileExistsError: ``output`` has content and ``overwrite`` is off.
    """
    if not 10 <= count <= 9999:
        raise ValueError(f"count is {count}: give 10 to 9999, so that each of 5 folds has a case")
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
    if not 0 <= testing <= 0.5:
        raise ValueError(f"testing is {testing}: give a share from 0 to 0.5")
    index = {f"{stem}_{number:04d}": number for number in range(count)}
    cases = [case_paths(name, suffix=suffix) for name in index]
    cut = count - round(count * testing)
    folds = deal([case["patient"] for case in cases[:cut]], [1] * FOLDS, seed=seed)
    return write_dataset(
        output,
        index,
        lambda name, image_path, label_path: draw(index[name], image_path, label_path),
        datalist={
            "name": f"{title}, seed {seed}",
            **about,
            "subjects": "phantoms, drawn by code",
            "licence": "Apache-2.0",
            "training": [case | {"fold": folds[case["patient"]]} for case in cases[:cut]],
            "testing": cases[cut:],
        },
        suffix=suffix,
        progress=f"Drawing {title}",
        overwrite=overwrite,
    )
