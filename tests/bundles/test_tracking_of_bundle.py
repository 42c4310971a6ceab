"""One run of the bundle is one MLflow run, also where MONAI is asked to track it as well."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")

import mlflow
from forked import run_module
from small_cases import write_eyes

from pipeline.cli import main

CONFIGS = Path(__file__).parents[2] / "bundles/fundus_disc_cup_segmentation/configs"
TINY = {"roi_size": [64, 64], "patch_size": [64, 64], "channels": [4, 8], "strides": [2]}
EPOCHS, CASES, BATCH = 3, {"training": 8, "validation": 2, "testing": 2}, 3
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A training and an evaluation in ``run``, with the options that MONAI's tracking reads."""
    work = tmp_path_factory.mktemp("work")
    phantoms = write_eyes(work / "phantoms", count=12, testing=2 / 12)
    for overlays, ids in (
        ([], {"output_dir": "run", "epochs": EPOCHS, "batch_size": BATCH, "run_name": 123}),
        (["evaluate.json"], {"ckpt_path": "run/model.pt", "section": "testing"}),
    ):
        ids.setdefault("run_name", "'1e3'")  # bare, the command line would make it 1000.0
        ids |= {"dataset_dir": phantoms.parent, "device": "cpu", "tracking": "mlflow", **TINY}
        ids |= {"tracking_uri": f"sqlite:///{work}/store/mlflow.db", "experiment_name": 7}
        files = [str(CONFIGS / name) for name in ("train.json", *overlays)]
        command = ["monai.bundle", "run", "--config_file", str(files)]
        for name, value in ids.items():
            command += [f"--{name}", str(value)]
        run_module(*command, cwd=work, env={"MLFLOW_TRACKING_URI": ""})
    return work


@pytest.fixture(scope="module")
def client(work) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{work}/store/mlflow.db")


@pytest.fixture(scope="module")
def runs(client) -> dict:
    """All runs of the store, by name."""
    experiments = {each.name: each.experiment_id for each in client.search_experiments()}
    runs = client.search_runs([*experiments.values()])
    assert [run.info.experiment_id for run in runs] == [experiments["7"]] * 2
    return {run.info.run_name: run for run in runs}


def test_each_is_one_finished_run_of_the_name_it_was_given(work, runs):
    assert {name: run.info.status for name, run in runs.items()} == {
        "123": "FINISHED",
        "1e3": "FINISHED",
    }
    assert not [path for path in work.iterdir() if path.name.startswith("ml")]  # no second store


def test_a_training_has_every_metric_once_and_no_other(work, client, runs):
    run = runs["123"]
    histories = {
        name: [each.step for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    with (work / "run" / "history.csv").open() as file:
        scores = [float(row["dice"]) for row in csv.DictReader(file)]
    epochs = [*range(1, EPOCHS + 1)]
    better = [epoch for epoch in epochs if scores[epoch - 1] > max(scores[: epoch - 1], default=-1)]
    dice = ("dice", "dice/optic_disc", "dice/optic_cup", "pooled_iou")
    iterations = [*range(1, EPOCHS * -(-CASES["training"] // BATCH) + 1)]
    expected = {name: [0] for name in ("model/parameters", "model/gflops")}
    expected |= dict.fromkeys(("train/step_loss", "train/step_lr"), iterations)
    expected |= {f"train/{name}": epochs for name in ("loss", "lr", "minutes", "peak_memory_mb")}
    expected |= {f"val/{name}": epochs for name in dice}
    expected |= {f"best/{name}": better for name in (*dice, "epoch")}
    system = {name for name in histories if name.startswith("system/")}  # if it took that long
    assert {name: histories[name] for name in histories.keys() - system} == expected


def test_both_carry_the_tags_that_people_and_comparisons_look_for(work, runs):
    training, evaluation = runs["123"], runs["1e3"]

    def digest(path: str) -> str:
        return hashlib.sha256((work / path).read_bytes()).hexdigest()

    both = {
        "pipeline.bundle": CONFIGS.parent.name,
        "pipeline.bundle_version": json.loads((CONFIGS / "metadata.json").read_text())["version"],
        "pipeline.network": "AttentionUnet",
        "pipeline.datalist_sha256": digest("phantoms/datalist.json"),
    }
    own = {
        "pipeline.kind": "evaluation",
        "pipeline.training_run_id": training.info.run_id,
        "pipeline.checkpoint_sha256": digest("run/model.pt"),
        "pipeline.section": "testing",
        "pipeline.output_dir": str(work / "run" / "evaluation-testing"),
    }
    first = {"pipeline.kind": "training", "pipeline.output_dir": str(work / "run")}
    assert both.items() | first.items() <= training.data.tags.items()
    assert both.items() | own.items() <= evaluation.data.tags.items()
    assert not (own.keys() - first.keys()) & training.data.tags.keys()


def test_another_store_links_them_too(work, runs, tmp_path, monkeypatch):
    """A run has an id of its own in every store."""
    monkeypatch.chdir(tmp_path)  # where MLflow puts the artifacts
    uri = f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(SystemExit) as end:
        main(["runs", "sync", str(work / "run"), "--tracking-uri", uri])
    assert not end.value.code
    client = mlflow.MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    there = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    training = there["123"].info.run_id
    assert training != runs["123"].info.run_id
    assert there["1e3"].data.tags["pipeline.training_run_id"] == training


def test_both_say_which_cases_they_saw(runs):
    seen = {
        name: {
            each.tags[0].value: json.loads(each.dataset.profile)["cases"]
            for each in run.inputs.dataset_inputs
        }
        for name, run in runs.items()
    }
    assert seen == {
        "123": {name: CASES[name] for name in ("training", "validation")},
        "1e3": {"evaluation": CASES["testing"]},
    }


def test_the_evaluation_keeps_its_numbers_tables_and_masks(work, client, runs):
    run = runs["1e3"]
    summary = json.loads((work / "run/evaluation-testing/summary.json").read_text())
    for name, value in summary["metrics"].items():
        if value["mean"] is not None:
            assert run.data.metrics[f"testing/{name}"] == pytest.approx(value["mean"])
    assert {
        "testing/seconds_per_image",
        "model/parameters",
        "model/gflops",
    } <= run.data.metrics.keys()
    files = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"cases.csv", "summary.json", "config.json", "figures", "predictions"} <= files
    masks = client.list_artifacts(run.info.run_id, "predictions")
    assert len(masks) == CASES["testing"]
