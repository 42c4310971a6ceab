"""The promises of the fundus bundle, kept through the real command line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out
from PIL import Image

from pipeline.datasets.phantoms import write_fundus_phantoms

BUNDLE = Path(__file__).parents[2] / "bundles" / "fundus_disc_cup_segmentation"
CONFIGS = BUNDLE / "configs"
SCHEMA = "meta_schema_20240725.json"
SMALL = {
    "roi_size": [96, 96],
    "patch_size": [64, 64],
    "channels": [8, 16, 32, 64],
    "strides": [2, 2, 2],
    "batch_size": 4,
    "lr": 0.01,
    "device": "cpu",
}


def bundle_run(configs, *, cwd, launcher=(sys.executable, "-m"), check=True, **ids):
    """`monai.bundle run` of train.json and overlays; returns the finished process."""
    files = [str(CONFIGS / name) for name in configs]
    command = [*launcher, "monai.bundle", "run", "--config_file", str(files)]
    for name, value in ids.items():
        command += [f"--{name}", str(value)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    return write_fundus_phantoms(folder / "fundus", count=25, seed=1, testing=0.2).parent


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    """A short training from the command line, and where its files are."""
    work = tmp_path_factory.mktemp("work")
    bundle_run(["train.json"], cwd=work, dataset_dir=phantoms, output_dir="run", epochs=60,
               val_interval=20, **SMALL)  # fmt: skip
    return work


def runs_of(work):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{work}/mlflow.db")
    experiment = client.get_experiment_by_name("fundus_disc_cup_segmentation")
    return client, client.search_runs([experiment.experiment_id])


@pytest.mark.slow
def test_training_learns_and_is_recorded(trained):
    with (trained / "run" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in history] == list(range(1, 61))
    assert float(history[-1]["loss"]) < 0.5 * float(history[0]["loss"])
    assert float(history[-1]["dice/optic_disc"]) > 0.7

    _, runs = runs_of(trained)
    run = next(run for run in runs if "evaluation" not in run.info.run_name)
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.01"
    assert run.data.params["epochs"] == "60"
    best = max(float(row["dice"]) for row in history if row["dice"])
    assert run.data.metrics["best/dice"] == pytest.approx(best)
    assert run.data.metrics["train/loss"] == pytest.approx(float(history[-1]["loss"]))


@pytest.mark.slow
def test_evaluation_measures_on_the_original_grid(trained, phantoms):
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
def test_two_processes_train_one_model(phantoms, tmp_path):
    """torchrun with gloo: one MLflow run, one checkpoint, and a loss that falls."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc_per_node=2", "-m")  # fmt: skip
    small = {name: value for name, value in SMALL.items() if name != "device"}
    # Deep supervision too: every head must get its gradient in every process.
    ids = {"epochs": 6, "val_interval": 3, "deep_supervision": True, **small}
    bundle_run(["train.json", "multi_gpu.json"], cwd=tmp_path, launcher=launcher,
               dataset_dir=phantoms, output_dir="run", **ids)  # fmt: skip
    with (tmp_path / "run" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert len(history) == 6
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    assert 0 <= float(history[-1]["dice"]) <= 1
    state = torch.load(tmp_path / "run" / "model_final.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in state)
    _, runs = runs_of(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"]


@pytest.mark.parametrize("cwd", [BUNDLE, Path("/")], ids=["bundle folder", "root"])
def test_bundle_is_what_monai_demands(cwd, phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(cwd)
    for name, kind, folder in (
        ("train.json", "train", phantoms),
        ("inference.json", "infer", phantoms / "images"),
    ):
        workflow = ConfigWorkflow(
            str(CONFIGS / name),
            workflow_type=kind,
            logging_file=False,
            init_id="none",
            dataset_dir=str(folder),
            output_dir=str(tmp_path),
            roi_size=[64, 64],
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(CONFIGS / "metadata.json"),
            config_file=str(CONFIGS / name),
            device="cpu",
        )


def test_metadata_follows_the_official_schema(tmp_path):
    """From beside the repository or from the address in the metadata, where that is reachable."""
    meta = CONFIGS / "metadata.json"
    local = Path(__file__).parents[3] / "shared" / "docs" / SCHEMA
    try:
        verify_metadata(
            meta_file=str(meta),
            filepath=str(local if local.exists() else tmp_path / SCHEMA),
            hash_val="06954cad2cc5d3784e72077ac76f0fc8",
            hash_type="md5",
        )
    except OSError as error:
        pytest.skip(f"the schema cannot be fetched: {error}")


@pytest.mark.parametrize(
    ("overlays", "parameters"),
    [
        ([], 2_095_061),
        (["networks/unet.json"], 1_965_586),
        (["networks/unet_plus_plus.json"], 2_283_026),
        (["networks/monai_attention_unet.json"], 1_987_722),
        (["article.json"], 33_456_965),
        (["article.json", "networks/unet.json"], 31_390_786),
        (["article.json", "networks/unet_plus_plus.json"], 36_451_394),
    ],
)
def test_networks_of_the_overlays(overlays, parameters):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("train.json", *overlays)])
    network = parser.get_parsed_content("network_def")
    assert sum(each.numel() for each in network.parameters()) == parameters
    network.eval()
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"epohcs": 1}, "--epochs"),
        ({"dataset_dir": "nowhere"}, "nowhere: there is no such folder"),
        ({"fold": 7}, "fold 7: datalist"),
    ],
)
def test_a_fault_ends_with_one_clear_line(ids, message, phantoms, tmp_path):
    ids = {"dataset_dir": phantoms, "output_dir": "run", **SMALL, **ids}
    done = bundle_run(["train.json"], cwd=tmp_path, check=False, **ids)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_label_value_is_named(phantoms, tmp_path):
    """A 0/255 mask, the commonest mistake of all."""
    mask = tmp_path / "mask.png"
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(mask)
    case = {"image": str(next((phantoms / "images").iterdir())), "label": str(mask), "fold": 0}
    (tmp_path / "datalist.json").write_text(json.dumps({"training": [case, {**case, "fold": 1}]}))
    done = bundle_run(["train.json"], cwd=tmp_path, check=False, dataset_dir=tmp_path,
                      output_dir="run", **SMALL)  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "mask.png" in last
    assert "255" in last
