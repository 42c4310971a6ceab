"""Handlers and batches in MONAI's real trainer."""

from __future__ import annotations

import csv
import logging
import math

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer

from pipeline.engines.batch import AugmentedBatch
from pipeline.engines.checkpoints import Checkpoints
from pipeline.engines.handlers import ClipGradients, EpochSummary, PeriodicValidation
from pipeline.engines.metrics import RegionDice
from pipeline.errors import InputError


def trainer(*handlers, loader=None, epochs: int = 1, **options) -> SupervisedTrainer:
    """Fits one factor, by steps that are the gradients themselves."""
    torch.manual_seed(0)
    loader = loader or [{"image": torch.rand(2, 1, 4, 4), "label": torch.ones(2, 1, 4, 4)}]
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    made = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=torch.nn.functional.mse_loss,
        train_handlers=list(handlers),
        decollate=False,
        **options,
    )
    made.logger.setLevel(logging.CRITICAL)
    return made


def test_clipping_bounds_the_step_of_the_optimiser():
    def step(max_norm: float) -> torch.Tensor:
        engine = trainer(ClipGradients(max_norm))
        before = torch.nn.utils.parameters_to_vector(engine.network.parameters()).detach()
        engine.run()
        return torch.nn.utils.parameters_to_vector(engine.network.parameters()).detach() - before

    free, clipped = step(0), step(0.01)
    assert free.norm() > 0.1
    assert clipped.norm() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm(), atol=1e-4, rtol=0)
    torch.testing.assert_close(step(1e6), free)


def test_the_summary_averages_logs_and_keeps_a_history(tmp_path, caplog):
    random = torch.Generator().manual_seed(0)
    loader = [
        {"image": torch.rand(2, 1, 4, 4, generator=random), "label": torch.full((2, 1, 4, 4), k)}
        for k in (0.0, 0.5, 1.0)
    ]
    validator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=torch.nn.Identity(),
        key_val_metric={"dice": RegionDice({"disc": [1]})},
        decollate=False,
    )
    validator.logger.setLevel(logging.CRITICAL)
    summary = EpochSummary(str(tmp_path / "out"), validator)
    validation = PeriodicValidation(validator=validator, interval=2)
    engine = trainer(validation, summary, loader=loader, epochs=5)
    losses: list[list[float]] = []
    engine.add_event_handler(Events.EPOCH_STARTED, lambda engine: losses.append([]))
    engine.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: losses[-1].append(engine.state.output["loss"].item()),
    )
    caplog.set_level(logging.INFO, logger="pipeline.engines.handlers")
    engine.run()
    by_hand = [sum(epoch) / 3 for epoch in losses]
    metrics = engine.state.metrics
    assert {name: metrics[name] for name in ("loss", "lr")} == pytest.approx(
        {"loss": by_hand[-1], "lr": 1.0}
    )
    assert metrics["peak_memory_mb"] > 100  # torch alone takes more
    lines = [each.message for each in caplog.records if each.name == "pipeline.engines.handlers"]
    assert [line.split("  ")[0] for line in lines] == [f"epoch {n}/5" for n in range(1, 6)]
    validated = [False, True, False, True, True]  # the last one too
    assert ["dice" in line for line in lines] == validated
    with (tmp_path / "out" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == pytest.approx(by_hand)
    assert [bool(row["dice/disc"]) for row in rows] == validated
    assert metrics["minutes"] == pytest.approx(sum(float(row["seconds"]) for row in rows) / 60)


def test_a_training_on_all_cases_is_not_validated(tmp_path):
    validator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=torch.utils.data.DataLoader([]),
        network=torch.nn.Identity(),
        key_val_metric={"dice": RegionDice({"disc": [1]})},
        decollate=False,
    )
    engine = trainer(epochs=3)
    saver = Checkpoints(output_dir=tmp_path, model=engine.network, state={}, validator=validator)
    for handler in (
        PeriodicValidation(validator=validator, interval=1),
        EpochSummary(str(tmp_path), validator),
        saver,
    ):
        handler.attach(engine)
    written = []  # by the end of each epoch, but for what a thread still writes
    engine.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda engine: written.append({p.name for p in tmp_path.glob("[!.]*")}),
    )
    engine.run()
    early = {"history.csv", "checkpoint.pt"}
    assert written == [early, early, {*early, "model.pt", "model_final.pt"}]
    for name in ("model.pt", "model_final.pt"):
        saved = torch.load(tmp_path / name, weights_only=True)
        assert torch.equal(saved["weight"], engine.network.weight)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert not {"dice", "best"} & rows[0].keys()
    assert validator.state.epoch == 0


def test_a_loss_that_is_not_finite_ends_the_training():
    image = torch.rand(2, 1, 4, 4)
    good, bad = torch.ones(2, 1, 4, 4), torch.full((2, 1, 4, 4), math.nan)
    loader = [{"image": image, "label": bad}, {"image": image, "label": good}]
    engine = trainer(EpochSummary(), loader=loader, epochs=3)
    with pytest.raises(InputError, match=r"epoch 1 is nan.*--lr"):
        engine.run()


def test_a_batch_is_augmented_without_gradients():
    seen = {}

    def darken(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.update(batch, grad=torch.is_grad_enabled())
        return {**batch, "image": batch["image"] / 2}

    batch = {key: torch.rand(2, 1, 4, 4) for key in ("image", "label")}
    engine = trainer(loader=[batch], prepare_batch=AugmentedBatch(darken))
    engine.run()
    assert not seen["grad"]
    assert torch.equal(engine.state.output["image"], batch["image"] / 2)
    assert torch.equal(engine.state.output["label"], batch["label"])
    image, _ = AugmentedBatch()(batch, "cpu")
    assert torch.equal(image, batch["image"])
