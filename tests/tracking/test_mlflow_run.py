"""One engine's run is one MLflow run, in a real SQLite store."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator

from pipeline.errors import InputError
from pipeline.tracking.mlflow_run import MlflowRun
from pipeline.tracking.store import without_password

pytest.importorskip("mlflow", reason="mlflow is not installed")

from stored_runs import find_runs, history

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


def train(
    output_dir: Path, *, interval: int = 1, step=lambda engine, batch: None, **options
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

    def step_and_loss(engine: Engine, batch: int) -> dict[str, torch.Tensor]:
        step(engine, batch)
        return {"loss": torch.tensor(0.5)}

    trainer = Engine(step_and_loss)
    trainer.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)

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

    (output_dir / "figures").mkdir(parents=True, exist_ok=True)
    (output_dir / "figures" / "case.png").write_bytes(b"picture")
    options = {"experiment_name": "eyes", "run_name": "a", "bundle": {"config": CONFIG}} | options
    MlflowRun(output_dir=str(output_dir), validator=validator, **options).attach(trainer)
    trainer.logger.setLevel(logging.CRITICAL)
    trainer.run([0], max_epochs=3)
    return trainer


def test_a_training_is_one_finished_run_with_all_that_belongs_to_it(store, tmp_path):
    (tmp_path / "logging.conf").write_text("as it was")
    files = [str(tmp_path / "logging.conf")]
    train(tmp_path / "out", tracking_uri=store, bundle={"config": CONFIG, "files": files})
    run = find_runs(store, "eyes")["a"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "lr": "0.1",
        "channels": "[8, 16]",
        "tracking_uri": "",
        "gates": "None",
        "odd_name": "x" * 6000,
    }
    assert run.data.metrics == pytest.approx(
        {
            "train/loss": 1 / 3,
            "train/dice_0__1": 0.25,
            "train/step_loss": 0.5,
            "train/step_lr": 0.1,
            "val/dice": 0.7,
            "best/dice": 0.8,
            "best/epoch": 2,
        }
    )
    assert history(store, run, "val/dice") == [*enumerate(DICE, start=1)]
    # The artifacts lie beside the database, and nothing lands in the working directory.
    artifacts = next((tmp_path / "store").rglob("artifacts"))
    assert json.loads((artifacts / "config.json").read_text()) == CONFIG | {"trained_on": [{}]}
    assert (artifacts / "figures" / "case.png").read_bytes() == b"picture"
    # Delivered from the run's own copy, which may be days later.
    for folder in (artifacts, tmp_path / "out" / "mlflow"):
        assert (folder / "bundle" / "logging.conf").read_text() == "as it was"
    assert not any((tmp_path / "elsewhere").iterdir())


def test_an_old_validation_is_not_logged_again(store, tmp_path):
    train(tmp_path / "out", tracking_uri=store, interval=2)
    run = find_runs(store, "eyes")["a"]
    for name in ("val/dice", "best/dice"):
        assert history(store, run, name) == [(2, 0.8)]


def test_the_environment_names_the_store_and_a_name_stays_a_text(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    train(tmp_path / "123", run_name=123)
    assert find_runs(store, "eyes")["123"].info.status == "FINISHED"


def test_a_resumed_run_keeps_its_name(store, tmp_path, caplog):
    train(tmp_path / "out", tracking_uri=store)
    with caplog.at_level(logging.INFO):
        train(tmp_path / "out", tracking_uri=store, resume=True, run_name="other")
    assert find_runs(store, "eyes").keys() == {"a"}
    assert "other" not in caplog.text


def test_a_password_of_the_store_is_nowhere_in_the_record(store, tmp_path, monkeypatch):
    uri = "postgresql://me:secret@host/mlflow"
    monkeypatch.setattr(sys, "argv", ["run", "--tracking_uri", uri])
    bundle = {"config": {**CONFIG, "tracking_uri": uri}, "overrides": {"tracking_uri": uri}}
    train(tmp_path / "out", tracking_uri=store, bundle=bundle)
    run = find_runs(store, "eyes")["a"]
    assert run.data.params["tracking_uri"] == "postgresql://***@host/mlflow"
    assert "secret" not in str(run.to_dictionary())
    for folder in ("out", "store/mlruns"):
        for path in (tmp_path / folder).rglob("*.json*"):
            assert "secret" not in path.read_text(), path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://anna:pa/ss@host:5000", "http://***@host:5000"),
        ("postgresql://host/db?user=a&password=b", "postgresql://host/db?user=a&password=***"),
        ("no answer of http://a:b@c/d: e@f", "no answer of http://***@c/d: e@f"),
        ('{"uri": "http://a/b", "mail": "d@e"}', '{"uri": "http://a/b", "mail": "d@e"}'),
    ],
)
def test_a_password_is_not_shown(text, shown):
    assert without_password(text) == shown


def test_the_working_folder_is_not_recorded(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="output_dir"):
        train(Path("."), tracking_uri=store)


def test_switched_off_it_needs_no_mlflow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # any import of it now fails
    assert train(tmp_path / "out", enabled=False).state.epoch == 3
    # By which evaluation and prediction know the training.
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == CONFIG | {"trained_on": [{}]}
    assert not (tmp_path / "out" / "mlflow").exists()
    with pytest.raises(ImportError):
        train(tmp_path / "other")
