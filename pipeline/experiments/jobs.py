"""Jobs, a few at a time, and what becomes of them when this process is told to end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

from ..errors import InputError
from .work import Work


@dataclass(frozen=True)
class Resources:
    """Where cells run and what each gets.

    Args:
        cluster: ``local`` or ``slurm``.
        jobs: cells at a time; None for one a GPU, or one, and on Slurm all.
        gpus: GPUs of a cell on each machine; None for one where there is one, on Slurm none.
        nodes: machines of a cell.
        cpus: CPU cores of a cell on each machine; None for an even share of this machine's.
        memory: GB of a cell on each machine; None for the partition's default. Slurm only.
        minutes: longest time of a cell before it is queued again and goes on. Slurm only.
        partition: Slurm's partition; None for the default one.
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
        numbers = {"jobs": self.jobs, "nodes": self.nodes, "cpus": self.cpus, "time": self.minutes}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise InputError(f"--{name} {value}: give 1 or more.")
        if self.gpus is not None and self.gpus < 0:
            raise InputError(f"--gpus {self.gpus}: give 0 or more.")
        if self.memory is not None and not self.memory > 0:
            raise InputError(f"--memory {self.memory}: give more than 0 GB.")
        if self.cluster == "local":
            for name, value in {"nodes": self.nodes > 1, "partition": self.partition}.items():
                if value:
                    raise InputError(f"--{name} is for a cluster; add --cluster slurm.")

    @property
    def processes(self) -> int:
        """Processes that train one cell together."""
        return max(1, self.gpus or 1) * self.nodes

    @property
    def options(self) -> list[str]:
        """What was given of it on the command line."""
        given = [(each.name, getattr(self, each.name), each.default) for each in fields(self)]
        names = {"minutes": "time"}
        return [
            part
            for name, value, default in given
            if value != default
            for part in (f"--{names.get(name, name)}", str(value))
        ]


@dataclass
class Job:
    """A work that was handed over."""

    work: Work
    id: str
    slot: int = 0
    handle: Any = None


class Cluster(Protocol):
    """Something that carries works out."""

    limit: int | None  # jobs at a time
    outlives: bool  # whether jobs go on without this process

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
    """Carry works out, the next one as soon as there is room for it.

    Args:
        works: asked for a work only when there is room.
        watch: called for every running job each ``interval`` seconds.
        ended: called once for each job that has ended, whatever has become of it.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when all running jobs have been stopped.
        SystemExit: on SIGTERM or when the terminal closes, when the local ones have; Slurm's go on.
    """
    running: list[Job] = []
    more = True
    with ended_by_signals():
        try:
            while True:
                while more and (cluster.limit is None or len(running) < cluster.limit):
                    work = next(works, None)
                    if work is None:
                        more = False
                        break
                    taken = {job.slot for job in running}
                    slot = next(each for each in range(len(taken) + 1) if each not in taken)
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
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and the closing of the terminal into an exception; what nohup ignores stays."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
