"""The evaluation of several checkpoints, and the package of them, on the masks of `predict`."""

import json
import shutil

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image
from small_cases import EYE, photograph, training

from pipeline.bundle.configs import first_cause
from pipeline.bundle.predictor import Predictor
from pipeline.bundle.trained import read_config
from pipeline.errors import InputError
from pipeline.networks.ensemble import Ensemble
from pipeline.packaging.build import package_files
from pipeline.packaging.source import open_trained
from pipeline.prediction.bundle import read_model
from pipeline.tracking.model import SegmentationModel, save_model

SMALL = {"roi_size": [32, 32], "patch_size": [32, 32], "channels": [4, 8], "strides": [2]}
SMALL |= {"device": "cpu", "log_to_mlflow": False, "figures": False}


def write_cases(folder, count):
    """Photographs of noise with a disc and a cup, in two folds, and two for testing."""
    (folder / "labels").mkdir(parents=True)
    cases = []
    for n in range(count):
        label = np.zeros((40, 50), np.uint8)
        label[8:30, 10:34], label[14:22, 16:26] = 1, 2
        photograph(folder / f"images/{n}.png", seed=n)
        Image.fromarray(label).save(folder / f"labels/{n}.png")
        cases.append({"image": f"images/{n}.png", "label": f"labels/{n}.png"})
    training = [{**case, "fold": n % 2} for n, case in enumerate(cases[:-2])]
    (folder / "datalist.json").write_text(json.dumps({"training": training, "testing": cases[-2:]}))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Phantoms, and two networks that were trained on different folds of them."""
    folder = tmp_path_factory.mktemp("ensemble")
    write_cases(folder / "data", 6)
    whole = json.loads((EYE / "configs/train.json").read_text())
    generator = torch.Generator().manual_seed(5)
    for fold in (0, 1):
        run = training(folder / f"run{fold}", dimensions=2)
        (run / "config.json").write_text(json.dumps({**whole, **SMALL, "fold": fold}))
        state = torch.load(run / "model.pt", weights_only=True)
        for tensor in state.values():
            if fold and tensor.is_floating_point():
                tensor += 0.2 * torch.rand(tensor.shape, generator=generator) * tensor.abs()
        torch.save(state, run / "model.pt")
    return folder


def run_bundle(*names, folder=EYE, **ids):
    workflow = ConfigWorkflow(
        [str(folder / f"configs/{name}.json") for name in names],
        workflow_type="train",
        logging_file=False,
        **ids,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def masks(predict, folder):
    return {path.stem: predict(str(path)) for path in sorted((folder / "data/images").glob("*"))}


@pytest.fixture(scope="module")
def expected(work):
    """The masks of `predict`, by the name of the image."""
    model = read_model(EYE, checkpoint=[work / "run0", work / "run1"], overrides=["device=cpu"])
    return masks(Predictor(model.config, model.weights), work)


def test_an_evaluation_measures_the_ensemble_and_leaves_it(work, expected, tmp_path):
    ids = {**SMALL, "dataset_dir": str(work / "data"), "output_dir": str(tmp_path / "evaluation")}
    members = [str(work / f"run{fold}") for fold in (0, 1)]
    run_bundle("train", "evaluate", **ids, ckpt_path=members, section="testing")
    found = list((tmp_path / "evaluation/predictions").iterdir())
    assert found
    for path in found:
        assert np.array_equal(np.asarray(Image.open(path)), expected[path.stem])
    model = read_model(EYE, checkpoint=tmp_path / "evaluation", overrides=["device=cpu"])
    (name, mask), *_ = expected.items()
    image = next((work / "data/images").glob(f"{name}.*"))
    assert np.array_equal(Predictor(model.config, model.weights)(str(image)), mask)
    other = {"output_dir": str(tmp_path / "other")}
    for fold in (0, 1):  # each case was seen by one of them
        with pytest.raises((RuntimeError, InputError)) as caught:
            run_bundle("train", "evaluate", **ids | other, ckpt_path=members, fold=fold)
        assert "may have been trained on every case" in str(first_cause(caught.value))


@pytest.fixture(scope="module")
def package(work):
    """The package of both, unpacked."""
    with open_trained([str(work / "run0"), str(work / "run1")]) as source:
        files, _ = package_files(EYE, "eyes", source)
    for name, content in files.items():
        path = work / "eyes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return work / "eyes"


def test_a_package_and_an_mlflow_model_give_the_masks_of_predict(work, package, expected, tmp_path):
    weights = package / "models/model.pt"
    assert [path.name for path in weights.parent.iterdir()] == ["model.pt"]
    assert read_config(weights)["members"] == 2
    config = json.loads((package / "configs/inference.json").read_text())
    assert config["network_def"]["_target_"] == "scripts.networks.Ensemble"
    multi_gpu = json.loads((package / "configs/multi_gpu_train.json").read_text())
    assert multi_gpu["network"]["find_unused_parameters"]
    text = json.dumps(config | {"device": "cpu"}).replace('"scripts.', '"pipeline.')
    model = read_model(EYE, checkpoint=weights, overrides=["device=cpu"])
    plain = read_model(EYE, checkpoint=work / "run0", overrides=["device=cpu"]).config
    pytest.importorskip("mlflow")
    save_model(tmp_path / "saved", config=plain, weights=weights, run_name="a")
    served = SegmentationModel(tmp_path / "saved/data/model_data")
    for predict in (
        Predictor(json.loads(text), weights),
        Predictor(model.config, model.weights),
        lambda path: served.predict([path])[0],
    ):
        found = masks(predict, work)
        assert all(np.array_equal(found[name], mask) for name, mask in expected.items())


def test_a_retraining_of_a_package_trains_every_member(work, package, tmp_path):
    copy = shutil.copytree(package, tmp_path / "eyes")
    for name in ("train", "inference"):
        path = copy / f"configs/{name}.json"
        path.write_text(path.read_text().replace('"scripts.', '"pipeline.'))
    before = torch.load(copy / "models/model.pt", weights_only=True)
    config = json.loads((copy / "configs/train.json").read_text())
    assert config["fold"] == 0  # with cases for validation
    ids = {"dataset_dir": str(work / "data"), "epochs": 2, "batch_size": 2, "device": "cpu"}
    run_bundle(
        "train", folder=copy, **ids, log_to_mlflow=False, bundle_root=str(copy), run_name="again",
        ema_momentum=0,
    )  # fmt: skip
    path = copy / "runs/again/model_final.pt"
    after = torch.load(path, weights_only=True)
    for member in (0, 1):
        name = f"members.{member}.final.weight"
        assert not torch.equal(before[name], after[name])
    assert read_config(path)["members"] == 2
    network = read_model(EYE, checkpoint=path, overrides=["device=cpu"])
    assert isinstance(Predictor(network.config, path).network, Ensemble)
