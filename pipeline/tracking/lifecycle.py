"""Runs after the fact: deliver what is missing, mark the dead, repeat one from its record."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .delivery import PARENT_KEY, PARENT_NAME, PARENT_TAG, RUN_KEY, Delivery
from .journal import Journal
from .provenance import HOST, PROCESS, environment, file_sha256, git_tags, is_dead
from .store import from_anywhere

logger = logging.getLogger(__name__)


def mark_dead_runs(client: Any, experiment_ids: Sequence[str]) -> list[Any]:
    """Set runs to KILLED that say RUNNING while their process, on this host, is gone.

    What such a run's journal still holds is delivered first: its end may be in it.

    Returns:
        the runs that were marked.
    """
    marked = []
    for run in client.search_runs(
        list(experiment_ids), "attributes.status = 'RUNNING'", max_results=1000
    ):
        if not is_dead(run.data.tags):
            continue
        journal = journal_of(run.data.tags)
        if journal is not None:
            Delivery(journal, client.tracking_uri).deliver()
        if client.get_run(run.info.run_id).info.status == "RUNNING":
            mark(client, run, "its process is gone")
            marked.append(run)
    return marked


def mark(client: Any, run: Any, reason: str) -> None:
    """Set a run to KILLED, as of its last metric."""
    tags = run.data.tags
    ended = [metric.timestamp for metric in run.data._metric_objs] or [run.info.start_time]
    process = f"{tags.get(PROCESS, 'unknown process')} on {tags.get(HOST, 'unknown host')}"
    client.set_tag(run.info.run_id, "pipeline.error", f"{reason}: {process}")
    client.set_terminated(run.info.run_id, "KILLED", end_time=max(ended))


def journal_of(tags: dict[str, str]) -> Journal | None:
    """The journal of a run, if it is on this machine."""
    for path in journals([Path(tags.get("pipeline.output_dir", ""))]):
        journal = Journal(path, append=False)
        first = journal.first
        if first is not None and first["tags"][RUN_KEY] == tags.get(RUN_KEY):
            return journal
    return None


def journals(folders: Sequence[Path]) -> list[Path]:
    """The journals in and below some folders, those of evaluations behind their trainings'."""

    def place(path: Path) -> tuple[bool, Path]:
        with path.open("rb") as file:
            return b'"pipeline.training_key"' in file.read(100_000), path

    found = {path for folder in folders for path in folder.rglob("mlflow*/events.jsonl")}
    return sorted(found, key=place)


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


def prepare_rerun(client: Any, run: Any, output_dir: Path) -> tuple[list[str], Path, list[str]]:
    """What it takes to repeat a training: its config, from the artifacts, in a new folder.

    Returns:
        the command, the folder to run it in, and what differs from the first time.

    Raises:
        ValueError: when the run's record or its data are not what they were.
    """
    run_id, tags = run.info.run_id, run.data.tags
    if tags.get("pipeline.kind") != "training":
        raise ValueError(f"run {run_id}: it is no training of this project; give one's id")
    if output_dir.exists() and any(output_dir.iterdir()):
        raise ValueError(f"output {output_dir}: the folder is not empty; give another")
    names = {artifact.path for artifact in client.list_artifacts(run_id)}
    if not {"config.json", "environment.json", "bundle"} <= names:
        raise ValueError(f"run {run_id}: its artifacts lack config.json, environment.json, bundle")
    datalist = tags.get("pipeline.datalist", "")
    if not Path(datalist).is_file():
        raise ValueError(f"datalist {datalist}: the file of run {run_id} is gone; put it back")
    if file_sha256(datalist) != tags.get("pipeline.datalist_sha256"):
        raise ValueError(f"datalist {datalist}: it has changed since run {run_id}; put it back")
    output_dir.mkdir(parents=True, exist_ok=True)
    configs = Path(client.download_artifacts(run_id, "bundle", str(output_dir)))
    configs = configs.rename(output_dir / "configs")
    for name in ("config.json", "environment.json"):
        shutil.move(client.download_artifacts(run_id, name, str(output_dir)), configs / name)
    before = json.loads((configs / "environment.json").read_text())
    folder = Path(before["working_directory"])
    folder = folder if folder.is_dir() else Path.cwd()
    config = configs / "config.json"
    content = json.loads(config.read_text())
    for name in ("_meta_", "datalist_digest"):  # the first time's, which the new run has too
        content.pop(name, None)
    # The folder of the copy says nothing, and a plan has had its run.
    own = {"pipeline.bundle": tags["pipeline.bundle"], "pipeline.rerun_of": run_id}
    parent = {PARENT_TAG, PARENT_KEY, PARENT_NAME}
    kept = {name: tag for name, tag in content["tags"].items() if name not in parent}
    # Recorded where the first run was found, which the environment says, wherever it was sent.
    store = {"tracking_uri": "", "tracking_offline": False}
    content |= {"resume": False, "register": "", "tags": kept | own, **store}
    config.write_text(json.dumps(content, indent=4))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config.resolve())]
    command += ["--output_dir", str(output_dir.resolve())]
    command += ["--run_name", f"rerun of {run.info.run_name}"]
    return command, folder, differences(tags, before)


def differences(tags: dict[str, str], before: dict[str, Any]) -> list[str]:
    """What of code and machine is not as it was at an earlier run."""
    now, found = environment(), []
    for name in ("packages", "gpus", "platform", "cpu_cores"):
        if now[name] != before[name]:
            found.append(f"{name}: {before[name]}, now {now[name]}")
    for name, value in git_tags(Path(__file__).parent).items():
        if tags.get(name) != value:
            found.append(f"{name}: {tags.get(name)}, now {value}")
    return found


def run_command(command: Sequence[str], folder: Path, tracking_uri: str) -> int:
    """Run it; its output goes where ours goes."""
    environ = {**os.environ, "MLFLOW_TRACKING_URI": from_anywhere(tracking_uri)}
    return subprocess.run(command, cwd=folder, env=environ).returncode
