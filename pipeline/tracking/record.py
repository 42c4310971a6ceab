"""Record a run in a journal, which is delivered to MLflow and loses nothing."""

from __future__ import annotations

import logging
import math
import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..bundle.trained import CHECKPOINT
from ..errors import InputError
from ..files import write_json
from .delivery import Delivery
from .journal import FOLDER, JOURNAL, Journal
from .store import tell_error, without_password

logger = logging.getLogger(__name__)


class RunRecord:
    """The journal of a run, in ``<output_dir>/mlflow``, and its delivery.

    Attributes:
        earlier: the events that the journal held before; ``params`` are their parameters, and
            ``logged`` the last step of each metric.
        delivery: the thread that sends them to the store.

    Args:
        output_dir: the folder with the run's files.
        uri: MLflow's tracking URI.
        description: gives the first event of a new journal.
        resume: go on with the journal in ``output_dir``, if there is one.
        timeout: longest wait for the store in s.

    Raises:
        InputError: the store does not answer.
    """

    def __init__(
        self,
        output_dir: Path,
        uri: str,
        *,
        description: Callable[[], dict[str, Any]],
        resume: bool,
        timeout: float,
    ) -> None:
        if output_dir.resolve() in (Path.cwd(), *Path.cwd().parents):
            raise InputError(
                f"output_dir {output_dir}: it contains the working folder, whose files would all "
                "be recorded; give another folder, such as runs/NAME."
            )
        self.output_dir = output_dir
        path = output_dir / JOURNAL
        if not resume and path.exists():  # its training ended before its first epoch
            path.parent.rename(path.parent.with_name(f"{FOLDER}-{now()}"))
        self.journal = Journal(path)
        self.earlier = [event for event, _ in self.journal.read()]
        self.logged: dict[str, int] = {}
        self.params: dict[str, str] = {}
        for event in self.earlier:
            self.params |= event.get("params", {})
            for name, _, _, step in event.get("metrics", []):
                self.logged[name] = max(step, self.logged.get(name, -1))
        if not self.earlier:
            self.journal.append(description())
        self.delivery = Delivery(self.journal, uri)
        try:
            self.delivery.start(timeout)
        except ConnectionError as error:
            if not self.earlier:
                shutil.rmtree(path.parent, ignore_errors=True)  # the run does not exist
            fix = "give another --tracking_uri"
            if isinstance(error.__cause__, ImportError):
                fix = f"install the driver, {fix}"
            elif not uri.startswith("sqlite:"):
                fix = f"start the {'MLflow server' if uri.startswith('http') else 'store'}, {fix}"
            if re.search(r"\b40[13]\b", str(error)):
                fix = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user of it"
            raise InputError(
                f"tracking_uri {without_password(f'{uri}: {error}')}; {fix}, or give "
                "--tracking_offline True to record on this machine."
            ) from error

    def write(self, kind: str, **event: Any) -> None:
        self.journal.append({"kind": kind, **event})
        self.delivery.wake()

    def write_metrics(self, metrics: list[list[Any]]) -> None:
        """Write metrics, except those of steps that a resumed training repeats."""
        new = [each for each in metrics if each[3] > self.logged.get(each[0], -1)]
        if new:
            self.write("log", metrics=new)

    def write_values(self, values: Mapping[str, Any], *, step: int) -> None:
        """Write those of the values that MLflow takes as metrics of a step."""
        self.write_metrics([[name, value, now(), step] for name, value in keep_finite(values)])

    def write_json(self, name: str, content: Any) -> None:
        write_json(self.output_dir / name, content, alone=True)
        self.write("artifact", path=name, folder="")

    def write_bundle(self, files: Iterable[str]) -> None:
        """Copy the bundle's files as they are now: the store may get them much later."""
        for path in map(Path, files):
            copy = self.output_dir / FOLDER / "bundle" / path.name
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
            name = copy.relative_to(self.output_dir).as_posix()
            self.write("artifact", path=name, folder="bundle")

    def write_error(self, error: BaseException) -> None:
        """Record why the run failed, with the traceback as ``traceback.txt``."""
        reason = without_password(f"{type(error).__name__}: {error}")
        text = without_password("".join(traceback.format_exception(error)))
        self.write("log", tags={"pipeline.error": reason[:5000]})
        try:
            (self.output_dir / "traceback.txt").write_text(text)
        except OSError:  # a full disk, perhaps the very error
            self.write("log", tags={"pipeline.traceback": text[-5000:]})

    def write_folder(self) -> None:
        """Write all files of ``output_dir``, except the journal, the checkpoint and half a file."""
        for path in sorted(self.output_dir.rglob("*")):
            name = path.relative_to(self.output_dir)
            if path.suffix == ".tmp":  # a thread may still write a checkpoint
                continue
            if path.is_file() and not name.parts[0].startswith((FOLDER, CHECKPOINT)):
                folder = "" if name.parent == Path() else name.parent.as_posix()
                self.write("artifact", path=name.as_posix(), folder=folder)

    def tidy(self) -> None:
        """Mark runs of this experiment whose process died."""
        from .tidy import mark_dead_runs

        try:
            client = self.delivery.client
            experiment = client.get_run(self.delivery.run_id).info.experiment_id
            for run in mark_dead_runs(client, [experiment], own=self.delivery.run_id):
                logger.info(f"MLflow run {run.info.run_name!r} had died and is now KILLED")
        except Exception as error:  # does not matter to this training
            logger.warning(f"dead runs could not be marked as KILLED: {tell_error(error, 300)}")


def now() -> int:
    """Give the time as MLflow counts it: ms since 1970."""
    return int(time.time() * 1000)


def clean_name(name: str) -> str:
    """Make a name that MLflow takes, at most 250 characters long."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def keep_finite(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Keep the entries that are one finite number, as MLflow takes them."""
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):  # a vector, a table, a text
            continue
        if math.isfinite(number):
            yield clean_name(name), number


class StepLosses:
    """Losses and learning rates of single steps, which are read from the device together."""

    def __init__(self) -> None:
        self._steps: list[tuple[Any, float, int, int]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, engine: Any) -> None:
        """Note the step that a trainer has just done."""
        lr = engine.optimizer.param_groups[0]["lr"]
        loss = engine.state.output["loss"].detach()
        self._steps.append((loss, lr, engine.state.iteration, now()))

    def take(self) -> list[list[Any]]:
        """Remove all steps, and return them as metrics: name, value, time in ms and step."""
        import torch

        steps, self._steps = self._steps, []
        losses = torch.stack([loss for loss, *_ in steps]).tolist() if steps else []
        return [
            [name, value, when, step]
            for loss, (_, lr, step, when) in zip(losses, steps, strict=True)
            for name, value in keep_finite({"train/step_loss": loss, "train/step_lr": lr})
        ]
