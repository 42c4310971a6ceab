"""A small real training that tests end in every way; it prints a line per epoch."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.utils import set_determinism

from pipeline.engines.checkpoints import Checkpoints
from pipeline.engines.handlers import EpochSummary
from pipeline.engines.metrics import RegionDice
from pipeline.tracking.mlflow_run import MlflowRun


def train(
    *,
    output_dir: str,
    epochs: int = 3,
    steps: int = 4,
    seconds: float = 0.0,
    raise_at: int | None = None,
    fill_disk_at: int | None = None,
    until: str | None = None,
    resume: bool = False,
    track: bool = True,
    **mlflow: object,
) -> SupervisedTrainer:
    """Train one convolution on noise.

    Args:
        output_dir: folder of the run.
        epochs, steps: length of the training.
        seconds: length of a step.
        raise_at: epoch at whose start an exception is raised.
        fill_disk_at: epoch from which on no file can grow beyond 1 kB more than the journal has.
        until: a file; the training ends after the epoch in which it appears.
        resume: go on from the checkpoint.
        track: record it in MLflow.
        mlflow: options of ``MlflowRun``.
    """
    set_determinism(seed=0)
    cases = [
        {"image": torch.rand(1, 1, 8, 8), "label": (torch.rand(1, 2, 8, 8) > 0.5).float()}
        for _ in range(steps)
    ]
    network = torch.nn.Conv2d(1, 2, 3, padding=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    validator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=cases[:1],
        network=network,
        key_val_metric={"dice": RegionDice({"a": [1, 2], "b": [2]})},
        decollate=False,
    )
    run = MlflowRun(
        enabled=track,
        experiment_name="tiny",
        run_name=Path(output_dir).name,
        output_dir=output_dir,
        validator=validator,
        bundle={"config": {"epochs": epochs, "lr": 0.1}, "overrides": {"epochs": epochs}},
        resume=resume,
        **mlflow,
    )
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=cases,
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.BCEWithLogitsLoss(),
        decollate=False,
        train_handlers=[
            ValidationHandler(validator=validator, interval=1, epoch_level=True),
            EpochSummary(output_dir, validator),
            run,
            Checkpoints(
                output_dir=output_dir,
                model=network,
                state={"network": network, "optimizer": optimizer},
                validator=validator,
                resume=resume,
            ),
        ],
    )

    @trainer.on(Events.EPOCH_STARTED)
    def trouble(engine: SupervisedTrainer) -> None:
        if engine.state.epoch == raise_at:
            raise ArithmeticError("something broke")
        if engine.state.epoch == fill_disk_at:
            limit = (Path(output_dir) / "mlflow" / "events.jsonl").stat().st_size + 1000
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    @trainer.on(Events.ITERATION_COMPLETED)
    def last(engine: SupervisedTrainer) -> None:
        time.sleep(seconds)

    @trainer.on(Events.EPOCH_COMPLETED)
    def tell(engine: SupervisedTrainer) -> None:
        print("epoch", engine.state.epoch, flush=True)
        if until and Path(until).exists():
            engine.terminate()

    trainer.run()
    return trainer
