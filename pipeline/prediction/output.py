"""Errors of the folder of predictions, which all further cases would meet too."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

_ROOM = "make room, and run the command again to do the rest"
_LOCKS = "its file system does not support locks: give an --output on another one"
_FIXES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENOLCK: _LOCKS,
    errno.ENOSYS: _LOCKS,
    errno.ENOTSUP: _LOCKS,
}


class OutputError(InputError):
    """The folder cannot be written, so all further cases would be done in vain."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error that all further cases would meet into an ``OutputError``.

    Raises:
        OutputError: names the path and what to do.
        OSError: the error is about one case: its name is too long, or a file of it is gone.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOENT):
            raise
        fix = _FIXES.get(error.errno, "give another --output")
        reason = error.strerror or error
        raise OutputError(f"{path} cannot be written ({reason}): {fix}.") from error
