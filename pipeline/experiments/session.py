"""What each start of an experiment or a search needs: a locked folder, a cluster, an MLflow run."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..errors import InputError
from .cells import Cell
from .clusters import make_cluster
from .jobs import Cluster, Resources
from .parent_run import ParentRun
from .plan import Plan
from .progress import Board
from .work import Work


@contextmanager
def open_session(
    kind: str, plan: Plan, path: Path, cell: Cell, folder: Path, resources: Resources
) -> Iterator[tuple[Cluster, ParentRun]]:
    """Lock a folder, copy the plan into it, and open its MLflow run; see ``ParentRun``.

    If interrupted, end the run and print how to go on.

    Raises:
        InputError: another process uses the folder, or the cluster or the store does not answer.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / "experiment.lock", timeout=0).acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another process runs this plan; wait for it, or stop it."
        ) from None
    with lock:
        cluster = make_cluster(resources)
        shutil.copyfile(path, folder / "plan.json")
        parent = ParentRun(kind, plan, path, cell, folder)
        try:
            yield cluster, parent
        except BaseException as reason:
            interrupted = isinstance(reason, KeyboardInterrupt)
            parent.end("KILLED" if interrupted or isinstance(reason, SystemExit) else "FAILED")
            what = "Slurm's jobs go on" if cluster.outlives and not interrupted else "stopped"
            text = Text(f"{what}. To go on: {make_command()}", style="yellow")
            Console(soft_wrap=True).print(text)
            raise


def make_command() -> str:
    """The command line that this process was started with, which resumes what it began."""
    return shlex.join(["python", "-m", "pipeline", *sys.argv[1:]])


def show_failure(board: Board, work: Work, reason: str = "") -> None:
    """Print why a work failed, and where its log is."""
    board.say(f"{work.name} failed: {reason or read_failure(work.log)}\n    {work.log}", "red")


def read_failure(log: Path) -> str:
    """Why the last command of a log failed: its first error, or else its last line."""
    try:
        lines = log.read_text(errors="replace").split("\n$ ")[-1].splitlines()[1:]
    except OSError:
        return "it wrote no log"
    said = [line.strip() for line in lines if line.strip()] or ["its log is empty"]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return said[-1] if said[-1].startswith("error: ") or not errors else errors[0].strip()
