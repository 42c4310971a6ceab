"""The network as an MLflow model: it segments in a fresh process, and the best one is champion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from pipeline.bundle.configs import Config
from pipeline.errors import InputError
from pipeline.networks.weights import pack_weights
from pipeline.tracking.model import SegmentationModel, save_model
from pipeline.tracking.registry import log_model, register_model

pytest.importorskip("mlflow", reason="mlflow is not installed")

CONFIGS = Path(__file__).parents[2] / "bundles/fundus_disc_cup_segmentation/configs"
SMALL = {"channels": [4, 8], "strides": [2], "roi_size": [32, 32]}

FRESH = """
import json, sys
import mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
import pipeline
masks = [mask.tolist() for mask in model.predict(json.loads(sys.argv[2]))]
print(json.dumps({"code": pipeline.__file__, "masks": masks}))
"""


@pytest.fixture
def images(tmp_path) -> list[str]:
    """Two photographs of different sizes."""
    random = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for name, shape in (("a", (40, 56, 3)), ("b", (64, 30, 3))):
        Image.fromarray(random.integers(0, 255, shape, np.uint8)).save(folder / f"{name}.png")
    return [str(path) for path in sorted(folder.iterdir())]


def make_model(folder: Path, ids: dict) -> Path:
    """A model of random weights, whose regions are about half of an image each."""
    torch.manual_seed(1)
    config = Config.read(CONFIGS / "inference.json").as_trained(SMALL).with_changes(ids)
    network = config.built("network_def").eval()
    with torch.no_grad():
        logits = network(torch.rand(1, len(config.get("channel_names")), 32, 32)).flatten(2)
        network.final.bias -= logits.median(dim=2).values[0]
    torch.save(pack_weights(network.state_dict(), SMALL | ids), folder / "model.pt")
    options = {"config": config.content, "weights": folder / "model.pt", "run_name": "a"}
    save_model(folder / "saved", **options)
    return folder / "saved"


@pytest.fixture
def model(tmp_path) -> Path:
    return make_model(tmp_path, {})


def test_a_model_segments_in_a_fresh_process_what_the_bundle_does(model, images, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(model), json.dumps(images)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert Path(said["code"]).is_relative_to(model)  # not the installed package
    workflow = ConfigWorkflow(
        str(CONFIGS / "inference.json"),
        workflow_type="infer",
        **SMALL,
        dataset_dir=str(tmp_path / "images"),
        ckpt_path=str(tmp_path / "model.pt"),
        output_dir=str(tmp_path / "bundle"),
        device="$torch.device('cpu')",
    )
    workflow.initialize()
    workflow.run()
    for path, mask in zip(images, said["masks"], strict=True):
        saved = np.asarray(Image.open(tmp_path / "bundle" / f"{Path(path).stem}_seg.png"))
        assert np.array_equal(saved, np.array(mask))
        assert set(np.unique(saved)) == {0, 1, 2}


def test_a_model_whose_weights_are_others_is_refused(model):
    (weights,) = model.rglob("model.pt")
    content = torch.load(weights, weights_only=True)
    weights.unlink()  # it may be a link
    torch.save(pack_weights(content, {**SMALL, "strides": [4]}), weights)
    with pytest.raises(InputError, match=r"model\.pt"):
        SegmentationModel(weights.parent)


def test_a_model_of_several_channels_takes_a_column_of_paths_for_each(images, tmp_path):
    import mlflow.pyfunc
    import pandas

    own = {"regions": {"nucleus": [7], "cell": [3]}, "channel_names": ["DAPI", "GFP"]}
    model = make_model(tmp_path, own | {"device": "cpu", "components": {}})
    grey = [str(tmp_path / f"{name}.png") for name in own["channel_names"]]
    for path, channel in zip(grey, Image.open(images[0]).split()[:2], strict=True):
        channel.save(path)
    table = pandas.DataFrame([grey, grey[::-1]], columns=own["channel_names"])
    one, other = mlflow.pyfunc.load_model(model).predict(table)
    assert one.shape == other.shape == (40, 56)
    assert not np.array_equal(one, other)
    assert {0} < set(np.unique([one, other])) <= {0, 3, 7}


def test_the_champion_changes_for_a_better_one_of_the_same_cases_only(store, model):
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.create_experiment("eyes")

    def register(dice: float, datalist: str = "d", fold: int = 0) -> str:
        run = client.create_run(experiment, tags={"pipeline.datalist_sha256": datalist})
        client.log_param(run.info.run_id, "fold", fold)
        client.log_metric(run.info.run_id, "best/dice", dice)
        for _ in range(2):  # as after a crash between the request and its record
            log_model(client, run.info.run_id, model)
            words = register_model(client, run.info.run_id, "fundus")
        assert len(client.search_logged_models([experiment])) == len(
            client.search_model_versions("name = 'fundus'")
        )
        return words

    def champion() -> str:
        return client.get_model_version_by_alias("fundus", "champion").version

    register(0.8)
    assert champion() == 1
    register(0.7)
    assert champion() == 1
    register(0.9, datalist="other")
    register(0.9, fold=1)
    assert champion() == 1
    register(0.85)
    assert champion() == 5
    register(0.85)
    assert champion() == 5
