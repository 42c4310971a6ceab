"""Deliver what a store misses of a journal."""

from __future__ import annotations

from pathlib import Path

from ..files import read_json
from .delivery import Delivery
from .journal import Journal
from .store import check_sqlite


def deliver_journal(path: Path, tracking_uri: str | None) -> tuple[str, str, bool]:
    """Deliver what a store misses of one journal.

    Args:
        path: the journal.
        tracking_uri: the store; None for the one that the run was meant for.

    Returns:
        The tracking URI, the run's id there, and whether another process delivers it now.

    Raises:
        ValueError: the store is not known, or is SQLite's and cannot be opened.
    """
    from filelock import FileLock, Timeout

    if tracking_uri is None:
        uris = [read_json(state)["tracking_uri"] for state in path.parent.glob("delivered-*.json")]
        if len(uris) != 1 or "***@" in uris[0]:
            raise ValueError(
                f"{path}: give --tracking-uri; the run was meant for {uris or 'no store'}."
            )
        tracking_uri = uris[0]
    check_sqlite(tracking_uri)
    delivery = Delivery(Journal(path, append=False), tracking_uri)
    try:
        with FileLock(delivery.state_file.with_suffix(".lock"), timeout=0):
            delivery.deliver()
    except Timeout:
        return tracking_uri, delivery.run_id or "", True
    return tracking_uri, delivery.run_id or "", False
