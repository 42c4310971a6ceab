"""Repeat a training from its MLflow record."""

from __future__ import annotations

import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..bundle.configs import texts
from ..bundle.lineage import DIGEST, TRAINED_ON
from ..bundle.trained import BUNDLE, CONFIG
from ..files import read_json, sha256, write_json
from .delivery import PARENT_KEY, PARENT_NAME, PARENT_TAG
from .provenance import describe_environment, git_tags
from .store import make_absolute


def prepare_rerun(client: Any, run: Any, output_dir: Path) -> tuple[list[str], Path, list[str]]:
    """Put the config of a training, from its artifacts, into a new folder.

    Returns:
        The command, the folder to run it in, and what differs from the first time.

    Raises:
        ValueError: the record is not complete, or the data have changed.
    """
    run_id, tags = run.info.run_id, run.data.tags
    if tags.get("pipeline.kind") != "training":
        raise ValueError(f"run {run_id}: it is not a training of this project; give the id of one.")
    if output_dir.exists() and any(output_dir.iterdir()):
        raise ValueError(f"output {output_dir}: the folder is not empty; give another.")
    names = {artifact.path for artifact in client.list_artifacts(run_id)}
    if not {CONFIG, "environment.json", "bundle"} <= names:
        raise ValueError(
            f"run {run_id}: config.json, environment.json or bundle is not among its artifacts."
        )
    datalist = tags.get("pipeline.datalist", "")
    if not Path(datalist).is_file():
        raise ValueError(
            f"datalist {datalist}: run {run_id} read it, but it does not exist; put it back."
        )
    if sha256(datalist) != tags.get("pipeline.datalist_sha256"):
        raise ValueError(
            f"datalist {datalist}: it has changed since run {run_id}; put the old file back."
        )
    with TemporaryDirectory() as scratch:
        content = read_json(Path(client.download_artifacts(run_id, CONFIG, scratch)))
    if unknown := find_unknown(content):
        raise ValueError(
            f"run {run_id}: this version has no {unknown}; check out the commit that recorded the "
            f"run, {tags.get('pipeline.git_commit', 'which it does not say')}."
        )
    output_dir.mkdir(parents=True, exist_ok=True)
    configs = Path(client.download_artifacts(run_id, "bundle", str(output_dir)))
    configs = configs.rename(output_dir / "configs")
    environment = client.download_artifacts(run_id, "environment.json", str(output_dir))
    shutil.move(environment, configs / "environment.json")
    before = read_json(configs / "environment.json")
    folder = Path(before["working_directory"])
    folder = folder if folder.is_dir() else Path.cwd()
    config = configs / CONFIG
    for name in ("_meta_", DIGEST, BUNDLE, TRAINED_ON):  # the new run has its own
        content.pop(name, None)
    # Its bundle is not the folder of the copy, and it does not belong to the first run's plan.
    own = {"pipeline.bundle": tags["pipeline.bundle"], "pipeline.rerun_of": run_id}
    parent = {PARENT_TAG, PARENT_KEY, PARENT_NAME}
    kept = {name: tag for name, tag in content["tags"].items() if name not in parent}
    # It goes to the store where the first run was found, which the environment names.
    store = {"tracking_uri": "", "tracking_offline": False}
    content |= {"resume": False, "register": "", "tags": kept | own, **store}
    write_json(config, content)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config.resolve())]
    command += ["--output_dir", str(output_dir.resolve())]
    command += ["--run_name", f"rerun of {run.info.run_name}"]
    return command, folder, list_differences(tags, before)


def find_unknown(config: Any) -> str:
    """The first component of this project in a config that this version does not have."""
    component = r"\bpipeline(?:\.[A-Za-z_]\w*)+"
    for text in texts(config):
        # Neither a path nor a tag is a component.
        named = re.fullmatch(component, text) or text.startswith("$")
        for name in re.findall(component, text) if named else ():
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                return name
    return ""


def list_differences(tags: dict[str, str], before: dict[str, Any]) -> list[str]:
    """List how code and machine differ from those of an earlier run."""
    environment = describe_environment()
    now = {name: environment[name] for name in ("packages", "gpus", "platform", "cpu_cores")}
    now |= git_tags()
    then = {**tags, **before}
    return [
        f"{name}: {then.get(name)}, now {value}"
        for name, value in now.items()
        if then.get(name) != value
    ]


def run_command(command: Sequence[str], folder: Path, tracking_uri: str) -> int:
    """Run a command that records in this store; its output is shown."""
    environ = {**os.environ, "MLFLOW_TRACKING_URI": make_absolute(tracking_uri)}
    return subprocess.run(command, cwd=folder, env=environ).returncode
