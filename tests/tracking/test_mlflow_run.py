"""One engine's run is one MLflow run, in a real SQLite store."""

from __future__ import annotations

import json
import logging
import os
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator

from pipeline.tracking import MlflowRun

pytest.importorskip("mlflow", reason="mlflow is not installed")

DICE = [0.5, 0.8, 0.7]  # of the three epochs
CONFIG = {
    "lr": 0.1,
    "channels": [8, 16],
    "tracking_uri": "",
    "gates": None,
    "loss": "@dice",
    "epochs": "$1 + 2",
    "network": {"_target_": "UNet"},
    "odd#name": "x" * 7000,
}


class FixedDice:
    """A validator's metric with the values of ``DICE``."""

    def attach(self, engine: Engine, name: str) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self.set(engine, name))

    def set(self, engine: Engine, name: str) -> None:
        engine.state.metrics[name] = DICE[engine.state.epoch - 1]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A database with MLflow's tables, whose making takes longer than all the tests."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(tmp_path, monkeypatch, empty_store) -> str:
    """The URI of an empty store, away from the working directory."""
    for folder in ("store", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "store" / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"


def train(
    output_dir: Path, *, interval: int = 1, step=lambda engine, batch: 0.0, **options
) -> Engine:
    """Three epochs of a trainer with a loss, awkward metrics, and a validator."""
    validator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=[{"image": torch.zeros(1, 1), "label": torch.zeros(1, 1)}],
        network=torch.nn.Identity(),
    )
    validator.state.key_metric_name = "dice"
    FixedDice().attach(validator, "dice")

    @validator.on(Events.EPOCH_COMPLETED)
    def compare(engine: Engine) -> None:
        state = engine.state
        if state.metrics["dice"] > state.best_metric:
            state.best_metric, state.best_metric_epoch = state.metrics["dice"], state.epoch

    trainer = Engine(step)

    @trainer.on(Events.EPOCH_COMPLETED(every=interval))
    def validate(engine: Engine) -> None:
        validator.run(engine.state.epoch)

    @trainer.on(Events.EPOCH_COMPLETED)
    def set_metrics(engine: Engine) -> None:
        engine.state.metrics |= {
            "loss": 1 / engine.state.epoch,
            "dice[0]#1": torch.tensor(0.25),
            "infinite": float("inf"),
            "vector": torch.ones(2),
        }

    (output_dir / "figures").mkdir(parents=True)
    (output_dir / "figures" / "case.png").write_bytes(b"picture")
    options = {"experiment_name": "eyes", "run_name": "a", "config": CONFIG} | options
    MlflowRun(output_dir=str(output_dir), validator=validator, **options).attach(trainer)
    trainer.logger.setLevel(logging.CRITICAL)
    trainer.run([0], max_epochs=3)
    return trainer


def runs(store: str) -> dict:
    """The runs of the experiment by name."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("eyes")
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def test_a_training_is_one_finished_run_with_all_that_belongs_to_it(store, tmp_path):
    from mlflow import MlflowClient

    train(tmp_path / "out", tracking_uri=store)
    run = runs(store)["a"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "lr": "0.1",
        "channels": "[8, 16]",
        "tracking_uri": "",
        "gates": "None",
        "odd_name": "x" * 6000,
    }
    assert run.data.metrics == pytest.approx(
        {"train/loss": 1 / 3, "train/dice_0__1": 0.25, "val/dice": 0.7, "best/dice": 0.8}
    )
    history = MlflowClient(store).get_metric_history(run.info.run_id, "val/dice")
    assert [(each.step, each.value) for each in history] == [*enumerate(DICE, start=1)]
    # The artifacts lie beside the database, and nothing lands in the working directory.
    artifacts = next((tmp_path / "store").rglob("artifacts"))
    assert json.loads((artifacts / "config.json").read_text()) == CONFIG
    assert (artifacts / "figures" / "case.png").read_bytes() == b"picture"
    assert not any((tmp_path / "elsewhere").iterdir())


def test_an_old_validation_is_not_logged_again(store, tmp_path):
    from mlflow import MlflowClient

    train(tmp_path / "out", tracking_uri=store, interval=2)
    run_id = runs(store)["a"].info.run_id
    for name in ("val/dice", "best/dice"):
        history = MlflowClient(store).get_metric_history(run_id, name)
        assert [(each.step, each.value) for each in history] == [(2, 0.8)]


def test_runs_stay_apart_and_a_failure_is_told_and_raised_on(store, tmp_path, monkeypatch):
    # The environment names the store when the argument does not.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    def break_down(engine: Engine, batch: int) -> None:
        if engine.state.epoch == 2:
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        train(tmp_path / "first", run_name=123, step=break_down)
    train(tmp_path / "second", run_name="b")
    found = runs(store)
    assert {name: run.info.status for name, run in found.items()} == {
        "123": "FAILED",
        "b": "FINISHED",
    }
    assert found["123"].data.metrics["train/loss"] == 1.0
    assert found["b"].data.metrics["train/loss"] == pytest.approx(1 / 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_may_make_the_store_at_once(tmp_path):
    """MLflow's own migration of a new database fails where two processes run it."""
    store = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    processes = [
        get_context("fork").Process(target=train, args=(tmp_path / name,),
                                    kwargs={"run_name": name, "tracking_uri": store})
        for name in ("one", "two")
    ]  # fmt: skip
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert {name: run.info.status for name, run in runs(store).items()} == {
        "one": "FINISHED",
        "two": "FINISHED",
    }


def test_a_store_that_breaks_in_mid_run_does_not_end_the_training(store, tmp_path, caplog):
    database = tmp_path / "store" / "mlflow.db"

    def lose_the_table(engine: Engine, batch: int) -> None:
        import sqlite3

        if engine.state.epoch == 2:
            with sqlite3.connect(database) as connection:
                connection.execute("DROP TABLE IF EXISTS latest_metrics")

    trainer = train(tmp_path / "out", tracking_uri=store, step=lose_the_table)
    assert trainer.state.epoch == 3
    assert "MLflow did not record all" in caplog.text


def test_switched_off_it_needs_no_mlflow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # any import of it now fails
    assert train(tmp_path / "out", enabled=False).state.epoch == 3
    assert not (tmp_path / "out" / "config.json").exists()
    with pytest.raises(ImportError):
        train(tmp_path / "other")
