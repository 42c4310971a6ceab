"""Files and folders: read with a clear error, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError

_STAGE, _MADE = ".part-", ".made.json"  # what `new_folder` keeps in a folder
_NOT_MADE = "which was not made here and is not replaced: give another folder"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two of {next(name for name in names if names.count(name) > 1)!r}")
    return found


def read_json(path: Path, fix: str = "give the path of a JSON file.") -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: of the file.
        fix: the end of an error's message: what the user can do.

    Raises:
        InputError: there is no such file, it cannot be read, or no JSON object is in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"{path}: there is no such file; {fix}") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror}); {fix}") from None
    except ValueError as error:
        raise InputError(f"{path}: it is not JSON ({error}); {fix}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: it holds a {type(content).__name__}, no JSON object; {fix}")
    return content


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Yield a hidden path beside ``path`` that takes its place at the end.

    So ``path`` is the old file or the new one at any moment, and an error leaves the old one.

    Args:
        path: the file; its folder is made if need be.
        sync: wait until the disk has it, so that a power cut leaves one of the two as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if sync:
            _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if sync:
        _sync(path.parent)  # the renaming itself


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in the place of what was there; what JSON does not know becomes a text."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4, default=str) + "\n", encoding="utf-8")


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
    with replacing(folder / _MADE) as temporary:
        temporary.write_text(json.dumps(sorted(names)), encoding="utf-8")


def _is_file(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def some(names: Sequence[str], *, shown: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
