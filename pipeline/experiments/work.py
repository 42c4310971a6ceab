"""A job: the commands of one cell, run one after the other in a process of their own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from fire.parser import DefaultParseValue

from ..bundle.trained import CHECKPOINTS, FINAL, SUMMARY
from ..tracking.store import without_password

if TYPE_CHECKING:
    from .cells import Cell  # would import MONAI, which a job itself does not need


@dataclass(frozen=True)
class Step:
    """A command, which is done once the file ``done`` exists.

    Args:
        command: words of the command line. A command of several processes has the word
            ``{torchrun}``, which is replaced by torchrun's options in the job: only there the
            nodes are known.
        log: file for the output.
        done: file that the command writes last; or that is made when ``result`` exists and the
            command has succeeded.
        result: file that the command writes before its end.
    """

    command: tuple[str, ...]
    log: Path
    done: Path
    result: Path | None = None

    def __str__(self) -> str:
        """The command for a shell, in double quotes where possible, since they read better."""
        return " ".join(
            f'"{part}"'
            if re.fullmatch(r"""[^"$`\\!]*[ '][^"$`\\!]*""", part)
            else shlex.quote(part)
            for part in self.command
        )


class Stopped(Exception):
    """The job received SIGTERM."""


@dataclass
class Work:
    """The steps of one cell, which submitit pickles and calls in the job.

    It may be called again at any time: it skips the steps that are done, and waits while another
    job works in ``folder``.

    Args:
        name: the cell's name.
        folder: the cell's folder.
        steps: the commands in their order.
        epochs: of the training.
        env: environment variables of the commands.
        nodes: machines that the first step runs on.
        processes: on each of these machines.
        needs: files of other works that the first step reads.
    """

    name: str
    folder: Path
    steps: tuple[Step, ...]
    epochs: int = 1
    env: dict[str, str] = field(default_factory=dict)
    nodes: int = 1
    processes: int = 1
    needs: tuple[Path, ...] = ()

    @property
    def ready(self) -> bool:
        return all(path.exists() for path in self.needs)

    @property
    def done(self) -> bool:
        return all(step.done.exists() for step in self.steps)

    @property
    def log(self) -> Path:
        """The log of the first step that is not done, else of the last one."""
        return next((step for step in self.steps if not step.done.exists()), self.steps[-1]).log

    def __call__(self) -> None:
        """Run the steps that are not done.

        Raises:
            RuntimeError: a command fails.
            Stopped: on SIGTERM, once the running command has ended.
        """
        signal.signal(signal.SIGTERM, raise_stopped)
        if self._node() > 0:  # only the training runs on several machines
            if not self.steps[0].done.exists():
                self._run(self.steps[0])
            return
        with FileLock(self.folder / "running.lock"):
            for step in self.steps:
                if not step.done.exists():
                    if step.result is not None and step.result.exists():  # it was interrupted
                        folder, now = step.result.parent, time.strftime("%Y%m%d-%H%M%S")
                        folder.rename(folder.with_name(f"{folder.name}-unfinished-{now}"))
                    self._run(step)

    def checkpoint(self) -> Any:
        """End the command and queue the job again; submitit calls this at Slurm's time limit."""
        from submitit.helpers import DelayedSubmission

        self._end_command(tell=True)
        return DelayedSubmission(replace(self))

    def _run(self, step: Step) -> None:
        command = [word for part in step.command for word in self._expand(part)]
        with step.log.open("a") as log:
            print(f"$ {without_password(shlex.join(command))}", file=log, flush=True)
            self._command = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                # Near its time limit Slurm sends this signal to all processes of a job.
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
            )
            try:
                # Not wait(): a signal handler could not wait for the same process meanwhile.
                while (status := self._command.poll()) is None:
                    time.sleep(0.2)
            except BaseException:
                # Slurm signals all processes of a job; a second signal would cut the end short.
                self._end_command(tell=os.environ.get("SUBMITIT_EXECUTOR") != "slurm")
                raise
            if status < 0:  # it could not say so itself
                print(f"error: ended by {signal.Signals(-status).name}", file=log)
        if status:
            raise RuntimeError(f"exit status {status}; see {step.log}")
        if step.result is not None and step.result.exists():
            step.done.touch()
        if not step.done.exists():
            raise RuntimeError(f"it did not write {step.result or step.done}; see {step.log}")

    def _end_command(self, *, tell: bool) -> None:
        """Let the command close its MLflow run and end; kill it after a minute."""
        if self._command.poll() is None:
            if tell:
                self._command.terminate()
            try:
                self._command.wait(60)
            except subprocess.TimeoutExpired:
                self._command.kill()

    def _expand(self, part: str) -> Sequence[str]:
        if part != "{torchrun}":
            return [part]
        options = [f"--nproc_per_node={self.processes}"]
        if self.nodes == 1:
            return ["--standalone", *options]
        from submitit.helpers import TorchDistributedEnvironment

        where = TorchDistributedEnvironment()
        return [
            *options,
            f"--nnodes={self.nodes}",
            f"--node_rank={self._node()}",
            f"--master_addr={where.master_addr}",
            f"--master_port={where.master_port}",
        ]

    def _node(self) -> int:
        return int(os.environ.get("SLURM_NODEID", 0)) if self.nodes > 1 else 0


def raise_stopped(number: int, frame: Any) -> None:
    """Raise Stopped; a signal handler."""
    signal.signal(number, signal.SIG_IGN)  # the command is ending, so once is enough
    raise Stopped(signal.Signals(number).name)


def training_step(cell: Cell, folder: Path, *, tags: Mapping[str, str], processes: int = 1) -> Step:
    """The training of a cell, which resumes an interrupted one."""
    configs = list(cell.configs)
    if processes > 1:
        configs.append(cell.bundle / "configs" / "multi_gpu.json")
    ids = {
        **cell.ids,
        "run_name": cell.name,
        "output_dir": str(folder / "training"),
        "resume": True,
        "tags": {**tags, **cell.tags},
    }
    command = make_bundle_command(configs, ids, distributed=processes > 1)
    # FINAL is written after the last epoch, also where the training stopped early.
    return Step(command, folder / "training.log", folder / "training" / FINAL)


def evaluation_step(
    cell: Cell, folder: Path, *, tags: Mapping[str, str], members: Sequence[str] = ()
) -> Step:
    """The evaluation of a trained cell, or of the ensemble of several.

    The folders of its ``members``, which are named, are beside its own.
    """
    trained = [folder.with_name(name) for name in members] or [folder]
    files = [str(each / "training" / CHECKPOINTS[cell.evaluate.checkpoint]) for each in trained]
    ids = {
        **cell.evaluation_ids,
        "ckpt_path": files if members else files[0],
        "run_name": f"{cell.name}, {cell.evaluate.section}",
        "output_dir": str(folder / "evaluation"),
        "tags": {**tags, **cell.tags},
    }
    # The figures and MLflow's record come after the summary.
    done, result = folder / "evaluation.done", folder / "evaluation" / SUMMARY
    command = make_bundle_command(cell.evaluation_configs, ids)
    return Step(command, folder / "evaluation.log", done, result)


def make_bundle_command(
    configs: Sequence[Path], ids: Mapping[str, Any], *, distributed: bool = False
) -> tuple[str, ...]:
    """The words of a ``monai.bundle run`` command line."""
    launcher = ("-m", "torch.distributed.run", "{torchrun}") if distributed else ()
    return (
        sys.executable,
        *launcher,
        *("-m", "monai.bundle", "run", "--config_file"),
        repr([str(path) for path in configs]),
        *(f"--{name}={format_argument(value)}" for name, value in ids.items()),
    )


def format_argument(value: Any) -> str:
    """Write a JSON value so that a bundle's command line, which reads Python, gets it back.

    MONAI drops an override that is None, so null becomes an expression.
    """
    if value is None:
        return "$None"
    return value if isinstance(value, str) and DefaultParseValue(value) == value else repr(value)
