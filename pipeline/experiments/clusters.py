"""Where jobs run: this machine or a Slurm cluster, both through submitit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..files import read_json, write_json
from .jobs import Cluster, Job, Resources
from .work import Work

JOB_RECORD = "job.json"  # in a cell's folder
FOREVER = 60 * 24 * 365  # min; submitit always limits a local job's time


def make_cluster(resources: Resources) -> Cluster:
    """Make the cluster that the resources name.

    Raises:
        InputError: the cluster does not answer, or has fewer GPUs than are wanted.
    """
    return Slurm(resources) if resources.cluster == "slurm" else Local(resources)


class Local:
    """This machine: one process per job."""

    outlives = False

    def __init__(self, resources: Resources) -> None:
        self.gpus = list_gpus()
        wanted = resources.gpus if resources.gpus is not None else min(1, len(self.gpus))
        if wanted > len(self.gpus):
            raise InputError(f"--gpus {wanted}: this machine has {len(self.gpus)}; give fewer.")
        self.share = wanted
        self.limit = resources.jobs or max(1, len(self.gpus) // max(1, wanted))
        self.threads = resources.cpus or max(1, count_cores() // self.limit)

    def submit(self, work: Work, slot: int) -> Job:
        import submitit

        # Otherwise PyTorch starts one thread per core in each job.
        work.env = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.threads)),
            # Threads that wait in a loop take the cores of the other jobs.
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
        }
        if self.share:
            first = slot * self.share % (len(self.gpus) // self.share * self.share)
            work.env["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus[first : first + self.share])
        executor = submitit.LocalExecutor(folder=make_job_folder(work))
        executor.update_parameters(timeout_min=FOREVER)
        # Ctrl-C reaches every process of a terminal, but it is this process that stops the jobs.
        with ignore_signal(signal.SIGINT):
            handle = executor.submit(work)
        return Job(work, handle.job_id, slot, handle)

    def ended(self, job: Job) -> bool:
        return job.handle.done()

    def stop(self, job: Job) -> None:
        """Ask the job to end; submitit's own ``cancel`` kills it after a second."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(job.id), signal.SIGTERM)


class Slurm:
    """A Slurm cluster; its jobs outlive this process, and a later one finds them again."""

    outlives = True

    def __init__(self, resources: Resources, *, interval: float = 10.0) -> None:
        self.resources = resources
        self.limit = resources.jobs
        self.interval = interval
        self._asked = -interval
        if list_queue() is None:
            raise InputError("--cluster slurm: squeue does not answer; start this on a login node.")

    def submit(self, work: Work, slot: int) -> Job:
        import submitit

        earlier = read_job_id(work.folder)
        if earlier and earlier in (list_queue() or ()):
            return Job(work, earlier, slot)
        wanted = self.resources
        work.nodes, work.processes = wanted.nodes, max(1, wanted.gpus or 1)
        if wanted.cpus:
            work.env = {"OMP_NUM_THREADS": str(max(1, wanted.cpus // work.processes))}
        options = {
            "job_name": work.name,
            "partition": wanted.partition,
            "time": wanted.minutes,
            "nodes": wanted.nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": wanted.cpus,
            # srun does not inherit this from sbatch.
            "srun_args": wanted.cpus and [f"--cpus-per-task={wanted.cpus}"],
            "gpus_per_node": wanted.gpus or None,
            "mem": wanted.memory and f"{round(wanted.memory * 1024)}M",
            "signal_delay_s": 120,  # s before the time is up: enough for a checkpoint
        }
        executor = submitit.SlurmExecutor(folder=make_job_folder(work))
        executor.update_parameters(**{name: v for name, v in options.items() if v is not None})
        try:
            handle = executor.submit(work)
        except submitit.core.utils.FailedJobError as error:
            reason = (str(error).strip().splitlines() or ["it gave no reason"])[-1]
            raise InputError(f"sbatch refused {work.name}: {reason}") from None
        write_json(work.folder / JOB_RECORD, {"slurm_job_id": handle.job_id})
        self._queue = {*(list_queue() or ()), handle.job_id}
        return Job(work, handle.job_id, slot)

    def ended(self, job: Job) -> bool:
        """Whether the job has left the queue, which every cluster has, unlike accounting."""
        if job.work.done or time.monotonic() - self._asked > self.interval:
            self._asked = time.monotonic()
            self._queue = list_queue()
        return self._queue is not None and job.id not in self._queue

    def stop(self, job: Job) -> None:
        subprocess.run(["scancel", job.id], check=False)


def make_job_folder(work: Work) -> Path:
    """Make a new folder for submitit, which names its files by job ids that may repeat."""
    folder = work.folder / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix=time.strftime("%Y%m%d-%H%M%S-")))


def read_job_id(folder: Path) -> str | None:
    """The id of the last Slurm job of a cell, given the cell's folder; None without one."""
    record = folder / JOB_RECORD
    return read_json(record)["slurm_job_id"] if record.exists() else None


def list_queue() -> set[str] | None:
    """The ids of the user's Slurm jobs that wait or run; None if Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%A"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else set(done.stdout.split())


def list_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def count_cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def ignore_signal(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal, also in the processes that are started meanwhile."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
