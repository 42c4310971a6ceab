"""Where a run comes from: its code, machine, process and data."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from ..files import sha256
from .delivery import RUN_KEY
from .journal import JOURNAL, Journal
from .store import without_password

HOST, PROCESS, NAMESPACE = "pipeline.host", "pipeline.process", "pipeline.namespace"
PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "mlflow", "attention-unet-pipeline")


def process_tags() -> dict[str, str]:
    """Describe this process by tags, to find out later whether it still lives."""
    import psutil

    started = psutil.Process().create_time()
    return {
        HOST: socket.gethostname(),
        PROCESS: f"{os.getpid()}@{started:.0f}",
        NAMESPACE: get_namespace(),
    }


def is_dead(tags: dict[str, str]) -> bool:
    """Tell whether the process of a run's ``process_tags`` has certainly ended.

    A process id is valid only on its own host and inside its own container. Nothing is known
    about any other process, which counts as living.
    """
    import psutil

    if tags.get(HOST) != socket.gethostname() or tags.get(NAMESPACE) != get_namespace():
        return False
    pid, _, started = tags.get(PROCESS, "").partition("@")
    try:
        # Another process may have the id now; clocks are corrected by a second or two.
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > 5
    except (psutil.NoSuchProcess, ValueError):
        return bool(pid)


def get_namespace() -> str:
    """Name the container, or else the machine, that process ids belong to."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return platform.node()


def git_tags() -> dict[str, str]:
    """Find the commit of this code and whether files differ from it; nothing outside of git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"pipeline.git_commit": git("rev-parse", "HEAD"), "pipeline.git_dirty": str(dirty)}
    except (OSError, subprocess.CalledProcessError):
        return {}


def describe_environment() -> dict[str, Any]:
    """Describe versions and hardware."""
    import torch

    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "command": [without_password(word) for word in sys.argv],
        "working_directory": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": name_processor(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "packages": versions,
    }


def name_processor() -> str:
    """The name of the processor, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def datalist_tags(datalist: str) -> dict[str, str]:
    """Get the path of the datalist and its digest."""
    return {
        "pipeline.datalist": str(Path(datalist).resolve()),
        "pipeline.datalist_sha256": sha256(datalist),
    }


def checkpoint_tags(checkpoint: Path) -> dict[str, str]:
    """Get the digest of a checkpoint, and the key of the run that wrote it if that is known.

    The run has another id in every store; the delivery finds it by its key.
    """
    tags = {"pipeline.checkpoint_sha256": sha256(checkpoint)}
    if first := Journal(checkpoint.parent / JOURNAL, append=False).first:
        tags["pipeline.training_key"] = first["tags"][RUN_KEY]
    return tags


def dataset_event(
    context: str, cases: Sequence[dict[str, Any]], datalist: str | None
) -> dict[str, Any]:
    """Describe a dataset for MLflow: its cases, and the datalist that they come from.

    The digest is that of the names of the cases; no pixels are read.
    """
    if datalist is None:
        folders = [str(Path(case["image"]).resolve().parent) for case in cases]
        source = root = Path(os.path.commonpath(folders) if folders else ".").resolve()
    else:
        source = Path(datalist).resolve()
        root = source.parent
    names = [
        {key: make_relative(value, root) for key, value in sorted(case.items())} for case in cases
    ]
    digest = hashlib.sha256(json.dumps(names, default=str).encode()).hexdigest()
    return {
        "kind": "dataset",
        "context": context,
        "dataset": {
            "name": root.name[:500],
            "digest": digest[:36],
            "source": json.dumps({"uri": str(source)}),
            "profile": json.dumps({"cases": len(cases)}),
        },
    }


def make_relative(value: Any, root: Path) -> Any:
    """Take ``root`` off a path, so that a dataset keeps its digest when it is moved."""
    if isinstance(value, str) and value.startswith(f"{root}{os.sep}"):
        return value[len(str(root)) + 1 :]
    return value
