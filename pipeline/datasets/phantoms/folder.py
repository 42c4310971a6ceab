"""What writing drawn cases has in common, whatever is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ...files import new_folder
from ..datalist import assign_folds, case_paths, write_datalist


def write_phantoms(
    output: str | Path,
    draw: Callable[[int, Path, Path], None],
    *,
    stem: str,
    suffix: str,
    title: str,
    labels: Mapping[str, str],
    progress: str,
    count: int,
    seed: int,
    testing: float,
    overwrite: bool,
) -> Path:
    """Write ``images/``, ``labels/`` and ``datalist.json`` of ``count`` drawn cases.

    Args:
        output: folder to make.
        draw: takes a case's index and the paths of its image and label, and writes them.
        stem: what stands before the number in a case's name.
        suffix: of the files, such as ``.png``.
        title: name of the dataset.
        labels: what the values of an index mask mean.
        progress: what stands before the progress bar.
        count: how many, 10 at least, so that no fold is empty.
        seed: of the folds.
        testing: share of the cases, the last ones, that become the test split.
        overwrite: replace what was made in ``output`` before.

    Returns:
        The path of the datalist.

    Raises:
        ValueError: ``count``, ``seed`` or ``testing`` is out of range.
        FileExistsError: ``output`` has content and ``overwrite`` is off.
    """
    from rich.progress import track

    if not 10 <= count <= 9999:
        raise ValueError(f"count is {count}: give 10 to 9999, so that each of 5 folds has a case")
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
    if not 0 <= testing <= 0.5:
        raise ValueError(f"testing is {testing}: give a share from 0 to 0.5")
    names = [f"{stem}_{number:04d}" for number in range(count)]
    paths = {name: case_paths(name, suffix=suffix) for name in names}
    cut = count - round(count * testing)
    folds = assign_folds(names[:cut], seed=seed)
    with new_folder(output, overwrite=overwrite) as stage:
        (stage / "images").mkdir()
        (stage / "labels").mkdir()
        for index, name in enumerate(track(names, description=progress)):
            draw(index, stage / paths[name]["image"], stage / paths[name]["label"])
        write_datalist(
            stage / "datalist.json",
            name=f"{title}, seed {seed}",
            labels=labels,
            training=[paths[name] | {"fold": folds[name]} for name in names[:cut]],
            testing=[paths[name] for name in names[cut:]],
        )
    return Path(output) / "datalist.json"
