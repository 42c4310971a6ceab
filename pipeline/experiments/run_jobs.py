"""Jobs on this machine or on a Slurm cluster, through submitit, a few at a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from .run_cell import Work

FOREVER = 60 * 24 * 365  # min; submitit ends a local job after a time, here no one asked for that


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
        if self.cluster == "local":
            for name, value in {"nodes": self.nodes > 1, "partition": self.partition}.items():
                if value:
                    raise InputError(f"--{name} is for a cluster; add --cluster slurm.")

    @property
    def processes(self) -> int:
        """Processes that train one cell together."""
        return max(1, self.gpus or 1) * self.nodes


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

    def submit(self, work: Work, slot: int) -> Job: ...
    def ended(self, job: Job) -> bool: ...
    def stop(self, job: Job) -> None: ...


class Local:
    """This machine: a process per job."""

    def __init__(self, resources: Resources) -> None:
        self.gpus = visible_gpus()
        wanted = resources.gpus if resources.gpus is not None else min(1, len(self.gpus))
        if wanted > len(self.gpus):
            raise InputError(f"--gpus {wanted}: this machine shows {len(self.gpus)}.")
        self.share = wanted
        self.limit = resources.jobs or max(1, len(self.gpus) // max(1, wanted))
        self.threads = resources.cpus or max(1, cores() // self.limit)

    def submit(self, work: Work, slot: int) -> Job:
        import submitit

        # PyTorch would start a thread per core in each of the jobs.
        work.env = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.threads))}
        if self.share:
            first = slot * self.share % (len(self.gpus) // self.share * self.share)
            work.env["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus[first : first + self.share])
        executor = submitit.LocalExecutor(folder=job_folder(work))
        executor.update_parameters(timeout_min=FOREVER)
        with ignored(signal.SIGINT):  # Ctrl-C reaches every process of a terminal; we stop the jobs
            handle = executor.submit(work)
        return Job(work, handle.job_id, slot, handle)

    def ended(self, job: Job) -> bool:
        return job.handle.done()

    def stop(self, job: Job) -> None:
        """Ask it to end; submitit's own ``cancel`` kills after a second."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(job.id), signal.SIGTERM)


class Slurm:
    """A Slurm cluster; a job outlives this process, and the next one finds it again."""

    def __init__(self, resources: Resources, *, interval: float = 10.0) -> None:
        self.resources = resources
        self.limit = resources.jobs
        self.interval = interval
        self._asked = -interval
        if queued() is None:
            raise InputError("--cluster slurm: squeue does not answer; start this on a login node.")

    def submit(self, work: Work, slot: int) -> Job:
        import submitit

        record = work.folder / "job.json"
        if record.exists():
            earlier = json.loads(record.read_text())["slurm_job_id"]
            if earlier in (queued() or ()):
                return Job(work, earlier, slot)
        wanted = self.resources
        if wanted.cpus:
            work.env = {"OMP_NUM_THREADS": str(max(1, wanted.cpus // max(1, wanted.gpus or 1)))}
        work.nodes, work.processes = wanted.nodes, max(1, wanted.gpus or 1)
        options = {
            "job_name": work.name,
            "partition": wanted.partition,
            "time": wanted.minutes,
            "nodes": wanted.nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": wanted.cpus,
            # srun does not take this over from sbatch.
            "srun_args": wanted.cpus and [f"--cpus-per-task={wanted.cpus}"],
            "gpus_per_node": wanted.gpus or None,
            "mem": wanted.memory and f"{round(wanted.memory * 1024)}M",
            "signal_delay_s": 120,  # s before the time is up: enough for a checkpoint
        }
        executor = submitit.SlurmExecutor(folder=job_folder(work))
        executor.update_parameters(**{name: v for name, v in options.items() if v is not None})
        try:
            handle = executor.submit(work)
        except submitit.core.utils.FailedJobError as error:
            reason = (str(error).strip().splitlines() or ["it gave no reason"])[-1]
            raise InputError(f"sbatch refused {work.name}: {reason}") from None
        record.write_text(json.dumps({"slurm_job_id": handle.job_id}))
        self._queue = {*(queued() or ()), handle.job_id}
        return Job(work, handle.job_id, slot)

    def ended(self, job: Job) -> bool:
        """Whether the queue has it no more: unlike Slurm's accounting, every cluster has one."""
        if job.work.done or time.monotonic() - self._asked > self.interval:
            self._asked = time.monotonic()
            self._queue = queued()
        return self._queue is not None and job.id not in self._queue

    def stop(self, job: Job) -> None:
        subprocess.run(["scancel", job.id], check=False)


def run_all(
    cluster: Cluster,
    works: Iterator[Work],
    *,
    watch: Callable[[Job, list[Job]], None],
    ended: Callable[[Job], None],
    interval: float = 1.0,
) -> None:
    """Carry works out, the next one as soon as there is room for it.

    Args:
        works: asked for a work only when there is room.
        watch: called for every running job, with all running jobs, each ``interval`` seconds.
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
                        watch(job, running)
        except BaseException as reason:
            if isinstance(reason, KeyboardInterrupt) or isinstance(cluster, Local):
                for job in running:
                    cluster.stop(job)
                while not all(cluster.ended(job) for job in running):
                    time.sleep(0.2)
            raise


def make_cluster(resources: Resources) -> Cluster:
    """The cluster that the resources name.

    Raises:
        InputError: when it is not there, or has less than is wanted.
    """
    return Slurm(resources) if resources.cluster == "slurm" else Local(resources)


def job_folder(work: Work) -> Path:
    """A new folder for submitit's files: it names them by a job's id, which may come again."""
    folder = work.folder / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix=time.strftime("%Y%m%d-%H%M%S-")))


def queued() -> set[str] | None:
    """The ids of the user's jobs that wait or run; None when Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%A"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(found.stdout.split()) if found.returncode == 0 else None


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    """Start processes that do not know a signal."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


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
