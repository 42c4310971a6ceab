"""The datalist: one JSON file that says which image has which label, patient and fold."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: What the index masks of the optic nerve head hold; the whole disc is rim and cup together.
DISC_CUP_LABELS = {"0": "background", "1": "disc rim", "2": "cup"}

#: What those of the pancreas hold, as in the Medical Segmentation Decathlon.
PANCREAS_LABELS = {"0": "background", "1": "pancreas", "2": "tumour"}


def read_datalist(path: str | Path) -> dict[str, Any]:
    """Read a datalist and make sure that it has the shape the rest of the code relies on.

    Args:
        path: JSON file with ``labels``, ``training`` and, where there is one, ``testing``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or a part that every datalist has is absent or of a wrong kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no datalist at {path}: give the path of a datalist.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON, or bytes that are not UTF-8
        raise ValueError(f"{path} is not JSON ({error}): write it anew") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}: a datalist is a JSON object")
    labels = content.get("labels")
    named = isinstance(labels, dict) and all(
        value.isdecimal() and isinstance(name, str) for value, name in labels.items()
    )
    if not named or "0" not in labels:
        raise ValueError(
            f'{path}: "labels" is {labels!r}: map each mask value to a name, '
            'such as {"0": "background", "1": "disc rim"}'
        )
    for split in ("training", "testing"):
        if not isinstance(content.setdefault(split, []), list):
            raise ValueError(f'{path}: "{split}" is not a list of cases')
    if not content["training"] and not content["testing"]:
        raise ValueError(f'{path} lists no case: fill "training" or "testing"')
    return content


def write_datalist(
    path: Path, *, name: str, labels: dict[str, str], training: list, testing: list
) -> None:
    """Write a datalist, one case per line so that a difference between two is readable."""

    def lines(cases: Iterable[dict]) -> str:
        rows = ",\n".join("    " + json.dumps(case) for case in cases)
        return f"[\n{rows}\n  ]" if rows else "[]"

    path.write_text(
        f'{{\n  "name": {json.dumps(name)},\n  "labels": {json.dumps(labels)},\n'
        f'  "training": {lines(training)},\n  "testing": {lines(testing)}\n}}\n',
        encoding="utf-8",
    )


def case_paths(name: str, *, suffix: str = ".png") -> dict[str, str]:
    """The entry of the case ``name`` in the layout that every prepared folder has."""
    return {"image": f"images/{name}{suffix}", "label": f"labels/{name}{suffix}", "patient": name}


def assign_folds(patients: Sequence[str], *, folds: int = 5, seed: int = 0) -> dict[str, int]:
    """Deal patients to folds whose sizes differ by one at most: ``{patient: fold}``.

    The order of ``patients`` does not matter. `random.Random.shuffle` is the same on every machine.
    """
    order = sorted(set(patients))
    random.Random(seed).shuffle(order)
    return {patient: place % folds for place, patient in enumerate(order)}


@contextmanager
def new_folder(
    output: str | Path, *, sources: Iterable[str | Path] = (), overwrite: bool = False
) -> Iterator[Path]:
    """Yield a hidden folder beside ``output`` whose files take their place if all went well.

    An interrupted or failed command thus leaves what was there before, and nothing half done.
    ``output`` keeps a list of the files that were made. With ``overwrite`` these are replaced, and
    no other file is removed or changed: neither a user's own nor one that he added later.

    Args:
        output: folder to make.
        sources: files and folders that are read, none of which may lie in ``output``.
        overwrite: replace the files that were made in ``output`` before.

    Raises:
        FileExistsError: ``output`` is a file, or a folder with content and ``overwrite`` is off,
            or one with files that were not made here or are on another disk.
        ValueError: one of ``sources`` lies in ``output``.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file: give the path of a folder")
    for source in sources:
        if Path(source).resolve().is_relative_to(output.resolve()):
            raise ValueError(f"{source} lies in the folder to make, {output}: give another folder")
    old = _made(output)
    there = list(output.iterdir()) if output.exists() else []
    if held := sorted(item.name for item in there if not item.name.startswith(_STAGE)):
        if not overwrite:
            raise FileExistsError(
                f"{output} is not empty: give another folder, or --overwrite to replace "
                "what was made there before"
            )
        if old is None:
            raise FileExistsError(f"{output} holds {some(held)}, {_NOT_MADE}")
    for item in there:
        if item.is_dir() and item.stat().st_dev != output.stat().st_dev:
            raise FileExistsError(
                f"{item} is on another disk than {output}, so that they cannot be replaced "
                "together: give another folder"
            )
    place = output.resolve()  # also where a link leads to another disk
    place.parent.mkdir(parents=True, exist_ok=True)
    inside = place if place.exists() else place.parent  # another disk may begin at ``place``
    stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=inside))
    try:
        yield stage
        new = {path.relative_to(stage).as_posix() for path in stage.rglob("*") if _is_file(path)}
        mine = old or set()
        foreign = sorted(
            name
            for name in new
            if (name not in mine and os.path.lexists(output / name)) or (output / name).is_dir()
        )
        if foreign:
            raise FileExistsError(f"{output} holds {some(foreign)}, {_NOT_MADE}")
        output.mkdir(exist_ok=True)
        _write_made(output, mine | new)
        for name in sorted(new):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(output / name)
        for name in mine - new:
            (output / name).unlink(missing_ok=True)
        _write_made(output, new)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


_STAGE, _MADE = ".part-", ".made.json"


def _made(folder: Path) -> set[str] | None:
    """The files of a folder that `new_folder` has made; None if it made none."""
    listing = folder / _MADE
    if not listing.is_file():
        return None
    try:
        return set(json.loads(listing.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{listing} is broken ({error}): give another folder") from error


def _write_made(folder: Path, names: set[str]) -> None:
    temporary = folder / f"{_STAGE}{os.getpid()}.json"
    temporary.write_text(json.dumps(sorted(names)), encoding="utf-8")
    temporary.replace(folder / _MADE)


_NOT_MADE = "which was not made here and is not replaced: give another folder"


def _is_file(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def some(listing: list[str], *, shown: int = 5) -> str:
    """Join the first few entries and say how many more there are."""
    rest = f" and {len(listing) - shown} more" if len(listing) > shown else ""
    return "; ".join(listing[:shown]) + rest
