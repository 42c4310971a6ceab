"""Find runs whose process died, and mark them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .delivery import RUN_KEY, Delivery
from .journal import Journal, find_journals
from .provenance import HOST, PROCESS, is_dead


def mark_dead_runs(client: Any, experiment_ids: Sequence[str], own: str | None = None) -> list[Any]:
    """Set runs to KILLED that are RUNNING although their process, on this host, has ended.

    Their journals are delivered first, since they may hold the end of the run.

    Args:
        client: of the store.
        experiment_ids: where to look.
        own: id of the caller's run, which lives: a resumed one may still name its old process.

    Returns:
        The runs that were marked.
    """
    marked = []
    for run in client.search_runs(
        list(experiment_ids), "attributes.status = 'RUNNING'", max_results=1000
    ):
        if run.info.run_id == own or not is_dead(run.data.tags):
            continue
        journal = find_journal(run.data.tags)
        if journal is not None:
            Delivery(journal, client.tracking_uri).deliver()
        if client.get_run(run.info.run_id).info.status == "RUNNING":
            mark_killed(client, run, "its process has ended")
            marked.append(run)
    return marked


def mark_killed(client: Any, run: Any, reason: str) -> None:
    """Set a run to KILLED, as of its last metric."""
    tags = run.data.tags
    ended = [metric.timestamp for metric in run.data._metric_objs] or [run.info.start_time]
    process = f"{tags.get(PROCESS, 'unknown process')} on {tags.get(HOST, 'unknown host')}"
    client.set_tag(run.info.run_id, "pipeline.error", f"{reason}: {process}")
    client.set_terminated(run.info.run_id, "KILLED", end_time=max(ended))


def find_journal(tags: dict[str, str]) -> Journal | None:
    """Find the journal of a run, if it is on this machine."""
    for path in find_journals([Path(tags.get("pipeline.output_dir", ""))]):
        journal = Journal(path, append=False)
        first = journal.first
        if first is not None and first["tags"][RUN_KEY] == tags.get(RUN_KEY):
            return journal
    return None
