"""From a run to MLflow: by a journal in the run's folder, which loses nothing."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .delivery import Delivery
from .journal import FOLDER, JOURNAL, Journal
from .store import without_password
from .values import last_steps, now

logger = logging.getLogger(__name__)


class Record:
    """The journal of a run in ``<output_dir>/mlflow``, and its delivery.

    Attributes:
        earlier: the events that the journal held before.
        delivery: the thread that brings them to the store.

    Args:
        output_dir: the folder with the run's files.
        uri: MLflow's tracking URI.
        description: makes the first event of a new journal.
        resume: go on with the journal that is there, if there is one.
        timeout: longest wait for the store, in s.

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
                f"output_dir {output_dir}: all in it would be recorded, and it holds the working "
                "folder; give a folder of its own, such as runs/NAME."
            )
        self.output_dir = output_dir
        path = output_dir / JOURNAL
        if not resume and path.exists():  # of a training that ended before its first epoch
            path.parent.rename(path.parent.with_name(f"{FOLDER}-{now()}"))
        self.journal = Journal(path)
        self.earlier = [event for event, _ in self.journal.read()]
        self.logged = last_steps(self.earlier)
        if not self.earlier:
            self.journal.append(description())
        self.delivery = Delivery(self.journal, uri)
        try:
            self.delivery.start(timeout)
        except ConnectionError as error:
            if not self.earlier:
                shutil.rmtree(path.parent, ignore_errors=True)  # of a run that never was
            fix = "start the MLflow server, give another --tracking_uri"
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
        """Metrics of steps that a resumed training repeats are in the journal already."""
        new = [each for each in metrics if each[3] > self.logged.get(each[0], -1)]
        if new:
            self.write("log", metrics=new)

    def write_json(self, name: str, content: Any) -> None:
        path = self.output_dir / name
        path.write_text(json.dumps(content, indent=4, default=str))
        self.write("artifact", path=name, folder="")

    def write_folder(self) -> None:
        """All files of ``output_dir``, but the journal itself and what only a resume needs."""
        for path in sorted(self.output_dir.rglob("*")):
            name = path.relative_to(self.output_dir)
            if path.is_file() and not name.parts[0].startswith((FOLDER, "checkpoint.pt")):
                folder = "" if name.parent == Path() else name.parent.as_posix()
                self.write("artifact", path=name.as_posix(), folder=folder)

    def tidy(self) -> None:
        """Mark this experiment's runs that died without a word."""
        from .tidy import mark_dead_runs

        try:
            client = self.delivery.client
            experiment = client.get_run(self.delivery.run_id).info.experiment_id
            for run in mark_dead_runs(client, [experiment]):
                logger.info(f"MLflow run {run.info.run_name!r} had died: now KILLED")
        except Exception as error:  # of no concern to this training
            logger.warning(f"dead runs could not be marked: {error}")
