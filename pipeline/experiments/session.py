"""What each start of an experiment or a search needs: a locked folder, a cluster, an MLflow run."""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.text import Text

from ..errors import InputError
from ..files import read_json, write_json
from ..tracking.delivery import PARENT_KEY, PARENT_NAME, PARENT_TAG, RUN_KEY
from ..tracking.store import (
    experiment_id,
    limit_waiting,
    one_process_at_a_time,
    store_uri,
    tell_error,
    without_password,
)
from .cells import Cell
from .clusters import make_cluster
from .jobs import Cluster, Resources
from .plan import Plan
from .progress import make_command

logger = logging.getLogger(__name__)


@contextmanager
def open_session(
    kind: str, plan: Plan, path: Path, cell: Cell, folder: Path, resources: Resources
) -> Iterator[tuple[Cluster, ParentRun]]:
    """Lock a folder, copy the plan into it, and open its MLflow run; see ``ParentRun``.

    If interrupted, end the run and print how to go on.

    Raises:
        InputError: another process uses the folder, or the cluster or the store does not answer.
    """
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
        parent = ParentRun(kind, plan, path, cell, folder)
        try:
            yield cluster, parent
        except BaseException as reason:
            interrupted = isinstance(reason, KeyboardInterrupt)
            parent.end("KILLED" if interrupted or isinstance(reason, SystemExit) else "FAILED")
            what = "Slurm's jobs go on" if cluster.outlives and not interrupted else "stopped"
            text = Text(f"{what}. To go on: {make_command()}", style="yellow")
            Console(soft_wrap=True).print(text)
            raise


class ParentRun:
    """An MLflow run that is made once and reopened by every later start.

    Args:
        kind: ``experiment`` or ``search``.
        plan: its parts become parameters.
        path: the plan's file, which becomes an artifact.
        cell: any cell of the plan; names the store. Cells that are not recorded have no parent.
        folder: of the experiment or search; keeps the run's id.

    Raises:
        InputError: the store does not answer.
    """

    def __init__(self, kind: str, plan: Plan, path: Path, cell: Cell, folder: Path) -> None:
        self.id, self.key, self.name = "", "", plan.name
        self.recorded = bool(cell.config.get("log_to_mlflow", True))
        if not self.recorded:
            return
        import mlflow
        from mlflow.exceptions import MlflowException

        limit_waiting()
        offline = bool(cell.config.get("tracking_offline"))
        uri = store_uri(cell.config.get("tracking_uri"), offline=offline)
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        shown = without_password(uri)
        # What a later command needs to find the run.
        self.options = "" if uri == mlflow.get_tracking_uri() else f" --tracking-uri {shown}"
        record = folder / "mlflow.json"
        known = read_json(record) if record.exists() else {}
        try:
            if known.get("tracking_uri") == shown and self._reopen(known["run_id"]):
                self.id = known["run_id"]
            else:
                self.id = self._create(kind, plan, cell, folder)
                write_json(record, {"tracking_uri": shown, "run_id": self.id})
            self.key = self.client.get_run(self.id).data.tags.get(RUN_KEY, "")
            self.client.log_text(self.id, without_password(path.read_text()), path.name)
        except (MlflowException, ValueError, OSError) as error:
            raise InputError(
                f"tracking_uri {shown}: {tell_error(error, 300)}; start the MLflow server, or give "
                "another tracking_uri in the plan's overrides."
            ) from error

    def _reopen(self, run_id: str) -> bool:
        """Set the run to RUNNING; returns False if the store no longer has it."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.update_run(run_id, "RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _create(self, kind: str, plan: Plan, cell: Cell, folder: Path) -> str:
        from mlflow.entities import Param

        metadata = read_json(cell.bundle / "configs" / "metadata.json")
        tags = {
            RUN_KEY: uuid.uuid4().hex,
            "pipeline.kind": kind,
            "pipeline.bundle": cell.bundle.resolve().name,
            "pipeline.bundle_version": metadata["version"],
            "pipeline.output_dir": str(folder.resolve()),
            "mlflow.note.content": plan.description,
        }
        with one_process_at_a_time(self.client.tracking_uri):
            experiment = experiment_id(self.client, str(cell.config.get("experiment_name")))
        run = self.client.create_run(experiment, tags=tags, run_name=plan.name)
        content = plan.model_dump(exclude={"name", "description"}, exclude_none=True)
        params = [
            Param(name, without_password(json.dumps(value))[:6000])
            for name, value in content.items()
        ]
        self.client.log_batch(run.info.run_id, params=params)
        return run.info.run_id

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a child run, which find its parent in another store too."""
        if not self.recorded:
            return {}
        elsewhere = {PARENT_KEY: self.key, PARENT_NAME: self.name} if self.key else {}
        return {PARENT_TAG: self.id, **elsewhere}

    def log_metric(self, name: str, value: float, *, step: int) -> None:
        """Record a number."""
        self._try(lambda: self.client.log_metric(self.id, name, value, step=step))

    def log_file(self, path: Path) -> None:
        """Record a file as an artifact."""
        self._try(lambda: self.client.log_artifact(self.id, str(path)))

    def tag_child(self, name: str, tag: str) -> None:
        """Set a tag of the child run called ``name`` to true."""

        def set_tag() -> None:
            experiment = self.client.get_run(self.id).info.experiment_id
            found = self.client.search_runs(
                [experiment],
                f"tags.`{PARENT_TAG}` = '{self.id}' and attributes.run_name = '{name}'",
            )
            for run in found:
                self.client.set_tag(run.info.run_id, tag, "true")

        self._try(set_tag)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._try(lambda: self.client.set_terminated(self.id, status))

    def _try(self, send: Callable[[], object]) -> None:
        """Send something to the store; if that fails, warn and go on."""
        if not self.recorded:
            return
        try:
            send()
        except Exception as error:
            logger.warning(f"MLflow did not record everything: {tell_error(error, 200)}")
