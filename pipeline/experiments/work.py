"""What a job does: the commands of one cell, one after the other, in a process of their own."""

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
from typing import Any

from .cells import Cell

CHECKPOINTS = {"last": "model_final.pt", "best": "model.pt"}


@dataclass(frozen=True)
class Step:
    """One command, done once the file ``done`` exists; its output goes to ``log``.

    The command writes ``done`` last of all; or it writes ``result`` before its end, and ``done``
    follows when it has ended well.

    A command of several processes starts with ``{torchrun}``, which becomes torchrun's options
    where the job runs, since only there the nodes are known.
    """

    command: tuple[str, ...]
    log: Path
    done: Path
    result: Path | None = None

    def __str__(self) -> str:
        """As a shell takes it; in double quotes where they do, which reads better."""
        return " ".join(
            f'"{part}"'
            if re.fullmatch(r"""[^"$`\\!]*[ '][^"$`\\!]*""", part)
            else shlex.quote(part)
            for part in self.command
        )


class Stopped(Exception):
    """The job was told to end."""


@dataclass
class Work:
    """The steps of one cell, as submitit runs them: pickled, then called in the job.

    It can be called again at any time: what is done is not done again, and only one job at a time
    works in ``folder``; another one waits for it.

    Args:
        name: the cell's name.
        folder: the cell's folder.
        steps: the commands in their order.
        env: environment variables of the commands.
        nodes, processes: machines, and processes on each, that the first step runs on.
    """

    name: str
    folder: Path
    steps: tuple[Step, ...]
    env: dict[str, str] = field(default_factory=dict)
    nodes: int = 1
    processes: int = 1

    @property
    def done(self) -> bool:
        return all(step.done.exists() for step in self.steps)

    def __call__(self) -> None:
        """Run what is not done yet.

        Raises:
            RuntimeError: when a command fails.
            Stopped: on SIGTERM, after the running command has ended by it.
        """
        signal.signal(signal.SIGTERM, stop)
        from filelock import FileLock  # comes with torch

        if self._node() > 0:  # only the training runs on several machines
            if not self.steps[0].done.exists():
                self._run(self.steps[0])
            return
        with FileLock(self.folder / "running.lock"):
            for step in self.steps:
                if not step.done.exists():
                    if step.result is not None and step.result.exists():  # and was cut off then
                        folder, now = step.result.parent, time.strftime("%Y%m%d-%H%M%S")
                        folder.rename(folder.with_name(f"{folder.name}-unfinished-{now}"))
                    self._run(step)

    def checkpoint(self) -> Any:
        """What submitit calls when Slurm's time is up: the job goes on in the queue."""
        from submitit.helpers import DelayedSubmission

        self._end_command(tell=True)
        return DelayedSubmission(replace(self))

    def _run(self, step: Step) -> None:
        from ..tracking.store import without_password

        command = [part for each in step.command for part in self._expanded(each)]
        with step.log.open("a") as log:
            print(f"$ {without_password(shlex.join(command))}", file=log, flush=True)
            self._command = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                # Slurm sends the signal of a time that is nearly up to all processes of a job.
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
            )
            try:
                # Not wait(): a signal handler could not wait for the same process in the middle.
                while (status := self._command.poll()) is None:
                    time.sleep(0.2)
            except BaseException:
                # Slurm has told all processes of the job, and twice would cut the ending short.
                self._end_command(tell=os.environ.get("SUBMITIT_EXECUTOR") != "slurm")
                raise
            if status < 0:  # it could not say so itself
                print(f"error: ended by {signal.Signals(-status).name}", file=log)
        if status:
            raise RuntimeError(f"exit status {status}; see {step.log}")
        if step.result is not None and step.result.exists():
            step.done.touch()
        if not step.done.exists():
            raise RuntimeError(f"it ended without {step.result or step.done}; see {step.log}")

    def _end_command(self, *, tell: bool, patience: float = 60) -> None:
        """Let the command close its MLflow run and end; after ``patience`` s, kill it."""
        if self._command.poll() is None:
            if tell:
                self._command.terminate()
            try:
                self._command.wait(patience)
            except subprocess.TimeoutExpired:
                self._command.kill()

    def _expanded(self, part: str) -> Sequence[str]:
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


def stop(number: int, frame: Any) -> None:
    """A signal handler."""
    signal.signal(number, signal.SIG_IGN)  # once is enough: the command is ending
    raise Stopped(signal.Signals(number).name)


def training(cell: Cell, folder: Path, *, tags: Mapping[str, str], processes: int = 1) -> Step:
    """The training of a cell, which goes on where an earlier one was interrupted."""
    configs = list(cell.configs)
    if processes > 1:
        configs.append(cell.bundle / "configs" / "multi_gpu.json")
    ids = {
        **cell.ids,
        "run_name": cell.name,
        "output_dir": str(folder / "training"),
        "resume": True,
        "tags": {**tags, "pipeline.network": cell.network},
    }
    command = bundle_run(configs, ids, distributed=processes > 1)
    # Written after the last epoch, or the last before an early stop.
    return Step(command, folder / "training.log", folder / "training" / CHECKPOINTS["last"])


def evaluation(cell: Cell, folder: Path, *, tags: Mapping[str, str]) -> Step:
    """The evaluation of a trained cell."""
    configs = [*cell.configs, cell.bundle / "configs" / "evaluate.json"]
    ids = {
        **cell.ids,
        **cell.evaluate.overrides,
        "section": cell.evaluate.section,
        "ckpt_path": str(folder / "training" / CHECKPOINTS[cell.evaluate.checkpoint]),
        "run_name": f"{cell.name}, {cell.evaluate.section}",
        "output_dir": str(folder / "evaluation"),
        "tags": {**tags, "pipeline.network": cell.network},
    }
    # Figures and MLflow's record come after the summary.
    done, result = folder / "evaluation.done", folder / "evaluation" / "summary.json"
    return Step(bundle_run(configs, ids), folder / "evaluation.log", done, result)


def bundle_run(
    configs: Sequence[Path], ids: Mapping[str, Any], *, distributed: bool = False
) -> tuple[str, ...]:
    """The command line of ``monai.bundle run``."""
    launcher = ("-m", "torch.distributed.run", "{torchrun}") if distributed else ()
    return (
        sys.executable,
        *launcher,
        *("-m", "monai.bundle", "run", "--config_file"),
        repr([str(path) for path in configs]),
        *(f"--{name}={as_argument(value)}" for name, value in ids.items()),
    )


def as_argument(value: Any) -> str:
    """A JSON value as the command line of a bundle reads it back, which takes Python's words.

    MONAI drops an override that is None, so null becomes an expression.
    """
    from fire.parser import DefaultParseValue

    if value is None:
        return "$None"
    return value if isinstance(value, str) and DefaultParseValue(value) == value else repr(value)


def last_words(log: Path) -> str:
    """Why the last command of a log failed: its first error, from which later ones follow.

    Without any, the last line that says something.
    """
    try:
        lines = log.read_text(errors="replace").split("\n$ ")[-1].splitlines()[1:]
    except OSError:
        return "it wrote no log"
    said = [line.strip() for line in lines if line.strip()] or ["its log is empty"]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return said[-1] if said[-1].startswith("error: ") or not errors else errors[0].strip()
