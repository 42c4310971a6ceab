"""The promises of the pancreas bundle, kept through the real command line."""

import csv
import functools
import json
from pathlib import Path

import mlflow
import nibabel
import numpy as np
import pytest
import torch

from pipeline.datasets.phantoms.ct import write_ct_phantoms

CONFIGS = Path(__file__).parents[2] / "bundles" / "pancreas_ct_segmentation" / "configs"
SMALL = {
    "spacing": [5, 5, 5],
    "roi_size": [32, 32, 32],
    "patch_size": [24, 24, 24],
    "margin": 4,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "lr": 0.01,
}
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")


@pytest.fixture(scope="module")
def bundle_run(run_bundle):
    return functools.partial(run_bundle, CONFIGS)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "ct"
    return write_ct_phantoms(folder, count=10, size=(56, 56, 28), tumour_share=1.0).parent


@pytest.fixture(scope="module")
def trained(bundle_run, phantoms, tmp_path_factory):
    """A short training from the command line, and where its files are."""
    work = tmp_path_factory.mktemp("work")
    bundle_run(["train.json"], cwd=work, dataset_dir=phantoms, output_dir="run", epochs=40,
               val_interval=20, patches_per_case=2, device="cpu", **SMALL)  # fmt: skip
    return work


def runs_of(work):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{work}/mlflow.db")
    experiment = client.get_experiment_by_name("pancreas_ct_segmentation")
    return client, client.search_runs([experiment.experiment_id])


@pytest.mark.slow
def test_training_learns_and_is_recorded(trained):
    with (trained / "run" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert float(history[-1]["loss"]) < 0.8 * float(history[0]["loss"])
    assert float(history[-1]["dice/pancreas"]) > 0.2
    _, (run,) = runs_of(trained)
    assert run.info.status == "FINISHED"
    assert run.data.params["spacing"] == "[5, 5, 5]"


@pytest.mark.slow
def test_evaluation_and_inference_agree_on_the_files_own_grid(bundle_run, trained, phantoms):
    ids = {k: SMALL[k] for k in ("spacing", "roi_size", "channels", "strides")}
    bundle_run(["train.json", "evaluate.json"], cwd=trained, dataset_dir=phantoms,
               ckpt_path="run/model.pt", section="testing", device="cpu", **ids)  # fmt: skip
    report = trained / "run" / "evaluation-testing"
    metrics = json.loads((report / "summary.json").read_text())["metrics"]
    assert metrics["dice/pancreas"]["mean"] > 0.2
    assert {"hd95/pancreas", "asd/pancreas", "nsd/pancreas", "volume_error/pancreas"} <= set(
        metrics
    )
    assert (report / "figures" / "worst_median_best.png").stat().st_size > 10_000

    bundle_run(["inference.json"], cwd=trained, dataset_dir=phantoms / "images",
               ckpt_path="run/model.pt", output_dir="masks", device="cpu", **ids)  # fmt: skip
    with (report / "cases.csv").open() as file:
        case = next(csv.DictReader(file))
    image, label, mask = (
        nibabel.load(path)
        for path in (
            phantoms / "images" / f"{case['case']}.nii.gz",
            phantoms / "labels" / f"{case['case']}.nii.gz",
            trained / "masks" / f"{case['case']}_seg.nii.gz",
        )
    )
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    both = np.asarray(mask.dataobj) * (np.asarray(label.dataobj) > 0)
    assert both.sum() == float(case["intersection/pancreas"])

    client, runs = runs_of(trained)
    run = next(run for run in runs if "evaluation" in run.info.run_name)
    assert run.data.metrics["testing/nsd/pancreas"] == pytest.approx(
        metrics["nsd/pancreas"]["mean"]
    )
    figures = {each.path for each in client.list_artifacts(run.info.run_id, "figures")}
    assert "figures/worst_median_best.png" in figures


@pytest.mark.slow
def test_a_resumed_training_draws_the_same_patches(bundle_run, phantoms, tmp_path):
    """Two epochs, and one that is resumed for the second: the same weights, bit for bit."""
    constant = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer"}
    overlay = tmp_path / "constant.json"
    overlay.write_text(json.dumps({"lr_schedule": {**constant, "factor": 1.0}}))

    def train(folder, epochs, **ids):
        bundle_run(["train.json", overlay], cwd=tmp_path, dataset_dir=phantoms, output_dir=folder,
                   epochs=epochs, device="cpu", log_to_mlflow=False, **ids, **SMALL)  # fmt: skip
        return torch.load(tmp_path / folder / "model_final.pt", weights_only=True)

    whole = train("whole", 2)
    train("parts", 1)
    parts = train("parts", 2, resume=True)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_evaluate_as_one(bundle_run, trained, phantoms):
    ids = {k: SMALL[k] for k in ("spacing", "roi_size", "channels", "strides")}
    ids |= {"dataset_dir": phantoms, "ckpt_path": "run/model.pt", "section": "training"}
    ids |= {"figures": False, "log_to_mlflow": False}
    bundle_run(["train.json", "evaluate.json"], cwd=trained, output_dir="one", **ids)
    bundle_run(["train.json", "multi_gpu.json", "evaluate.json"], cwd=trained, launcher=TORCHRUN,
               output_dir="two", **ids)  # fmt: skip
    one, two = ((trained / name / "cases.csv").read_text() for name in ("one", "two"))
    assert len(one.splitlines()) == 7  # of six cases, three a process
    assert one == two


def test_a_label_on_another_grid_ends_with_one_clear_line(bundle_run, phantoms, tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    cases = []
    for name in ("ct_0000", "ct_0001"):
        for kind in ("images", "labels"):
            volume = nibabel.load(phantoms / kind / f"{name}.nii.gz")
            affine = volume.affine.copy()
            affine[:3, 3] += 7.0 * (kind == "labels")
            array = np.asarray(volume.dataobj)
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / kind / f"{name}.nii.gz")
        paths = {kind: f"{kind}s/{name}.nii.gz" for kind in ("image", "label")}
        cases.append({**paths, "fold": len(cases)})
    (folder / "datalist.json").write_text(json.dumps({"training": cases}))
    done = bundle_run(["train.json"], cwd=tmp_path, check=False, dataset_dir=folder,
                      output_dir="run", **SMALL)  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("error: ")
    assert "is not on the grid of" in last
    assert "a corner is 12.1 mm apart" in last
