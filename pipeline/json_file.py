"""A JSON file that a user gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import InputError


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
