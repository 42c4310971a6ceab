"""A new folder of files, which appears whole or not at all; and the folders that ship."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import some, write_json

_PACKAGE = Path(__file__).parent
# A wheel holds them inside the package, see pyproject.toml; a clone has them beside it.
_HOME = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent
BUNDLES, CARDS = _HOME / "bundles", _HOME / "data"
_STAGE, _MADE = ".part-", ".made.json"  # what `new_folder` keeps in a folder
_NOT_MADE = "which this command did not make and does not replace: give another folder"


@contextmanager
def new_folder(
    output: str | Path, *, sources: Iterable[str | Path] = (), overwrite: bool = False
) -> Iterator[Path]:
    """Yield a hidden folder whose files move to ``output`` if all went well.

    An interrupted or failed command leaves what was there before, and nothing half done.
    ``output`` keeps a list of the files that were made. ``overwrite`` replaces these and leaves
    all other files as they are.

    Args:
        output: folder to make.
        sources: files and folders that are read; none may lie in ``output``.
        overwrite: replace the files that were made in ``output`` before.

    Raises:
        FileExistsError: ``output`` is a file, or is not empty and ``overwrite`` is off, or holds
            files that were not made here or are on another disk.
        ValueError: one of ``sources`` lies in ``output``.
    """
    output = Path(output)
    for source in sources:
        if Path(source).resolve().is_relative_to(output.resolve()):
            raise ValueError(f"{source} lies in the folder to make, {output}: give another folder")
    check_free(output, overwrite=overwrite)
    old = _made(output)
    for item in output.iterdir() if output.exists() else []:
        if item.is_dir() and item.stat().st_dev != output.stat().st_dev:
            raise FileExistsError(
                f"{item} is on another disk than {output}, so they cannot be replaced together: "
                "give another folder"
            )
    place = output.resolve()  # also where a link leads to another disk
    place.parent.mkdir(parents=True, exist_ok=True)
    inside = place if place.exists() else place.parent  # ``place`` may be a mounted disk
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
        write_json(output / _MADE, sorted(mine | new))
        for name in sorted(new):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(output / name)
        for name in mine - new:
            (output / name).unlink(missing_ok=True)
        write_json(output / _MADE, sorted(new))
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def check_free(output: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that `new_folder` would refuse: for commands that first read for long.

    Raises:
        FileExistsError: as `new_folder`, as far as it is known before the files are.
    """
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file: give the path of a folder")
    there = [item.name for item in output.iterdir()] if output.exists() else []
    # What a killed command left half done does not count.
    if held := sorted(name for name in there if not name.startswith((_STAGE, f".{_MADE}."))):
        if not overwrite:
            raise FileExistsError(
                f"{output} is not empty: give another folder, or --overwrite to replace "
                "what was made there before"
            )
        if _made(output) is None:
            raise FileExistsError(f"{output} holds {some(held)}, {_NOT_MADE}")


def _made(folder: Path) -> set[str] | None:
    """The files that `new_folder` made in a folder; None if it made none."""
    listing = folder / _MADE
    if not listing.is_file():
        return None
    try:
        return set(json.loads(listing.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{listing} is broken ({error}): give another folder") from error


def _is_file(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()
