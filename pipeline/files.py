"""Files: read with a clear error, written whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def read_json(path: Path, fix: str = "give the path of a JSON file.") -> dict[str, Any]:
    """Read the object in a JSON file: UTF-8, also with the byte order mark of an editor, or UTF-16.

    Args:
        path: of the file.
        fix: the end of an error's message: what the user can do.

    Raises:
        InputError: the file does not exist, cannot be read, or does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_object)  # finds the encoding
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"{path}: there is no such file; {fix}") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror}); {fix}") from None
    except (ValueError, RecursionError) as error:  # the latter for a thousand brackets
        raise InputError(f"{path}: it is not JSON ({error}); {fix}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: it holds a {type(content).__name__}, not an object; {fix}")
    return content


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(
    path: Path, *, sync: bool = False, alone: bool = False, make_folder: bool = True
) -> Iterator[Path]:
    """Yield a hidden path beside ``path`` whose file replaces ``path`` at the end.

    So ``path`` is the old file or the new one at any moment, and an error leaves the old one.

    Args:
        path: the file.
        sync: wait until the disk holds the file, so that this is true after a power cut too.
        alone: no other process writes this file meanwhile. The hidden path is then always the
            same, so that the next write removes what a killed one left.
        make_folder: make the folder of the file if need be.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    writer = "" if alone else f".{secrets.token_hex(4)}"  # host and process id are not unique
    name = os.fsencode(path.name)
    short = path.name if len(name) <= 200 else hashlib.sha256(name).hexdigest()  # of 255 at most
    temporary = path.with_name(f".{short}{writer}.tmp")
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


def write_json(path: Path, content: Any, **options: bool) -> None:
    """Write a JSON file whole; a value that JSON does not know becomes a text.

    The ``options`` are those of `replacing`.
    """
    text = json.dumps(content, indent=4, default=str) + "\n"
    with replacing(path, **options) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], **options: bool) -> None:
    """Write a CSV file whole, in full precision, with undefined values empty.

    A row has values by column, and may lack some. The ``options`` are those of `replacing`.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (
        replacing(path, **options) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({key: defined(value) for key, value in row.items()} for row in rows)


def defined(value: Any) -> Any:
    """None for nan and infinity, which JSON and spreadsheets do not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def some(names: Sequence[str], *, shown: int = 5) -> str:
    """Join the first few names of a list, and say how many more there are."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
