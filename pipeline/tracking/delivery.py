"""Bring a journal's events to an MLflow store, in order, each once, whenever it can be reached."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ..errors import one_line
from .journal import Event, Journal
from .store import experiment_id, limit_waiting, one_process_at_a_time, without_password

logger = logging.getLogger(__name__)

RUN_KEY = "pipeline.key"  # a tag that finds a run again whose creation was not answered
PARENT_TAG = "mlflow.parentRunId"
# Of the run that this one belongs to, which another store knows by another id.
PARENT_KEY, PARENT_NAME = "pipeline.parent_key", "pipeline.parent_name"
# What MLflow refuses for good; everything else is tried again.
REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


class Delivery:
    """What of one journal one MLflow store has, and the sending of the rest.

    How far the store is lies in a small file beside the journal. After a crash between a request
    and this file the request is sent again; MLflow then has it once: metrics are told apart by
    their time, parameters and tags by their name, the run by a tag.

    Args:
        journal: the events; the first one describes the run.
        tracking_uri: MLflow's tracking URI.
        retry: seconds between two tries while the store cannot be reached.
    """

    def __init__(self, journal: Journal, tracking_uri: str, *, retry: float = 5.0) -> None:
        limit_waiting()  # the journal outlasts a failure
        self.journal = journal
        self.root = journal.path.parent.parent
        self.tracking_uri = tracking_uri
        self.retry = retry
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
        """The run's id in this store, once it is there."""
        return self.state["run_id"]

    def start(self, timeout: float) -> None:
        """Make the run, or find it, then deliver in a thread.

        Raises:
            ConnectionError: when this takes longer than ``timeout`` seconds, or fails.
        """
        self._thread.start()
        if not self._connected.wait(timeout):
            self._closing = 0.0
            raise ConnectionError(f"no answer within {timeout:.0f} s")
        if self._error is not None:
            raise ConnectionError(one_line(self._error)) from self._error

    def wake(self) -> None:
        """Say that there is something new to deliver."""
        self._wake.set()

    def close(self, patience: float = 10.0) -> bool:
        """Deliver the rest; give up once the store has not been reached for ``patience`` seconds.

        Returns:
            whether the store has everything.
        """
        self._closing = time.monotonic() + patience
        self._wake.set()
        self._thread.join()
        return self._complete()

    def deliver(self) -> None:
        """Send what the store does not have yet.

        Raises:
            Exception: what MLflow raised; the events before it are delivered.
        """
        self.connect()
        for event, offset in batches(self.journal.read(self.state["offset"])):
            self._send(event)
            self._save(offset=offset)

    def connect(self) -> None:
        """Make the run in the store, or find the one that an earlier try made."""
        if self.run_id:
            return
        description = self.journal.first
        if description is None:
            raise ValueError(f"{self.journal.path} is empty: there is no run to deliver")
        with one_process_at_a_time(self.tracking_uri):
            experiment = experiment_id(self.client, description["experiment_name"])
            found = f"tags.`{RUN_KEY}` = '{description['tags'][RUN_KEY]}'"
            runs = self.client.search_runs([experiment], found, max_results=1)
            run = (
                runs[0]
                if runs
                else self.client.create_run(
                    experiment,
                    start_time=description["time"],
                    tags=description["tags"] | self._parent(experiment, description["tags"]),
                    run_name=description["run_name"],
                )
            )
        self._save(run_id=run.info.run_id)

    def _parent(self, experiment: str, tags: Mapping[str, str]) -> dict[str, str]:
        """The tag of the parent in this store, where it is made if only another store has it."""
        if PARENT_KEY not in tags:
            return {}
        run_id = self._run_of(tags[PARENT_KEY])
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
                self._wake.wait(1.0 if reached else self.retry)
                self._wake.clear()
                last = self._closing is not None
                try:
                    self.deliver()
                    if last:
                        self._deliver_unwritten()
                    if not reached:
                        logger.info("MLflow is back and has been told what it missed")
                    reached = True
                except Exception as error:
                    if reached:
                        reason = without_password(one_line(error, None))[:200]
                        logger.warning(
                            "MLflow cannot be reached, the run goes on and is recorded in "
                            f"{self.journal.path.parent}: {reason}"
                        )
                    reached = False
                if last and (reached or time.monotonic() > self._closing):
                    return
                if last:
                    time.sleep(min(1.0, self.retry))
                    self._wake.set()

    def _deliver_unwritten(self) -> None:
        """The last events of a run whose disk is full."""
        while self.journal.unwritten:
            self._send(self.journal.unwritten[0])
            del self.journal.unwritten[0]

    def _complete(self) -> bool:
        unread = next(self.journal.read(self.state["offset"]), None)
        return unread is None and not self.journal.unwritten

    def _send(self, event: Event) -> None:
        from mlflow.exceptions import MlflowException

        try:
            getattr(self, f"_send_{event['kind']}")(event)
        except FileNotFoundError as error:
            logger.warning(f"MLflow does not get {error.filename}: the file is gone")
        except MlflowException as error:
            # To a run that was deleted nothing can be sent, until it is restored.
            if error.error_code not in REFUSALS or self._deleted():
                raise
            entries = singles(event)
            if len(entries) > 1:  # only one of them may be at fault
                for entry in entries:
                    self._send(entry)
                return
            reason = without_password(str(error))[:300]
            logger.warning(f"MLflow refused a part of the record: {reason}")

    def _deleted(self) -> bool:
        return self.client.get_run(self.run_id).info.lifecycle_stage == "deleted"

    def _send_run(self, event: Event) -> None:
        """Done by ``connect``."""

    def _send_log(self, event: Event) -> None:
        from mlflow.entities import Metric, Param, RunTag

        tags = dict(event.get("tags", {}))
        links = {"pipeline.training_run_id": "pipeline.training_key", PARENT_TAG: PARENT_KEY}
        for link, key in links.items():
            if other := self._run_of(tags.get(key)):
                tags[link] = other
        self.client.log_batch(
            self.run_id,
            metrics=[Metric(*metric) for metric in event.get("metrics", [])],
            params=[Param(*param) for param in event.get("params", {}).items()],
            tags=[RunTag(*tag) for tag in tags.items()],
        )

    def _run_of(self, key: str | None) -> str | None:
        """The id that another run has in this store."""
        if not key:
            return None
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
        temporary = self.state_file.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(self.state, indent=4))
            os.replace(temporary, self.state_file)
        except OSError:  # a full disk: sent again after a restart, which does no harm
            temporary.unlink(missing_ok=True)


def batches(events: Iterator[tuple[Event, int]]) -> Iterator[tuple[Event, int]]:
    """The events, runs of metrics, parameters and tags put together up to MLflow's limits."""
    batch: Event | None = None
    end = 0
    for event, offset in events:
        if batch is not None:
            if event["kind"] == "log" and fits(batch, event):
                batch = {
                    "kind": "log",
                    "metrics": batch.get("metrics", []) + event.get("metrics", []),
                    "params": batch.get("params", {}) | event.get("params", {}),
                    "tags": batch.get("tags", {}) | event.get("tags", {}),
                }
                end = offset
                continue
            yield batch, end
            batch = None
        if event["kind"] == "log":
            batch, end = event, offset
        else:
            yield event, offset
    if batch is not None:
        yield batch, end


def singles(event: Event) -> list[Event]:
    """A log event's metrics, parameters and tags, each in an event of its own."""
    metrics = [{"kind": "log", "metrics": [metric]} for metric in event.get("metrics", [])]
    named = [
        {"kind": "log", part: {name: value}}
        for part in ("params", "tags")
        for name, value in event.get(part, {}).items()
    ]
    return metrics + named


def fits(batch: Event, event: Event) -> bool:
    """Whether two events together stay below what one request may hold."""
    sizes = {
        name: len(batch.get(name, ())) + len(event.get(name, ()))
        for name in ("metrics", "params", "tags")
    }
    known = batch.get("params", {})
    if any(known.get(name, value) != value for name, value in event.get("params", {}).items()):
        return False  # MLflow keeps the first value and refuses another
    return sum(sizes.values()) <= 1000 and sizes["params"] <= 100 and sizes["tags"] <= 100
