"""Record a training or an evaluation as one MLflow run, whatever happens to it."""

from __future__ import annotations

import atexit
import json
import logging
import math
import signal
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..bundle.configs import is_plain
from ..bundle.lineage import MEASURED_ON, describe_data, describe_training
from ..bundle.trained import BEST, CONFIG, ENSEMBLE
from ..files import write_json
from .delivery import RUN_KEY
from .journal import FOLDER
from .provenance import (
    checkpoint_tags,
    datalist_tags,
    dataset_event,
    describe_environment,
    git_tags,
    process_tags,
)
from .record import RunRecord, StepLosses, clean_name, now
from .store import store_uri, tell_error, without_password, without_passwords
from .system_metrics import watch_system

logger = logging.getLogger(__name__)

STEPS_A_BATCH = 50  # steps whose losses are read from the device together


@dataclass(eq=False, repr=False, kw_only=True)
class MlflowRun:
    """Ignite handler that records its engine's run in MLflow.

    The run starts and ends with the engine: as FINISHED; as FAILED on an exception, with the
    traceback as ``traceback.txt``; as KILLED on SIGINT and SIGTERM. Everything goes into a journal
    in ``<output_dir>/mlflow`` first, and from there a thread sends it to the MLflow store. So a
    step never waits for the store, and a store that is away for a while loses nothing: ``python -m
    pipeline runs sync`` delivers what is missing when the run ends.

    At the start it records every plain top-level value of the config as a parameter, the
    overrides, the whole config, the code's commit, versions, machine and datasets; per step the
    loss and the learning rate (``train/step_loss``, ``train/step_lr``); per epoch the engine's
    metrics as ``<prefix>/...``, the validator's as ``val/...`` and those of the best epoch so far
    as ``best/...``; at the end the files of ``output_dir``. Only the first process records. Names
    are reduced to letters, digits and ``_-. /``; metrics that are not finite are left out.

    Args:
        enabled: False writes only ``config.json`` into ``output_dir``, and does not need MLflow.
        tracking_uri: MLflow's tracking URI; empty for ``MLFLOW_TRACKING_URI`` or else MLflow's
            default, a SQLite store in the working directory.
        tracking_offline: record in a SQLite store in the working directory, whatever the URI.
        experiment_name: name of the experiment, which is created if need be.
        run_name: name of the run.
        output_dir: folder of the run's files.
        prefix: of the names of the engine's own metrics.
        tags: more tags.
        validator: an evaluator with more metrics, if any.
        checkpoint: the weights that an evaluation measures; None for a training.
        datalist: the datalist file, if there is one; a server may list the cases itself.
        datasets: datasets by context (``training``, ...), each with a list of cases as ``data``.
        bundle: what ``pipeline.bundle.running_bundle`` gives.
        cost: metrics of the network that are known before, such as ``model/parameters``.
        register: a name in MLflow's model registry for the network of a finished training, or an
            ensemble. The alias ``champion`` goes to the version with the best Dice among those
            with the same datalist, fold and section.
        resume: go on with the run whose journal is in ``output_dir``, if there is one.
        timeout: longest wait for the store at the start in s.
    """

    enabled: bool = True
    tracking_uri: str = ""
    tracking_offline: bool = False
    experiment_name: str
    run_name: str
    output_dir: str | Path
    prefix: str = "train"
    tags: Mapping[str, str] | None = None
    validator: Engine | None = None
    checkpoint: str | None = None
    datalist: str | None = None
    datasets: Mapping[str, Any] | None = None
    bundle: Mapping[str, Any] | None = None
    cost: Mapping[str, float] | None = None
    register: str = ""
    resume: bool = False
    timeout: float = 30.0

    def __post_init__(self) -> None:
        self.experiment_name, self.run_name = str(self.experiment_name), str(self.run_name)
        self.register = str(self.register)
        self.output_dir = Path(self.output_dir)
        tags = self.tags or {}
        self.tags = {clean_name(str(name)): str(value) for name, value in tags.items()}
        if not (self.datalist and Path(self.datalist).is_file()):
            self.datalist = None
        # A training on all cases has none for validation.
        datasets = self.datasets or {}
        self.datasets = {name: each for name, each in datasets.items() if len(each.data)}
        self.bundle = {"config": {}, "overrides": {}, **(self.bundle or {})}
        self.ended = False

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() > 0:
            return
        if not self.enabled:
            engine.add_event_handler(Events.STARTED, self.write_config)
            return
        engine.add_event_handler(Events.STARTED, self.start)
        if not self.checkpoint:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.note_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_metrics)
        engine.add_event_handler(Events.COMPLETED, lambda engine: self.end("FINISHED"))
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def write_config(self, engine: Engine) -> None:
        write_json(self.output_dir / CONFIG, self.kept_config(), alone=True)

    def kept_config(self) -> dict[str, Any]:
        """The config, and where the weights come from or what they were measured on."""
        config = without_passwords(self.bundle["config"])
        cases = {context: len(each.data) for context, each in self.datasets.items()}
        if self.checkpoint:
            return config | {MEASURED_ON: describe_data(self.datalist, cases)}
        before = self.output_dir / CONFIG if self.resume else None
        return config | describe_training(self.bundle, self.datalist, cases, before)

    def start(self, engine: Engine) -> None:
        """Open the run.

        Raises:
            InputError: the store does not answer.
        """
        uri = store_uri(self.tracking_uri, offline=self.tracking_offline)
        options = {"resume": self.resume, "timeout": self.timeout}
        self.record = RunRecord(self.output_dir, uri, description=self.description, **options)
        if self.record.earlier:
            self.run_name = self.record.earlier[0]["run_name"]
        self.steps = StepLosses()
        self.record_start()
        self.record.tidy()
        self.monitor = watch_system(uri, self.record.write_metrics, self.record.logged)
        self.previous = None
        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGTERM, self.on_sigterm)
        atexit.register(self.end, "KILLED")
        logger.info(
            f"MLflow run {self.run_name!r} ({self.record.delivery.run_id}) in experiment "
            f"{self.experiment_name!r} at {without_password(uri)}"
        )

    def log_model(self) -> None:
        """Log the best network of a training, or an ensemble, as an MLflow model; register it."""
        weights = self.output_dir / (ENSEMBLE if self.checkpoint else BEST)
        if "inference" not in self.bundle or not weights.exists():
            return
        from .model import save_model

        folder = self.output_dir / FOLDER / "model"
        config = self.bundle["inference"]
        save_model(folder, config=config, weights=weights, run_name=self.run_name)
        self.record.write("model", path=folder.relative_to(self.output_dir).as_posix())
        if self.register:
            self.record.write("register", name=self.register)

    def description(self) -> dict[str, Any]:
        """The first event of the journal, which creates the run."""
        from mlflow.tracking.context.registry import resolve_tags

        tags = {
            **{name: value for name, value in resolve_tags().items() if value},
            "mlflow.source.name": self.bundle.get("tags", {}).get("pipeline.bundle", sys.argv[0]),
            "pipeline.kind": "evaluation" if self.checkpoint else "training",
            # From the first moment, so that a run that dies in the next one can be marked.
            "pipeline.output_dir": str(self.output_dir.resolve()),
            **process_tags(),
            **self.tags,
            RUN_KEY: uuid.uuid4().hex,
        }
        return {
            "kind": "run",
            "time": now(),
            "experiment_name": self.experiment_name,
            "run_name": self.run_name,
            "tags": tags,
        }

    def record_start(self) -> None:
        """Record everything that is known before the first step."""
        config = without_passwords(self.bundle["config"])
        overrides = without_passwords(self.bundle["overrides"])
        plain = {
            clean_name(id): str(value)[:6000] for id, value in config.items() if is_plain(value)
        }
        known = self.record.params
        tags = {
            **process_tags(),
            **git_tags(),
            "pipeline.output_dir": str(self.output_dir.resolve()),
            "pipeline.overrides": json.dumps(overrides, default=str),
            **self.bundle.get("tags", {}),
            **self.tags,
        }
        if self.datalist:
            tags |= datalist_tags(self.datalist)
        if self.checkpoint:
            tags |= checkpoint_tags(Path(self.checkpoint))
            tags["pipeline.section"] = self.prefix
        # MLflow keeps a parameter's first value; a resumed training may have changed it.
        changed = {name: value for name, value in plain.items() if known.get(name, value) != value}
        tags |= {f"pipeline.changed.{name}": value for name, value in changed.items()}
        tags = {name: str(value)[:5000] for name, value in tags.items()}
        params = {name: value for name, value in plain.items() if name not in known}
        self.record.write("log", params=params, tags=tags)  # the process first, or it seems dead
        self.record.write("status", status="RUNNING", time=now())
        for context, dataset in self.datasets.items():
            event = dataset_event(context, dataset.data, self.datalist)
            if event not in self.record.earlier:
                self.record.journal.append(event)
        self.record.write_values(self.cost or {}, step=0)
        self.record.write_json(CONFIG, self.kept_config())
        self.record.write_json("environment.json", describe_environment())
        self.record.write_bundle(self.bundle.get("files", []))

    def note_step(self, engine: Engine) -> None:
        self.steps.add(engine)
        if len(self.steps) >= STEPS_A_BATCH:
            self.record.write_metrics(self.steps.take())

    def log_metrics(self, engine: Engine) -> None:
        self.record.write_metrics(self.steps.take())
        epoch = engine.state.epoch
        values = {  # the size of the network is the same in training and evaluation
            name if name.startswith("model/") else f"{self.prefix}/{name}": value
            for name, value in engine.state.metrics.items()
        }
        if self.validator is not None and self.validator.state.epoch == epoch:
            state = self.validator.state
            values |= {f"val/{name}": value for name, value in state.metrics.items()}
            if state.best_metric_epoch == epoch and math.isfinite(state.best_metric):
                values |= {f"best/{name}": value for name, value in state.metrics.items()}
                values["best/epoch"] = epoch
        self.record.write_values(values, step=epoch)

    def on_sigterm(self, number: int, frame: Any) -> None:
        raise SystemExit(128 + number)  # so that the run ends in order

    def fail(self, engine: Engine, error: BaseException) -> None:
        if hasattr(self, "monitor"):
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            self.end("KILLED" if stopped else "FAILED", error)
        raise error

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Close the run; once."""
        if self.ended:
            return
        self.ended = True
        atexit.unregister(self.end)
        if self.previous is not None:
            signal.signal(signal.SIGTERM, self.previous)
        self.monitor.finish()
        self.record.write_metrics(self.steps.take())
        if status == "FAILED" and error is not None:
            self.record.write_error(error)
        if status == "FINISHED":
            try:
                self.log_model()
            except Exception as error:  # the training itself is done
                reason = tell_error(error, 300)
                logger.warning(f"the network is not logged as an MLflow model: {reason}")
        self.record.write_folder()
        self.record.write("status", status=status, time=now())
        if not self.record.delivery.close():
            logger.warning(
                "MLflow does not have all of this run yet; deliver the rest later by "
                f"python -m pipeline runs sync {self.output_dir}"
            )
