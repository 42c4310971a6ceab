"""From a folder of one's own to a package that proves itself, by the commands of the page."""

import json

import pytest
from monai.bundle import run as bundle_run

from .support import own_data
from .support.commands import command
from .support.small_cases import predict, report
from .support.tables import read_csv

TINY = {
    "epochs": 1,
    "warmup_epochs": 0,
    "val_interval": 1,
    "channels": [4, 8, 16],
    "log_to_mlflow": False,
    "device": "cpu",
}
# Pictures go this way in docs/tutorials/own_images.ipynb.
# Kind: how its folders are written, the options of `data prepare folder`, ids of a tiny training,
# and the regions with the values that a mask holds.
KINDS = {
    "organs": (
        own_data.write_organs,
        ["--modality", "CT", "--region", "pancreas=pancreas,tumour"]
        + [text for name, v in own_data.ORGANS.items() for text in ("--values", f"{v}={name}")],
        {"roi_size": [32, 32, 32], "patch_size": [32, 32, 32], "strides": [2, 2], "margin": 2},
        {"liver": [3], "spleen": [5], "kidney": [9], "pancreas": [11, 12], "tumour": [12]},
    ),
    "two_channels": (
        own_data.write_two_channels,
        ["--modality", "MR", "--channels", "T1,T2", "--values", "1=lesion"],
        {
            **{"roi_size": [32, 32, 8], "patch_size": [32, 32, 8], "margin": 2},
            **{"strides": [[2, 2, 1], [2, 2, 2]]},
        },
        {"lesion": [1]},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_own_data_go_through_every_verb(kind, tmp_path, monkeypatch):
    write, options, ids, regions = KINDS[kind]
    monkeypatch.chdir(tmp_path)
    images, labels = write(tmp_path)
    folders = ["--images", images, "--labels", labels, "--folds", 2]
    assert not command("data", "prepare", "folder", *folders, *options, "--output", "data")
    assert not command("bundle", "new", "data", "--output", "bundles/own", "--memory", 2)
    configs = tmp_path / "bundles/own/configs"
    config = json.loads((configs / "train.json").read_text())
    assert len(config["regions"]) == len(regions)
    assert not command("data", "check", "data/datalist.json", "--bundle", "bundles/own")

    # Its logging would outlive the test.
    ids = {**TINY, **ids, "output_dir": "runs/one", "logging_file": False}
    bundle_run(config_file=[str(configs / "train.json")], **ids)
    files = [str(configs / name) for name in ("train.json", "evaluate.json")]
    few = len(regions) < 5  # figures of many organs take as long as all the rest
    bundle_run(config_file=files, ckpt_path="runs/one/model.pt", figures=few, **ids | {
        "output_dir": "runs/one/evaluation-validation"
    })  # fmt: skip
    rows = read_csv("runs/one/evaluation-validation/cases.csv")
    assert {name for name in rows[0] if name.startswith("dice/")} == {f"dice/{r}" for r in regions}
    assert len(list((tmp_path / "runs/one/evaluation-validation/predictions").iterdir())) == len(
        rows
    )

    predict(images, "--checkpoint", "runs/one", "--output", "masks")
    cases = report(tmp_path / "masks")["cases"]
    sizes = "area_px" if len(config["roi_size"]) == 2 else "volume_ml"
    assert all(case["status"] == "done" and case[sizes].keys() == regions.keys() for case in cases)
    known = {0, *(value for values in config["regions"].values() for value in values)}
    masks = [own_data.read_values(tmp_path / "masks" / case["outputs"][0]) for case in cases]
    assert set().union(*masks) <= known

    # Which checks it as `package verify` does.
    given = ["--checkpoint", "runs/one", "--output", "own.zip"]
    assert not command("package", "build", "bundles/own", *given)
