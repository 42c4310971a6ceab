"""One training, one MLflow run: parameters, metrics, config, checkpoints and pictures."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
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

    Args:
        enabled: False logs nothing, and MLflow need not be installed.
        tracking_uri: MLflow's tracking URI; empty for ``MLFLOW_TRACKING_URI`` or else MLflow's
            default, a SQLite store in the working directory.
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
        self.experiment_name = experiment_name
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

        if self.tracking_uri:
            mlflow.set_tracking_uri(self.tracking_uri)
        self.client = mlflow.MlflowClient()
        experiment = self.client.get_experiment_by_name(self.experiment_name)
        experiment_id = (
            experiment.experiment_id
            if experiment
            else self.client.create_experiment(self.experiment_name)
        )
        run = self.client.create_run(experiment_id, run_name=self.run_name)
        self.run_id = run.info.run_id
        parameters = [
            mlflow.entities.Param(name, str(value))
            for name, value in self.config.items()
            if is_plain(value)
        ]
        self.client.log_batch(self.run_id, params=parameters)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        (self.output_dir / "config.json").write_text(json.dumps(self.config, indent=4))
        self.client.log_artifact(self.run_id, str(self.output_dir / "config.json"))
        logger.info(
            f"MLflow run {self.run_name!r} ({self.run_id}) in experiment "
            f"{self.experiment_name!r} at {mlflow.get_tracking_uri()}"
        )

    def log_metrics(self, engine: Engine) -> None:
        from mlflow.entities import Metric

        epoch = engine.state.epoch
        values = {f"{self.prefix}/{name}": value for name, value in engine.state.metrics.items()}
        if self.validator is not None and self.validator.state.iteration:
            state = self.validator.state
            values |= {f"val/{name}": value for name, value in state.metrics.items()}
            if state.best_metric_epoch == state.epoch:
                values |= {f"best/{name}": value for name, value in state.metrics.items()}
        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, epoch) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def finish(self, engine: Engine) -> None:
        self.client.log_artifacts(self.run_id, str(self.output_dir))
        self.client.set_terminated(self.run_id, "FINISHED")

    def fail(self, engine: Engine, error: BaseException) -> None:
        if hasattr(self, "run_id"):
            self.client.set_terminated(self.run_id, "FAILED")
        raise error


def is_plain(value: Any) -> bool:
    """A number, a text that is no expression or reference, or a list of such."""
    if isinstance(value, list):
        return all(is_plain(each) for each in value)
    if isinstance(value, str):
        return not value.startswith(("$", "@", "%"))
    return isinstance(value, bool | int | float) or value is None
