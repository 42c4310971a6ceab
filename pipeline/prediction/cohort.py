"""A folder of predictions that several processes, on one machine or more, fill together.

Each case has a lock, which is free again when its process ends, and a record, which stays. So no
case is done twice, and none is lost with a process that dies.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_json
from ..walk import LeftOut
from .input_case import make_printable
from .names import normalize_name
from .output import writing
from .page import write_pages

CaseRecord = dict[str, Any]

# Bytes of the lock file. Locks on single bytes need no file per case and work on NFS.
_REPORT, _RUN, _CASES = 0, 1, 2


class Cohort:
    """The state of a folder of predictions, in its hidden subfolder ``.predict``.

    Processes that work in one folder at the same time are one run with one report: a process that
    starts while others are at work joins their run.

    Attributes:
        run: file name of the run's report.
        worker: host and id of this process.
        entries: the records that this process knows, by name of the case.

    Args:
        folder: of the masks; made if need be.
        about: what the report says of the run.
        model: digest of what makes the masks, the same for all processes of a run.
        total: number of cases that this process is given.
        left_out: what it is given besides, each a path and the reason.

    Raises:
        InputError: other processes work there with another checkpoint or other settings.
        OutputError: the folder cannot be made, written or locked.
    """

    def __init__(
        self,
        folder: Path,
        about: CaseRecord,
        *,
        model: str,
        total: int,
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        self.folder, self.state = folder, folder / ".predict"
        self.about, self.total = about, total
        self.left_out = [
            {"path": make_printable(str(path)), "reason": reason} for path, reason in left_out
        ]
        self.entries: dict[str, CaseRecord] = {}
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._due = 0.0  # when the report is written again
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
                            f"{folder}: another process predicts there now with another checkpoint "
                            "or other settings; give another --output."
                        )
                self._lock(_RUN, fcntl.LOCK_SH)

    def close(self) -> None:
        """Leave the run."""
        os.close(self._file)

    def take(self, name: str) -> bool:
        """Lock a case, unless another process has it."""
        return self._lock(self._byte(name), fcntl.LOCK_EX)

    def free(self, name: str) -> None:
        """Unlock a case."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._byte(name))

    def record(self, name: str) -> CaseRecord | None:
        """Read the record of a case; None if there is none."""
        return _read(self._path(name))

    def records(self) -> Iterator[CaseRecord]:
        """Read the records of all cases that this folder has had."""
        for path in self.state.glob("*.json"):
            if record := _read(path):
                yield record

    def refuse_other_models(self, model: str) -> None:
        """Refuse masks of another network, which would pass for those of this one.

        Raises:
            InputError: names a case of another model.
        """
        for known in self.records():
            files = known["outputs"] if known["status"] == "done" else known.get("kept", ())
            if known["model"] != model and any((self.folder / name).exists() for name in files):
                raise InputError(
                    f"{self.folder}: it holds {known['name']} by another checkpoint or other "
                    "settings; give another --output, or --overwrite."
                )

    def keep(self, record: CaseRecord) -> None:
        """Write the record of a case that this process holds."""
        path = self._path(record["name"])
        with writing(path):
            write_json(path, record, alone=True, make_folder=False)

    def note(self, entry: CaseRecord) -> None:
        """Put a case that has ended into the report.

        The report of very many cases is written less often, to take a tenth of the time at most.
        """
        inner = ("stamp", "model", "attempt", "kept")
        self.entries[entry["name"]] = {k: v for k, v in entry.items() if k not in inner}
        if time.monotonic() >= self._due:
            started = time.monotonic()
            self.write_report()
            self._due = time.monotonic() + 10 * (time.monotonic() - started)

    def write_report(self, *, pages: bool = False) -> Path:
        """Merge what this process knows into the run's report, and return its path.

        Args:
            pages: write its HTML and CSV too, under the same lock: the last process has all cases.
        """
        path = self.folder / self.run
        with self._reporting(), writing(path):
            report = _read(path) or {"run": self.run, "started": _now(), **self.about}
            known = {entry["name"]: entry for entry in report.get("cases", [])} | self.entries
            cases = [known[name] for name in sorted(known)]
            others = [each for each in report.get("left_out", []) if each not in self.left_out]
            report |= {
                "updated": _now(),
                "total": max(self.total, len(cases)),
                "counts": dict(Counter(entry["status"] for entry in cases)),
                "cases": cases,
                "left_out": self.left_out + others,
            }
            write_json(path, report, alone=True, make_folder=False)
            if pages:
                write_pages(path, report)
        return path

    def _new_run(self) -> str:
        """Choose the name of a new report."""
        base = f"report-{time.strftime('%Y%m%d-%H%M%S')}"
        name, count = f"{base}.json", 1
        while (self.folder / name).exists():
            count += 1
            name = f"{base}_{count}.json"  # sorts after the first
        return name

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Keep other processes from writing the report and from beginning a run."""
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

    def _path(self, name: str) -> Path:
        return self.state / f"{_digest(name)}.json"

    def _byte(self, name: str) -> int:
        return _CASES + int(_digest(name)[:12], 16)


def _digest(name: str) -> str:
    """Shorten a name, to the same text if some file system cannot tell two names apart."""
    return hashlib.sha256(normalize_name(name).encode(errors="surrogateescape")).hexdigest()[:16]


def _read(path: Path) -> CaseRecord | None:
    """Read a JSON file; None if it does not exist or a power cut broke it."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
