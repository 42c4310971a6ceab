"""A training repeated from its MLflow record."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import sha256
from .delivery import PARENT_KEY, PARENT_NAME, PARENT_TAG
from .provenance import environment, git_tags
from .store import from_anywhere


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
    if sha256(datalist) != tags.get("pipeline.datalist_sha256"):
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
