"""Journals that a store does not have all of: found and delivered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .delivery import Delivery
from .journal import Journal


def sync(path: Path, tracking_uri: str | None) -> tuple[str, str, bool]:
    """Deliver what is missing of one journal.

    Args:
        path: the journal.
        tracking_uri: where to; None for where it was meant to go.

    Returns:
        the tracking URI, the run's id there, and whether another process is already at it.

    Raises:
        ValueError: when it is not known where to.
    """
    from filelock import FileLock, Timeout

    if tracking_uri is None:
        states = [json.loads(state.read_text()) for state in path.parent.glob("delivered-*.json")]
        uris = [state["tracking_uri"] for state in states]
        if len(uris) != 1 or "***@" in uris[0]:
            raise ValueError(f"{path}: give --tracking-uri, since it was to go to {uris or 'none'}")
        tracking_uri = uris[0]
    delivery = Delivery(Journal(path, append=False), tracking_uri)
    try:
        with FileLock(delivery.state_file.with_suffix(".lock"), timeout=0):
            delivery.deliver()
    except Timeout:
        return tracking_uri, delivery.run_id or "", True
    return tracking_uri, delivery.run_id or "", False


def journals(folders: Sequence[Path]) -> list[Path]:
    """The journals in and below some folders, those of evaluations behind their trainings'."""

    def place(path: Path) -> tuple[bool, Path]:
        with path.open("rb") as file:
            return b'"pipeline.training_key"' in file.read(100_000), path

    found = {path for folder in folders for path in folder.rglob("mlflow*/events.jsonl")}
    return sorted(found, key=place)
