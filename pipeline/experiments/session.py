"""One start of an experiment or a search: its folder, cluster, MLflow run and progress bar."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .cells import Cell
from .clusters import make_cluster
from .jobs import Cluster, Job, Resources, run_all
from .parent_run import ParentRun
from .plan import Plan
from .progress import Board
from .work import Work, read_failure


@dataclass
class Session:
    """What runs the works of an experiment or a search.

    Attributes:
        cluster: runs the works.
        parent: the MLflow run that their runs belong to.
    """

    cluster: Cluster
    parent: ParentRun

    def run(
        self,
        board: Board,
        works: Iterator[Work],
        *,
        watch: Callable[[Job], None],
        ended: Callable[[Job], None],
    ) -> None:
        """Run works as ``run_all`` does, under a progress bar; if interrupted, say how to go on."""
        with board:
            try:
                run_all(self.cluster, works, watch=watch, ended=ended)
            except BaseException as reason:
                stopped = isinstance(reason, KeyboardInterrupt | SystemExit)
                self.parent.end("KILLED" if stopped else "FAILED")
                alive = self.cluster.outlives and not isinstance(reason, KeyboardInterrupt)
                what = "Slurm's jobs go on" if alive else "stopped"
                board.say(f"{what}. To go on: {make_command()}", style="yellow")
                raise


@contextmanager
def open_session(
    kind: str, plan: Plan, path: Path, cell: Cell, folder: Path, resources: Resources
) -> Iterator[Session]:
    """Lock a folder, copy the plan into it, and open its MLflow run; see ``ParentRun``.

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
        yield Session(cluster, ParentRun(kind, plan, path, cell, folder))


def make_command() -> str:
    """The command line that this process was started with, which resumes what it began."""
    return shlex.join(["python", "-m", "pipeline", *sys.argv[1:]])


def show_failure(board: Board, work: Work, reason: str = "") -> None:
    """Print why a work failed, and where its log is."""
    board.say(f"{work.name} failed: {reason or read_failure(work.log)}\n    {work.log}", "red")
