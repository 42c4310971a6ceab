"""A run's events, in order and on the local disk, whatever happens to the MLflow server."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Event = dict[str, Any]

FOLDER = "mlflow"  # inside output_dir
JOURNAL = f"{FOLDER}/events.jsonl"


class Journal:
    """An append-only file of events, one JSON object a line, synced to disk line by line.

    Nothing here waits for a network, and a full disk stops no training: events that cannot be
    written stay in ``unwritten`` and are tried again with the next one. A line that a crash cut
    short is dropped when the journal is opened for appending. Threads may append together.

    Args:
        path: the file.
        append: open for appending; otherwise the journal is only read.
    """

    def __init__(self, path: str | Path, *, append: bool = True) -> None:
        self.path = Path(path)
        self.unwritten: list[Event] = []
        self._lock = threading.Lock()
        if append:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115, open for the run's life
            # Without a last line that has no end.
            self._file.truncate(self.path.read_bytes().rfind(b"\n") + 1)

    def append(self, event: Event) -> None:
        """Add an event; a full disk raises nothing."""
        with self._lock:
            self.unwritten.append(event)
            while self.unwritten:
                line = (json.dumps(self.unwritten[0]) + "\n").encode()
                end = os.fstat(self._file.fileno()).st_size
                try:
                    if self._file.write(line) < len(line):
                        raise OSError("the line was cut short")
                    os.fsync(self._file.fileno())
                except OSError:
                    self._file.truncate(end)
                    return
                del self.unwritten[0]

    def read(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Yield the events from a byte offset on, each with the offset behind it."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # being written, or cut short by a crash
                offset += len(line)
                yield json.loads(line), offset

    @property
    def first(self) -> Event | None:
        """The event that describes the run."""
        return next((event for event, _ in self.read()), None)


def find_journals(folders: Sequence[Path]) -> list[Path]:
    """Find the journals in and below some folders, evaluations after their trainings."""

    def order(path: Path) -> tuple[bool, Path]:
        with path.open("rb") as file:
            return b'"pipeline.training_key"' in file.read(100_000), path

    found = {path for folder in folders for path in folder.rglob(f"{FOLDER}*/events.jsonl")}
    return sorted(found, key=order)
