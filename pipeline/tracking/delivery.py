"""Deliver a journal's events to an MLflow store, in order and each once."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from ..errors import one_line
from ..files import write_json
from .batches import merge_events, split_event
from .journal import Event, Journal
from .store import experiment_id, limit_waiting, one_process_at_a_time, tell_error, without_password

logger = logging.getLogger(__name__)

RETRY, PATIENCE = 5.0, 10.0  # s between two tries; without an answer before it gives up

RUN_KEY = "pipeline.key"  # tag by which a run is found if MLflow did not answer its creation
PARENT_TAG = "mlflow.parentRunId"
# Tags of the run that this one belongs to; its id differs from store to store.
PARENT_KEY, PARENT_NAME = "pipeline.parent_key", "pipeline.parent_name"
# Errors that stay; after any other a request is sent again.
REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


class Delivery:
    """Sends one journal to one MLflow store, as far as the store does not have it.

    A small file beside the journal says how far the store is. After a crash between a request and
    this file the request is sent again. MLflow still has it once: it tells metrics apart by their
    time, and parameters and tags by their names; the run is found by a tag.

    Args:
        journal: the events; the first describes the run.
        tracking_uri: MLflow's tracking URI.
    """

    def __init__(self, journal: Journal, tracking_uri: str) -> None:
        limit_waiting()  # the journal outlasts a failure
        self.journal = journal
        self.root = journal.path.parent.parent
        self.tracking_uri = tracking_uri
        name = hashlib.sha256(tracking_uri.encode()).hexdigest()[:10]
        self.state_file = journal.path.with_name(f"delivered-{name}.json")
        self.state: dict[str, Any] = {
            "tracking_uri": without_password(tracking_uri),
            "run_id": None,
            "offset": 0,
        }
        if self.state_file.exists():
            self.state = json.loads(self.state_file.read_text())
        self._wake, self._connected = threading.Event(), threading.Event()
        self._closing: float | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow delivery", daemon=True)

    @cached_property
    def client(self) -> Any:
        """MLflow's client of the store."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri)

    @property
    def run_id(self) -> str | None:
        """The id of the run in this store, once it is there."""
        return self.state["run_id"]

    def start(self, timeout: float) -> None:
        """Create the run, or find it, and then deliver in a thread.

        Raises:
            ConnectionError: this fails, or takes longer than ``timeout`` seconds; a store in a
                file, which is slow to make on a busy machine, has four times as long.
        """
        if self.tracking_uri.startswith("sqlite:"):
            timeout *= 4
        self._thread.start()
        if not self._connected.wait(timeout):
            self._closing = 0.0
            raise ConnectionError(f"no answer within {timeout:.0f} s")
        if self._error is not None:
            raise ConnectionError(one_line(self._error)) from self._error

    def wake(self) -> None:
        """Tell the thread that there is something new."""
        self._wake.set()

    def close(self) -> bool:
        """Deliver the rest; give up once the store has not been reached for ten seconds.

        Returns:
            Whether the store has everything.
        """
        self._closing = time.monotonic() + PATIENCE
        self._wake.set()
        self._thread.join()
        unread = next(self.journal.read(self.state["offset"]), None)
        return unread is None and not self.journal.unwritten

    def deliver(self) -> None:
        """Send what the store does not have yet.

        Raises:
            Exception: MLflow's own; the events before it are delivered.
        """
        self.connect()
        for event, offset in merge_events(self.journal.read(self.state["offset"])):
            self._send(event)
            self._save(offset=offset)

    def connect(self) -> None:
        """Create the run in the store, or find the one of an earlier try."""
        if self.run_id:
            return
        description = self.journal.first
        if description is None:
            raise ValueError(f"{self.journal.path} is empty: it holds no run to deliver")
        with one_process_at_a_time(self.tracking_uri):
            experiment = experiment_id(self.client, description["experiment_name"])
            run_id = self._find_run(description["tags"][RUN_KEY], [experiment])
            if run_id is None:
                run = self.client.create_run(
                    experiment,
                    start_time=description["time"],
                    tags=description["tags"] | self._parent(experiment, description["tags"]),
                    run_name=description["run_name"],
                )
                run_id = run.info.run_id
        self._save(run_id=run_id)

    def _parent(self, experiment: str, tags: Mapping[str, str]) -> dict[str, str]:
        """Tag the parent of the run; a parent that only another store has is created."""
        if PARENT_KEY not in tags:
            return {}
        run_id = self._find_run(tags[PARENT_KEY])
        if run_id is None:
            kept = {RUN_KEY: tags[PARENT_KEY], "pipeline.kind": "experiment"}
            run = self.client.create_run(experiment, tags=kept, run_name=tags[PARENT_NAME])
            run_id = run.info.run_id
            self.client.set_terminated(run_id)
        return {PARENT_TAG: run_id}

    def _work(self) -> None:
        from filelock import FileLock

        with FileLock(self.state_file.with_suffix(".lock")):
            try:
                self.connect()
            except Exception as error:
                self._error = error
                return
            finally:
                self._connected.set()
            reached = True
            while True:
                self._wake.wait(1.0 if reached else RETRY)
                self._wake.clear()
                last = self._closing is not None
                try:
                    self.deliver()
                    if last:
                        self._deliver_unwritten()
                    if not reached:
                        logger.info("MLflow is back and has received what it missed")
                    reached = True
                except Exception as error:
                    if reached:
                        logger.warning(
                            "MLflow cannot be reached; the run goes on and is recorded in "
                            f"{self.journal.path.parent}: {tell_error(error, 200)}"
                        )
                    reached = False
                if last and (reached or time.monotonic() > self._closing):
                    return
                if last:
                    time.sleep(min(1.0, RETRY))
                    self._wake.set()

    def _deliver_unwritten(self) -> None:
        """Send the last events of a run whose disk is full.

        A training that failed is resumed from a checkpoint before its unwritten metrics, and
        repeats them, since the journal does not know them.
        """
        ends = {event.get("status") for event in self.journal.unwritten}
        left_out = () if ends <= {None, "FINISHED"} else ("metrics",)
        while self.journal.unwritten:
            event = self.journal.unwritten[0]
            self._send({name: value for name, value in event.items() if name not in left_out})
            del self.journal.unwritten[0]

    def _send(self, event: Event) -> None:
        from mlflow.exceptions import MlflowException

        try:
            getattr(self, f"_send_{event['kind']}")(event)
        except FileNotFoundError as error:
            logger.warning(f"MLflow does not get {error.filename}: the file no longer exists")
        except MlflowException as error:
            # A deleted run takes nothing until it is restored.
            if error.error_code not in REFUSALS or self._deleted():
                raise
            entries = split_event(event)
            if len(entries) > 1:  # perhaps only one of them is refused
                for entry in entries:
                    self._send(entry)
                return
            reason = without_password(str(error))[:300]
            logger.warning(f"MLflow refused a part of the record: {reason}")

    def _deleted(self) -> bool:
        return self.client.get_run(self.run_id).info.lifecycle_stage == "deleted"

    def _send_run(self, event: Event) -> None:
        """Nothing: ``connect`` has created the run."""

    def _send_log(self, event: Event) -> None:
        from mlflow.entities import Metric, Param, RunTag

        tags = dict(event.get("tags", {}))
        links = {"pipeline.training_run_id": "pipeline.training_key", PARENT_TAG: PARENT_KEY}
        for link, key in links.items():
            if (own := tags.get(key)) and (other := self._find_run(own)):
                tags[link] = other
        self.client.log_batch(
            self.run_id,
            metrics=[Metric(*metric) for metric in event.get("metrics", [])],
            params=[Param(*param) for param in event.get("params", {}).items()],
            tags=[RunTag(*tag) for tag in tags.items()],
        )

    def _find_run(self, key: str, experiments: Sequence[str] = ()) -> str | None:
        """Find the id of a run in this store, by default in all its experiments."""
        if not experiments:
            experiments = [each.experiment_id for each in self.client.search_experiments()]
        runs = self.client.search_runs(experiments, f"tags.`{RUN_KEY}` = '{key}'", max_results=1)
        return runs[0].info.run_id if runs else None

    def _send_dataset(self, event: Event) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        context = InputTag("mlflow.data.context", event["context"])
        dataset = Dataset(source_type="local", **event["dataset"])
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [context])])

    def _send_artifact(self, event: Event) -> None:
        self.client.log_artifact(
            self.run_id, str(self.root / event["path"]), event["folder"] or None
        )

    def _send_model(self, event: Event) -> None:
        from .registry import log_model

        log_model(self.client, self.run_id, self.root / event["path"])

    def _send_register(self, event: Event) -> None:
        from .registry import register_model

        logger.info(register_model(self.client, self.run_id, event["name"]))

    def _send_status(self, event: Event) -> None:
        if event["status"] == "RUNNING":
            self.client.update_run(self.run_id, "RUNNING")
        else:
            self.client.set_terminated(self.run_id, event["status"], end_time=event["time"])

    def _save(self, **state: Any) -> None:
        self.state |= state
        with suppress(OSError):  # a full disk: after a restart it is sent again, which is harmless
            write_json(self.state_file, self.state, alone=True)
