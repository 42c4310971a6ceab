"""One training, one MLflow run: parameters, metrics, config, checkpoints and pictures."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

logger = logging.getLogger(__name__)


class MlflowRun:
    """Ignite handler that records its engine's run in MLflow.

    The run starts with the engine and ends with it, FINISHED or, on an exception, FAILED. Every
    plain top-level value of the config is a parameter; ``state.metrics`` of the engine become
    ``<prefix>/...``, those of the validator ``val/...``, logged each epoch, and ``best/...`` at the
    epoch with the best key metric. At the end the whole ``output_dir`` is the run's artifacts.
    On processes other than the first it does nothing.

    A run that cannot start ends the training before its first step; what MLflow refuses later
    is a warning. Metrics that are no finite number are left out, names are reduced to letters,
    digits and ``_-. /``, and texts are cut at MLflow's limits.

    Args:
        enabled: False logs nothing, and MLflow need not be installed.
        tracking_uri: MLflow's tracking URI; empty for ``MLFLOW_TRACKING_URI`` or else MLflow's
            default, a SQLite store in the working directory. A new experiment of a SQLite store
            keeps its artifacts in the folder ``mlruns`` beside the database.
        experiment_name: the experiment, made when there is none.
        run_name: the run's name.
        output_dir: the folder with the run's files.
        prefix: what stands before the names of the engine's own metrics.
        validator: an evaluator with more metrics, if any.
        config: the resolved config.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        tracking_uri: str = "",
        experiment_name: str,
        run_name: str,
        output_dir: str,
        prefix: str = "train",
        validator: Engine | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.enabled = enabled and idist.get_rank() == 0
        self.tracking_uri = tracking_uri
        self.experiment_name = str(experiment_name)
        self.run_name = str(run_name)
        self.output_dir = Path(output_dir)
        self.prefix = prefix
        self.validator = validator
        self.config = dict(config or {})

    def attach(self, engine: Engine) -> None:
        if not self.enabled:
            return
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_metrics)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def start(self, engine: Engine) -> None:
        import mlflow

        # A client of its own: mlflow.set_tracking_uri would also set it for every later run.
        uri = self.tracking_uri or mlflow.get_tracking_uri()
        with one_process_at_a_time(uri):
            self.client = mlflow.MlflowClient(tracking_uri=uri)
            experiment = self.client.get_experiment_by_name(self.experiment_name)
            if experiment is None:
                folder = sqlite_folder(uri)
                experiment_id = self.client.create_experiment(
                    self.experiment_name,
                    artifact_location=folder and (folder / "mlruns").as_uri(),
                )
            else:
                experiment_id = experiment.experiment_id
        run = self.client.create_run(experiment_id, run_name=self.run_name)
        self.run_id = run.info.run_id
        self.output_dir.mkdir(parents=True, exist_ok=True)
        config_file = self.output_dir / "config.json"
        config_file.write_text(json.dumps(self.config, indent=4, default=str))
        parameters = [
            mlflow.entities.Param(key(name), str(value)[:6000])
            for name, value in self.config.items()
            if is_plain(value)
        ]
        with warn_only():
            self.client.log_batch(self.run_id, params=parameters)
            self.client.log_artifact(self.run_id, str(config_file))
        logger.info(
            f"MLflow run {self.run_name!r} ({self.run_id}) in experiment "
            f"{self.experiment_name!r} at {self.client.tracking_uri}"
        )

    def log_metrics(self, engine: Engine) -> None:
        from mlflow.entities import Metric

        epoch = engine.state.epoch
        values = {f"{self.prefix}/{name}": value for name, value in engine.state.metrics.items()}
        if self.validator is not None and self.validator.state.epoch == epoch:
            state = self.validator.state
            values |= {f"val/{name}": value for name, value in state.metrics.items()}
            if state.best_metric_epoch == epoch:
                values |= {f"best/{name}": value for name, value in state.metrics.items()}
        now = int(time.time() * 1000)
        with warn_only():
            metrics = [Metric(name, value, now, epoch) for name, value in finite(values)]
            self.client.log_batch(self.run_id, metrics=metrics)

    def finish(self, engine: Engine) -> None:
        with warn_only():
            self.client.log_artifacts(self.run_id, str(self.output_dir))
        with warn_only():
            self.client.set_terminated(self.run_id, "FINISHED")

    def fail(self, engine: Engine, error: BaseException) -> None:
        if hasattr(self, "run_id"):
            with warn_only():
                self.client.set_terminated(self.run_id, "FAILED")
        raise error


def sqlite_folder(tracking_uri: str) -> Path | None:
    """The folder of a SQLite store, where artifacts go too; None for any other store.

    MLflow itself would put the artifacts into the working directory.
    """
    found = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", tracking_uri)
    return Path(found[1]).resolve().parent if found else None


@contextlib.contextmanager
def one_process_at_a_time(tracking_uri: str) -> Iterator[None]:
    """Let only one process make a SQLite store or an experiment in it: MLflow fails if two do."""
    folder = sqlite_folder(tracking_uri)
    if folder is None:
        yield
        return
    from filelock import FileLock  # comes with torch

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "mlflow.db.lock", timeout=120):
        yield


@contextlib.contextmanager
def warn_only() -> Iterator[None]:
    """Turn what goes wrong with the tracking into a warning: the training is worth more."""
    try:
        yield
    except Exception as error:
        logger.warning(f"MLflow did not record all: {error}")


def key(name: str) -> str:
    """A name that MLflow takes, at most 250 characters long."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def finite(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The entries that are one finite number, as MLflow takes them."""
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):  # a vector, a table, a text
            continue
        if math.isfinite(number):
            yield key(name), number


def is_plain(value: Any) -> bool:
    """A number, a text that is no expression or reference, or a list of such."""
    if isinstance(value, list):
        return all(is_plain(each) for each in value)
    if isinstance(value, str):
        return not value.startswith(("$", "@", "%"))
    return isinstance(value, bool | int | float) or value is None
