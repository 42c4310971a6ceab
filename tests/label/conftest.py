"""A real MONAI Label server with packages of two small networks, trained for a minute."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import torch
from small_cases import training

from pipeline.bundle.configs import Config
from pipeline.bundle.predictor import Predictor
from pipeline.bundle.quality import Calibration, quality_file
from pipeline.datasets.phantoms.ct import write_ct_phantoms
from pipeline.datasets.phantoms.fundus import write_fundus_phantoms
from pipeline.files import sha256
from pipeline.packaging.archive import write_archive
from pipeline.packaging.build import package_files
from pipeline.packaging.label_folder import make_app
from pipeline.packaging.label_server import LabelServer
from pipeline.packaging.source import open_trained
from pipeline.prediction.bundle import read_model

ROOT = Path(__file__).parents[2]
EYE, CT = "fundus_disc_cup_segmentation", "pancreas_ct_segmentation"
SECOND = "fundus_second_segmentation"  # the first bundle's next version, with other code
MR = "brain_mr_segmentation"  # exclusive classes of any values in two channels, not trained
BUNDLES = {EYE: EYE, CT: CT, SECOND: EYE, MR: CT}
COMMON = {
    "device": "cpu",
    "warmup_epochs": 1,
    "ema_momentum": 0,
    "augment": "$None",  # to learn ten phantoms by heart is enough
    "log_to_mlflow": False,
    "val_interval": 20,
}
SMALL = {
    EYE: {
        **{"roi_size": [96, 96], "channels": [8, 16, 32, 64], "strides": [2, 2, 2]},
        **{"epochs": 60, "batch_size": 2, "lr": 0.005},
    },
    CT: {
        **{"spacing": [6, 6, 5], "roi_size": [32, 32, 32], "patch_size": [32, 32, 16]},
        **{"channels": [8, 16, 32], "strides": [2, 2], "epochs": 80, "lr": 0.01, "margin": 0},
    },
}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.label)


@pytest.fixture(scope="session")
def environment():
    """Where MONAI Label is installed."""
    path = Path(os.environ.get("LABEL_ENVIRONMENT") or ROOT / ".venv-label").absolute()
    if not (path / "bin/python").exists():
        pytest.skip(f"no MONAI Label in {path}: `make test-label`, or name its LABEL_ENVIRONMENT")
    return path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """Folders of images with labels by bundle; the CTs are neither RAS nor isotropic."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_fundus_phantoms(folder / EYE, count=12, seed=5)
    write_ct_phantoms(folder / CT, count=12, seed=5, size=(64, 64, 40), field_of_view=384)
    return {name: folder / name for name in (EYE, CT)}


@pytest.fixture(scope="session")
def trainings(phantoms, tmp_path_factory):
    """A checkpoint by bundle, beside the config that it was trained with."""
    found = {name: train(name, phantoms[name], tmp_path_factory.mktemp("run")) for name in SMALL}
    calibrate(found[EYE], phantoms[EYE] / "images")
    ids = {"spacing": [4, 4, 4], "roi_size": [32, 32, 32], "patch_size": [32, 32, 32]}
    ids |= {"regions": {"posterior": [7], "anterior": [3]}, "foreground_above": -1e9}
    ids |= {"modality": "MR", "channel_names": ["T1", "T2"]}
    ids |= {"hu_window": None, "percentiles": [0.5, 99.5]}
    folder = tmp_path_factory.mktemp("mr") / "training"
    return found | {MR: training(folder, dimensions=3, channels=2, **ids) / "model.pt"}


def train(name: str, data: Path, folder: Path) -> Path:
    """A training from MONAI's command line; returns its ``model.pt``."""
    configs = ROOT / "bundles" / name / "configs"
    files = [configs / "train.json", *([configs / "demo.json"] if name == CT else [])]
    ids = {**COMMON, **SMALL[name]}
    given = {**ids, "dataset_dir": data, "output_dir": folder / "training"}
    options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str([*map(str, files)]),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    given = {key: ids[key] for key in ids.keys() - {"augment", "log_to_mlflow"}}
    config = Config.read(*files).content | given
    path = folder / "training/model.pt"
    # As before weights had their settings in them, so that the config beside them counts.
    torch.save(dict(torch.load(path, weights_only=True)), path)
    (folder / "training/config.json").write_text(json.dumps(config))
    return path


def calibrate(weights: Path, images: Path) -> None:
    """As if an evaluation had measured six photographs."""
    model = read_model(ROOT / "bundles" / EYE, checkpoint=weights, overrides=["device=cpu"])
    predictor, rows = Predictor(model.config, weights), []
    for number, image in enumerate(sorted(images.iterdir())[:6]):
        keys = [
            f"{key}/{name}" for key in ("dice", "recall", "precision") for name in model.regions
        ]
        rows.append(
            predictor.segment(str(image)).features | dict.fromkeys(keys, 0.9 + number / 100)
        )
    content = Calibration(rows, model.regions).content(sha256(weights))
    quality_file(weights).write_text(json.dumps(content))


@pytest.fixture(scope="session")
def packages(trainings, tmp_path_factory):
    """Archives by name, and how the repository itself segments with the same weights."""
    folder = tmp_path_factory.mktemp("packages")
    found = {}
    for name, bundle in BUNDLES.items():
        with open_trained(str(trainings.get(name, trainings[bundle]))) as source:
            options = {"version": "0.2.0", "change": "other code"} if name == SECOND else {}
            files, reference = package_files(ROOT / "bundles" / bundle, name, source, **options)
        if name == SECOND:
            path, old = "scripts/transforms/regions.py", b"index.masked_fill_(masks[n], value)"
            assert files[path].count(old) == 1
            files[path] = files[path].replace(old, b"index.masked_fill_(masks[n], 3 - value)")
        write_archive(folder / f"{name}.zip", name, files)
        found[name] = SimpleNamespace(archive=folder / f"{name}.zip", config=reference[0])
    return found


@pytest.fixture(scope="session")
def segment(packages):
    """The mask of an image by this repository: ``segment(name, image, weights)``."""
    return lambda name, image, weights: Predictor(packages[name].config, weights)(str(image))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(environment, packages, folder, studies, *, port=None) -> LabelServer:
    """A server of all packages, to be entered."""
    app = folder / "app"
    models = make_app(environment, [each.archive for each in packages.values()], app)
    port = port or free_port()
    return LabelServer(environment, app, str(studies), models, port=port, log=folder / "log")


def dice(one: np.ndarray, other: np.ndarray, value: int) -> float:
    one, other = one == value, other == value
    return 2 * (one & other).sum() / max(1, one.sum() + other.sum())


def wait_for_training(server, path="train"):
    """The task, or that of a batch, when it is done."""
    while True:
        task = requests.get(f"{server.url}/{path}/").json()
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            return task
        time.sleep(1)
