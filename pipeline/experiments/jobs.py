"""Jobs: what each gets, and running a few at a time until all have ended or a signal comes."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InputError
from .work import Work


@dataclass(frozen=True)
class Resources:
    """Where cells run, and what each of them gets.

    Args:
        cluster: ``local`` or ``slurm``.
        jobs: cells at a time; None for one per GPU, or one without a GPU, and for all on Slurm.
        gpus: GPUs per cell and machine; None for one if there is one, and for none on Slurm.
        nodes: machines per cell.
        cpus: CPU cores per cell and machine; None for an even share of this machine's.
        memory: GB per cell and machine; None for the partition's default. Slurm only.
        minutes: after which a cell is queued again and goes on. Slurm only.
        partition: of Slurm; None for the default one.

    Raises:
        InputError: a number is too small, or an option needs Slurm.
    """

    cluster: str = "local"
    jobs: int | None = None
    gpus: int | None = None
    nodes: int = 1
    cpus: int | None = None
    memory: float | None = None
    minutes: int = 24 * 60
    partition: str | None = None

    def __post_init__(self) -> None:
        for name, least in {"jobs": 1, "gpus": 0, "nodes": 1, "cpus": 1, "minutes": 1}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                option = "time" if name == "minutes" else name
                raise InputError(f"--{option} {value}: give {least} or more.")
        if self.memory is not None and not self.memory > 0:
            raise InputError(f"--memory {self.memory}: give more than 0 GB.")
        if self.cluster == "local":
            for name, value in {"nodes": self.nodes > 1, "partition": self.partition}.items():
                if value:
                    raise InputError(f"--{name} is for a cluster; add --cluster slurm.")

    @property
    def processes(self) -> int:
        """How many processes train one cell together."""
        return max(1, self.gpus or 1) * self.nodes


@dataclass
class Job:
    """A work that was submitted."""

    work: Work
    id: str
    slot: int = 0
    handle: Any = None


class Cluster(Protocol):
    """Runs works."""

    limit: int | None  # jobs at a time
    outlives: bool  # whether jobs go on when this process has ended

    def submit(self, work: Work, slot: int) -> Job: ...
    def ended(self, job: Job) -> bool: ...
    def stop(self, job: Job) -> None: ...


def run_all(
    cluster: Cluster,
    works: Iterator[Work],
    *,
    watch: Callable[[Job], None],
    ended: Callable[[Job], None],
    interval: float = 1.0,
) -> None:
    """Run works; the next one starts as soon as there is room for it.

    Args:
        cluster: runs them.
        works: the next one is taken only when there is room for it.
        watch: called for every running job each ``interval`` seconds.
        ended: called once for each job that has ended, whether it succeeded or failed.
        interval: in seconds.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once all running jobs have been stopped.
        SystemExit: on SIGTERM or when the terminal closes. Local jobs are stopped first, Slurm's
            go on.
    """
    running: list[Job] = []
    with exit_on_signals():
        try:
            while True:
                while cluster.limit is None or len(running) < cluster.limit:
                    if (work := next(works, None)) is None:
                        break
                    slot = min({*range(len(running) + 1)} - {job.slot for job in running})
                    running.append(cluster.submit(work, slot))
                if not running:
                    return
                time.sleep(interval)
                for job in [*running]:
                    if cluster.ended(job):
                        running.remove(job)
                        ended(job)
                    else:
                        watch(job)
        except BaseException as reason:
            if isinstance(reason, KeyboardInterrupt) or not cluster.outlives:
                for job in running:
                    cluster.stop(job)
                while not all(cluster.ended(job) for job in running):
                    time.sleep(0.2)
            raise


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and SIGHUP, unless they are ignored, as nohup does."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
