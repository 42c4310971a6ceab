import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from forked import run_module
from small_cases import write_eyes

BUNDLE = Path(__file__).parents[2] / "bundles" / "fundus_disc_cup_segmentation"
SMALL = {
    "roi_size": [64, 64],
    "patch_size": [48, 48],
    "channels": [8, 16, 32],
    "strides": [2, 2],
    "device": "cpu",
}


def run_code(code, *, cwd):
    """What a fresh interpreter says that runs some code."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A short training and its evaluation, recorded in MLflow, from the command line."""
    work = tmp_path_factory.mktemp("trained")
    write_eyes(work / "data", count=12)
    store = f"sqlite:///{work / 'mlflow.db'}"
    mlflow.MlflowClient(store).search_experiments()  # makes it, however long that takes
    ids = {**SMALL, "dataset_dir": work / "data", "tracking_uri": store}
    train = {**ids, "output_dir": "run", "epochs": 10, "val_interval": 5, "lr": 0.01}
    evaluate = {**ids, "ckpt_path": "run/model.pt", "section": "testing", "figures": False}
    for files, given in ((["train"], train), (["train", "evaluate"], evaluate)):
        configs = [str(BUNDLE / f"configs/{name}.json") for name in files]
        options = [word for name, value in given.items() for word in (f"--{name}", value)]
        run_module("monai.bundle", "run", "--config_file", configs, *options, cwd=work)
    (state,) = (work / "run/mlflow").glob("delivered-*.json")
    run_id = json.loads(state.read_text())["run_id"]
    return SimpleNamespace(work=work, store=store, run_id=run_id)


@pytest.fixture(scope="session")
def archive(trained):
    """The package of that training, made by the command line from MLflow alone."""
    path = trained.work / "fundus.zip"
    options = ["--checkpoint", f"runs:/{trained.run_id}", "--tracking-uri", trained.store]
    run_module("pipeline", "package", BUNDLE, *options, "--output", path, cwd=trained.work)
    return path


@pytest.fixture
def unpacked(archive, tmp_path):
    """The package as an administrator would unpack it."""
    import zipfile

    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(tmp_path / "model")
    (folder,) = (tmp_path / "model").iterdir()
    return folder
