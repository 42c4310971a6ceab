"""A folder of predictions that processes, on one machine or several, fill together.

Each case has a lock, which only its process holds and which ends with that process, and a record,
which outlives it. So no case is done twice, and none is lost with a process that dies.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from .inputs import key

Record = dict[str, Any]

# Bytes of the lock file. Locks on single bytes need no file per case, and NFS knows them.
_REPORT, _RUN, _CASES = 0, 1, 2

_ROOM = "make room, and the same command goes on with what is missing"
_LOCKS = "its file system knows no locks: give an --output on another"
_FIXES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENOLCK: _LOCKS,
    errno.ENOSYS: _LOCKS,
    errno.ENOTSUP: _LOCKS,
}


class OutputError(InputError):
    """The folder can be written no more, so that further cases would be done in vain."""


class Cohort:
    """The state of a folder of predictions, in its hidden subfolder ``.predict``.

    What processes do in one folder at one time is one run, with one report: a process that
    starts while others are at work joins their run.

    Attributes:
        run: name of the run's report.
        worker: this process, for a record.
        entries: by name, the records that this process knows.

    Args:
        folder: where the masks go; made if need be.
        about: what the report says of the run.
        model: digest of what makes the masks, one for all processes of a run.
        total: how many cases this process is given.

    Raises:
        InputError: others make masks with another checkpoint or other settings there.
        OutputError: the folder cannot be made, written or locked.
    """

    def __init__(self, folder: Path, about: Record, *, model: str, total: int) -> None:
        self.folder, self.state = folder, folder / ".predict"
        self.about, self.total = about, total
        self.entries: dict[str, Record] = {}
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._due = 0.0  # the time from which on the report is written again
        with writing(folder):
            self.state.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            with self._reporting():
                if self._lock(_RUN, fcntl.LOCK_EX):  # nobody else is at work here
                    self.run = self._new_run()
                    os.ftruncate(self._file, 0)
                    os.pwrite(self._file, f"{self.run}\n{model}".encode(), 0)
                else:
                    self.run, other = os.pread(self._file, 1000, 0).decode().split("\n")
                    if other != model:
                        raise InputError(
                            f"{folder}: a process predicts there now with another checkpoint or "
                            "other settings; give another --output."
                        )
                self._lock(_RUN, fcntl.LOCK_SH)

    def close(self) -> None:
        """Leave the run."""
        os.close(self._file)

    def take(self, name: str) -> bool:
        """Hold a case, unless another process does."""
        return self._lock(self._byte(name), fcntl.LOCK_EX)

    def free(self, name: str) -> None:
        """Let others have a case."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._byte(name))

    def record(self, name: str) -> Record | None:
        """What is known of a case."""
        return _read(self.hidden(name, ".json"))

    def records(self) -> Iterator[Record]:
        """What is known of all cases that this folder has had."""
        for path in self.state.glob("*.json"):
            if record := _read(path):
                yield record

    def keep(self, record: Record) -> None:
        """Write the record of a case that this process holds."""
        self._write(self.hidden(record["name"], ".json"), record)

    def clear(self, name: str) -> None:
        """Remove what is half done of a case."""
        for path in self.state.glob(f"{_digest(name)}.*"):
            if path.suffix != ".json":
                path.unlink(missing_ok=True)

    def hidden(self, name: str, suffix: str) -> Path:
        """A file of a case that is no result, or none yet."""
        return self.state / f"{_digest(name)}{suffix}"

    def publish(self, paths: dict[Path, Path]) -> None:
        """Give finished files their names: ``{hidden file: its place}``."""
        for hidden, place in paths.items():
            with writing(place):
                with hidden.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(hidden, place)

    def note(self, entry: Record) -> None:
        """Put a case that has ended into the report.

        With very many cases the report is written more seldom, to cost a tenth of the time.
        """
        inner = ("stamp", "model", "attempt", "kept")
        self.entries[entry["name"]] = {k: v for k, v in entry.items() if k not in inner}
        if time.monotonic() >= self._due:
            started = time.monotonic()
            self.write_report()
            self._due = time.monotonic() + 10 * (time.monotonic() - started)

    def write_report(self) -> Path:
        """Merge what this process knows into the run's report; returns its path."""
        path = self.folder / self.run
        with self._reporting():
            report = _read(path) or {"run": self.run, "started": _now(), **self.about}
            known = {entry["name"]: entry for entry in report.get("cases", [])} | self.entries
            cases = [known[name] for name in sorted(known)]
            report |= {
                "updated": _now(),
                "total": max(self.total, len(cases)),
                "counts": dict(Counter(entry["status"] for entry in cases)),
                "cases": cases,
            }
            self._write(path, report)
        return path

    def _new_run(self) -> str:
        """The name of a report that is not there yet."""
        base = f"report-{time.strftime('%Y%m%d-%H%M%S')}"
        name, count = f"{base}.json", 1
        while (self.folder / name).exists():
            count += 1
            name = f"{base}_{count}.json"  # sorts behind the first
        return name

    def _write(self, path: Path, content: Record) -> None:
        part = self.state / f"{path.name}.part"
        with writing(path):
            try:
                part.write_text(json.dumps(content, indent=2) + "\n")
                os.replace(part, path)
            except OSError:
                part.unlink(missing_ok=True)
                raise

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Keep other processes from the report and from beginning a run."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _REPORT)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _REPORT)

    def _lock(self, byte: int, kind: int) -> bool:
        try:
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def _byte(self, name: str) -> int:
        return _CASES + int(_digest(name)[:12], 16)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses for all cases alike into an ``OutputError``.

    Raises:
        OutputError: names the path and what to do.
        OSError: it is about one case: its name is too long, or a file of it is gone.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOENT):
            raise
        fix = _FIXES.get(error.errno, "give another --output")
        reason = error.strerror or error
        raise OutputError(f"{path} cannot be written ({reason}): {fix}.") from error


def _digest(name: str) -> str:
    """Short, and the same for names that some file system cannot tell apart."""
    return hashlib.sha256(key(name).encode(errors="surrogateescape")).hexdigest()[:16]


def _read(path: Path) -> Record | None:
    """The content of a JSON file; None if there is none, or a power cut took it."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
