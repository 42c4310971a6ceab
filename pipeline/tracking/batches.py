"""Events as MLflow's requests take them: many together, or each alone."""

from __future__ import annotations

from collections.abc import Iterator

from .journal import Event


def merge_events(events: Iterator[tuple[Event, int]]) -> Iterator[tuple[Event, int]]:
    """Join metrics, parameters and tags that follow each other, up to MLflow's limits.

    Args:
        events: each with the journal's offset behind it.
    """
    batch: Event = {}
    end = 0
    for event, offset in events:
        if _fits(batch, event):
            batch = {
                "kind": "log",
                "metrics": batch.get("metrics", []) + event.get("metrics", []),
                "params": batch.get("params", {}) | event.get("params", {}),
                "tags": batch.get("tags", {}) | event.get("tags", {}),
            }
        else:
            if batch:
                yield batch, end
            batch = event
        end = offset
    if batch:
        yield batch, end


def split_event(event: Event) -> list[Event]:
    """Split an event into its metrics, parameters and tags, each in an event of its own."""
    metrics = [{"kind": "log", "metrics": [metric]} for metric in event.get("metrics", [])]
    named = [
        {"kind": "log", part: {name: value}}
        for part in ("params", "tags")
        for name, value in event.get(part, {}).items()
    ]
    return metrics + named


def _fits(batch: Event, event: Event) -> bool:
    """Tell whether one request may hold two events."""
    if not batch.get("kind") == event["kind"] == "log":
        return False
    sizes = {
        name: len(batch.get(name, ())) + len(event.get(name, ()))
        for name in ("metrics", "params", "tags")
    }
    known = batch.get("params", {})
    if any(known.get(name, value) != value for name, value in event.get("params", {}).items()):
        return False  # MLflow keeps the first value and refuses another
    return sum(sizes.values()) <= 1000 and sizes["params"] <= 100 and sizes["tags"] <= 100
