"""The promises of the fundus bundle, kept through the real command line."""

import csv
import functools
import json
import re
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image
from small_cases import write_eyes

BUNDLE = Path(__file__).parents[2] / "bundles" / "fundus_disc_cup_segmentation"
CONFIGS = BUNDLE / "configs"
SMALL = {
    "roi_size": [64, 64],
    "patch_size": [48, 48],
    "channels": [8, 16, 32],
    "strides": [2, 2],
    "batch_size": 4,
    "lr": 0.01,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def bundle_run(run_bundle):
    return functools.partial(run_bundle, CONFIGS)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    return write_eyes(folder / "fundus", count=25).parent


@pytest.fixture(scope="module")
def trained(bundle_run, phantoms, tmp_path_factory):
    """A short training from the command line, and where its files are."""
    work = tmp_path_factory.mktemp("work")
    bundle_run(["train.json"], cwd=work, dataset_dir=phantoms, output_dir="run", epochs=20,
               val_interval=10, **SMALL)  # fmt: skip
    return work


def runs_of(work):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{work}/mlflow.db")
    experiment = client.get_experiment_by_name("fundus_disc_cup_segmentation")
    return client, client.search_runs([experiment.experiment_id])


@pytest.mark.slow
def test_training_learns_and_is_recorded(trained):
    with (trained / "run" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in history] == list(range(1, 21))
    assert float(history[-1]["loss"]) < 0.5 * float(history[0]["loss"])
    assert float(history[-1]["dice/optic_disc"]) > 0.7

    _, runs = runs_of(trained)
    run = next(run for run in runs if "evaluation" not in run.info.run_name)
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.01"
    assert run.data.params["epochs"] == "20"
    best = max(float(row["dice"]) for row in history if row["dice"])
    assert run.data.metrics["best/dice"] == pytest.approx(best)
    assert run.data.metrics["train/loss"] == pytest.approx(float(history[-1]["loss"]))


@pytest.mark.slow
def test_evaluation_measures_on_the_original_grid(bundle_run, trained, phantoms):
    ids = {k: SMALL[k] for k in ("roi_size", "channels", "strides", "device")}
    bundle_run(["train.json", "evaluate.json"], cwd=trained, dataset_dir=phantoms,
               ckpt_path="run/model.pt", section="testing", **ids)  # fmt: skip
    report = trained / "run" / "evaluation-testing"
    summary = json.loads((report / "summary.json").read_text())
    assert summary["n_cases"] == 5
    assert summary["metrics"]["dice/optic_disc"]["mean"] > 0.6
    with (report / "cases.csv").open() as file:
        case = next(csv.DictReader(file))
    label = np.asarray(Image.open(phantoms / "labels" / f"{case['case']}.png"))
    truth = float(case["union/optic_disc"]) * (1 - float(case["iou/optic_disc"]))
    assert float(case["union/optic_disc"]) >= (label > 0).sum() > truth
    assert (report / "figures" / "worst_median_best.png").stat().st_size > 10_000
    assert (report / "figures" / "attention.png").stat().st_size > 10_000

    # The bundle's inference writes the very masks that the evaluation scored.
    bundle_run(["inference.json"], cwd=trained, dataset_dir=phantoms / "images",
               ckpt_path="run/model.pt", output_dir="masks", **ids)  # fmt: skip
    mask = np.asarray(Image.open(trained / "masks" / f"{case['case']}_seg.png"))
    assert mask.shape == label.shape
    assert set(np.unique(mask)) <= {0, 1, 2}
    for name, value in (("optic_disc", 1), ("optic_cup", 2)):
        both = ((mask >= value) & (label >= value)).sum()
        assert both == float(case[f"intersection/{name}"])

    client, runs = runs_of(trained)
    run = next(run for run in runs if "evaluation" in run.info.run_name)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["testing/dice/optic_disc"] == pytest.approx(
        summary["metrics"]["dice/optic_disc"]["mean"]
    )
    artifacts = {each.path for each in client.list_artifacts(run.info.run_id, "figures")}
    assert "figures/worst_median_best.png" in artifacts


@pytest.mark.slow
def test_two_processes_train_one_model(bundle_run, phantoms, tmp_path):
    """torchrun with gloo: one MLflow run, one checkpoint, and a loss that falls."""
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    small = {name: value for name, value in SMALL.items() if name != "device"}
    # Deep supervision too: every head must get its gradient in every process.
    ids = {"epochs": 3, "val_interval": 3, "deep_supervision": True, **small}
    bundle_run(["train.json", "multi_gpu.json"], cwd=tmp_path, launcher=launcher,
               dataset_dir=phantoms, output_dir="run", **ids)  # fmt: skip
    with (tmp_path / "run" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert len(history) == 3
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    assert 0 <= float(history[-1]["dice"]) <= 1
    state = torch.load(tmp_path / "run" / "model_final.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in state)
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    one, other = (states["torch"] for states in checkpoint["generators"])
    assert not torch.equal(one, other)  # each process augments in its own way
    _, runs = runs_of(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"]


@pytest.mark.slow
def test_a_training_that_was_stopped_early_wants_more_patience(bundle_run, phantoms, tmp_path):
    def train(**ids):
        ids = {**SMALL, "lr": 1e-30, "epochs": 9, "log_to_mlflow": False, **ids}
        done = bundle_run(["train.json"], cwd=tmp_path, check=False, dataset_dir=phantoms,
                          output_dir="run", **ids)  # fmt: skip
        epochs = len((tmp_path / "run/history.csv").read_text().splitlines()) - 1
        return done.stderr, epochs

    assert train(patience=1)[1] == 2
    told, epochs = train(patience=1, resume=True, seed=7)
    assert re.search(r"seed is 7, but .*checkpoint\.pt was written with 0", told)
    assert "cache of" not in told  # images are not read for nothing
    told, epochs = train(patience=1, resume=True)
    assert "stopped after 2 epochs" in told.splitlines()[-1]
    assert "--patience" in told.splitlines()[-1]
    assert epochs == 2
    assert train(patience=3, resume=True)[1] == 4
    assert (tmp_path / "run/model_final.pt").exists()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"epohcs": 1}, "--epohcs 1"),
        ({"dataset_dir": "nowhere"}, "nowhere: there is no such folder"),
        ({"fold": 7}, "fold 7: datalist"),
    ],
)
def test_a_fault_ends_with_one_clear_line(bundle_run, ids, message, phantoms, tmp_path):
    ids = {"dataset_dir": phantoms, "output_dir": "run", **SMALL, **ids}
    done = bundle_run(["train.json"], cwd=tmp_path, check=False, **ids)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_label_value_is_named(bundle_run, phantoms, tmp_path):
    """A 0/255 mask, the commonest mistake of all."""
    mask = tmp_path / "mask.png"
    image = shutil.copy(next((phantoms / "images").iterdir()), tmp_path / "image.png")
    Image.new("L", Image.open(image).size, 255).save(mask)
    case = {"image": "image.png", "label": "mask.png", "fold": 0}
    (tmp_path / "datalist.json").write_text(json.dumps({"training": [case, {**case, "fold": 1}]}))
    done = bundle_run(["train.json"], cwd=tmp_path, check=False, dataset_dir=tmp_path,
                      output_dir="run", **SMALL)  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "mask.png" in last
    assert "255" in last
