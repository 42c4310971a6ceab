"""Where jobs run: this machine or a Slurm cluster, both through submitit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .jobs import Cluster, Job, Resources
from .work import Work

JOB_RECORD = "job.json"  # in a cell's folder
FOREVER = 60 * 24 * 365  # min; submitit ends a local job after a time, here no one asked for that


def make_cluster(resources: Resources) -> Cluster:
    """The cluster that the resources name.

    Raises:
        InputError: when it is not there, or has less than is wanted.
    """
    return Slurm(resources) if resources.cluster == "slurm" else Local(resources)


class Local:
    """This machine: a process per job."""

    outlives = False

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

    outlives = True

    def __init__(self, resources: Resources, *, interval: float = 10.0) -> None:
        self.resources = resources
        self.limit = resources.jobs
        self.interval = interval
        self._asked = -interval
        if queued() is None:
            raise InputError("--cluster slurm: squeue does not answer; start this on a login node.")

    def submit(self, work: Work, slot: int) -> Job:
        import submitit

        earlier = slurm_job(work.folder)
        if earlier and earlier in (queued() or ()):
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
        record = {"slurm_job_id": handle.job_id}
        (work.folder / JOB_RECORD).write_text(json.dumps(record))
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


def job_folder(work: Work) -> Path:
    """A new folder for submitit's files: it names them by a job's id, which may come again."""
    folder = work.folder / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix=time.strftime("%Y%m%d-%H%M%S-")))


def slurm_job(folder: Path) -> str | None:
    """The id of the job that a cell's folder was last handed over with, if to Slurm."""
    record = folder / JOB_RECORD
    return json.loads(record.read_text())["slurm_job_id"] if record.exists() else None


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
