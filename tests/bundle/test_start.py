"""What a user gets wrong ends in one line, before any work."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow, create_workflow

from pipeline.bundle.as_trained import check_as_trained
from pipeline.bundle.cases import find_images
from pipeline.bundle.running import running_bundle
from pipeline.bundle.settings import check_settings
from pipeline.bundle.start import (
    check_processes,
    existing_file,
    load_pretrained,
    unused_folder,
)
from pipeline.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")

BUNDLES = Path(__file__).parents[2] / "bundles"
CHECK = {"_target_": "pipeline.bundle.check_run"}
TINY = {
    "epochs": 5,
    "lr": 0.1,
    "rests": 0,
    "bundle_root": ".",
    "trainer": {"_target_": "dict", "steps": "@epochs", "lr": "@lr"},
    "initialize": [CHECK],
    "run": ["$@trainer"],
}


@pytest.fixture(autouse=True)
def restored(monkeypatch, tmp_path) -> None:
    """Nothing of a run stays: the hook that it sets, the files that it writes."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.chdir(tmp_path)
    logging.getLogger("monai").setLevel(logging.CRITICAL)


@pytest.fixture
def tiny(tmp_path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    return str(path)


def workflow(config_file, **override) -> ConfigWorkflow:
    """The workflow as ``monai.bundle run`` makes and initialises it."""
    return create_workflow(
        config_file=config_file, workflow_type="train", logging_file=False, **override
    )


def input_error(error: BaseException) -> str:
    while not isinstance(error, InputError):
        error = error.__cause__
    return str(error)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"epohcs": 1}, ["--epohcs 1", "did you mean --epochs?"]),
        ({"zzz": 1}, ["--zzz 1", "it has", "epochs", "lr"]),
        ({"rests": 1}, ["--rests 1"]),  # in the file, but it would change nothing
        ({"epochs": 1, "trainer#steps": 2}, ["--epochs 1"]),
        ({"lr": "false"}, ["write --lr False"]),  # fire makes a text of JSON's false
        ({"bundle_root": "a#b"}, ["--bundle_root a#b", "rename it"]),
        ({"epochs": 0}, ["epochs is 0: give a whole number, 1 or more (--epochs)"]),
    ],
)
def test_an_override_that_nothing_reads_is_refused(tiny, override, words):
    with pytest.raises(RuntimeError) as error:
        workflow(tiny, **override)
    assert all(word in input_error(error.value) for word in words)


@pytest.mark.parametrize(
    ("override", "runs"),
    [
        ({}, {"steps": 5, "lr": 0.1}),
        ({"epochs": 1, "bundle_root": "/"}, {"steps": 1, "lr": 0.1}),
        ({"trainer#steps": 2}, {"steps": 2, "lr": 0.1}),  # so MONAI Label sets the epochs
        ({"trainer::lr": "$@lr * 2"}, {"steps": 5, "lr": 0.2}),
        (
            {"tracking": "mlflow", "tracking_uri": "u", "experiment_name": "x", "run_name": "y"},
            {"steps": 5, "lr": 0.1},
        ),
    ],
)
def test_an_override_that_the_config_or_monai_reads_is_accepted(tiny, override, runs):
    made = workflow(tiny, **override)
    assert made.run()[0].items() >= runs.items()
    assert running_bundle() == {"config": {}, "overrides": {}, "tags": {}, "files": []}


def declared_ids() -> list:
    """Each bundle's own ids: as overrides with train.json, its overlays, or inference.json."""
    found = []
    for configs in sorted(BUNDLES.glob("*/configs")):
        train, inference = configs / "train.json", configs / "inference.json"
        overlays = {*configs.rglob("*.json")} - {train, inference, configs / "metadata.json"}
        found += [[path] for path in (train, inference) if path.exists()]
        found += [[train, path] for path in sorted(overlays)]
    return found


@pytest.mark.parametrize(
    "paths", declared_ids(), ids=lambda paths: "+".join(path.stem for path in paths)
)
def test_every_plain_id_of_a_bundles_last_config_can_be_overridden(paths, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    config = json.loads(paths[-1].read_text())
    plain = {
        name: value
        for name, value in config.items()
        if isinstance(value, int | float | str) and not name.startswith("+") and "#" not in name
    }
    workflow([str(path) for path in paths], init_id="finalize", **plain | {"finalize": [CHECK]})


def test_a_users_fault_is_one_line_and_any_other_keeps_its_traceback(tiny, capsys):
    for step, printed in [("$1 / 0", "Traceback"), (CHECK, "error: --epohcs 1: ")]:
        workflow(tiny)  # sets the hook
        with pytest.raises(RuntimeError) as error:
            workflow(tiny, epohcs=1, initialize=[step])
        capsys.readouterr()
        sys.excepthook(error.type, error.value, error.tb)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith(printed)
        assert (len(lines) == 1) == (step is CHECK)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "interrupted\n"


def test_files_and_folders_of_a_run(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "model.pt", "checkpoint.pt"):
        (tmp_path / name).touch()
    assert [Path(case["image"]).name for case in find_images(str(tmp_path))] == ["a.jpg", "b.PNG"]
    assert existing_file(str(tmp_path / "model.pt"), "ckpt_path", "") == str(tmp_path / "model.pt")
    assert unused_folder(str(tmp_path / "new"), ["model.pt"]) == str(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    for refused, words in [
        (lambda: find_images("nowhere"), "dataset_dir nowhere: .* --dataset_dir"),
        (lambda: find_images("empty"), "dataset_dir empty: no image .* .png, .jpg"),
        (lambda: existing_file("m.pt", "ckpt_path", "train first."), "ckpt_path m.pt: .* train"),
        (
            lambda: unused_folder(str(tmp_path), ["model.pt"]),
            "holds model.pt; give another --output_dir, or go on with --resume True",
        ),
    ]:
        with pytest.raises(InputError, match=words):
            refused()
    assert unused_folder(str(tmp_path), ["*.pt"], resume=True) == str(tmp_path)
    (tmp_path / "checkpoint.pt").unlink()  # a training from the start would overwrite the model
    with pytest.raises(InputError, match=r"model\.pt, and no checkpoint\.pt to go on from; give"):
        unused_folder(str(tmp_path), ["*.pt"], resume=True)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n")  # cut off in its first epoch
    assert unused_folder(str(tmp_path), ["*.pt"], resume=True) == str(tmp_path)
    with pytest.raises(InputError, match=r"holds model\.pt"):
        unused_folder(str(tmp_path), ["*.pth", "m*.pt"])
    with pytest.raises(
        InputError, match=r"notes\.txt.*cannot be written to .*another --output_dir"
    ):
        unused_folder(str(tmp_path / "notes.txt/out"), ["model.pt"])


@pytest.fixture
def trained(tmp_path) -> str:
    """A checkpoint, with the config of its training."""
    config = {
        "network_def": {"_target_": "Net", "strides": "@strides", "_desc_": "old words"},
        "strides": [2, 2],
        "preprocessing": {
            "transforms": [{"_target_": "LoadImaged"}, {"upper": 99.9, "size": "@roi_size"}]
        },
        "roi_size": [64, 64],
        "regions": "$['a']",
        "lr": 0.1,
        "fold": 2,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("change", "more", "fault"),
    [
        ({}, {"fold": 2}, ""),
        ({"lr": 0.2, "roi_size": (64, 64), "regions": ["a"]}, {"fold": None, "other": 1}, ""),
        ({"network_def#_desc_": "new words"}, {}, ""),
        ({"preprocessing#transforms#0#ct": True}, {}, ""),
        ({"strides": [4, 2]}, {}, r"strides is \[4, 2\] and .*model.pt was trained with \[2, 2\]"),
        ({"roi_size": [64, 32]}, {}, "roi_size is"),
        ({"preprocessing#transforms#1#upper": 50}, {}, "transforms#1#upper is 50 .* with 99.9"),
        ({"network_def#gates": 1}, {}, "network_def#gates is 1 .* with None"),
        ({}, {"fold": 0}, "fold is 0 .* with 2"),
    ],
)
def test_what_comes_after_a_training_has_its_settings(trained, tmp_path, change, more, fault):
    """Also those that the weights do not show."""
    config = json.loads((tmp_path / "config.json").read_text())
    ids = ["network_def", "preprocessing", "regions"]
    check = {
        "_target_": "pipeline.bundle.check_as_trained",
        "checkpoint": trained,
        "ids": ids,
        **more,
    }
    (tmp_path / "later.json").write_text(json.dumps(config | {"initialize": [check], "run": []}))
    if not fault:
        workflow(str(tmp_path / "later.json"), **change)
        return
    with pytest.raises(RuntimeError) as error:
        workflow(str(tmp_path / "later.json"), **change)
    assert re.search(fault, input_error(error.value))


def test_of_a_training_that_left_no_config_nothing_is_known(tmp_path):
    check_as_trained(str(tmp_path / "model.pt"), ["network_def"], fold=1)


def bundle_settings(name: str, *overlays: str) -> dict:
    configs = BUNDLES / name / "configs"
    files = ["train.json", *overlays]
    return {k: v for file in files for k, v in json.loads((configs / file).read_text()).items()}


FUNDUS = bundle_settings("fundus_disc_cup_segmentation")
PANCREAS = bundle_settings("pancreas_ct_segmentation")


@pytest.mark.parametrize(
    ("config", "change"),
    [
        *[(FUNDUS, {name: 0}) for name in ("epochs", "batch_size", "val_interval", "patience")],
        *[(FUNDUS, {"epochs": value}) for value in ("abc", 1.5, True, None, -1) if value],
        *[(FUNDUS, {"lr": value}) for value in (0, -1, "abc", float("nan"), float("inf"))],
        *[(FUNDUS, {"gates": value}) for value in (3, 3.5, -1)],
        *[(FUNDUS, {"roi_size": value}) for value in (64, [64], [64, 32], [0, 0], ["a", "a"])],
        *[(FUNDUS, {"patch_size": value}) for value in (64, [64, 64, 64])],
        *[(FUNDUS, {"device": value}) for value in ("gpu", "cuda:99", 1.5)],
        *[(FUNDUS, {"regions": value}) for value in ("a", ["a"], [], [1, 2])],
        *[(FUNDUS, {"strides": value}) for value in ([2, 2], [2, 2, 2, 2, 2], 2, [], [2, 2, 2, 0])],
        *[(FUNDUS, {"strides": value}) for value in ([2.0] * 4, [[2, 2], [2, 0], 2, 2])],
        *[(FUNDUS, {"channels": value}) for value in ([4], ["a", "b"])],
        *[(FUNDUS, change) for change in ({"fold": True}, {"tags": "foo"}, {"dataset_dir": 2024})],
        *[(FUNDUS, {"output_dir": value}) for value in (2025, ("my", "data"))],
        *[(FUNDUS, change) for change in ({"seed": -1}, {"resume": "yes"}, {"channels": 16})],
        *[(PANCREAS, {"spacing": value}) for value in ([6, 6], [0, 1, 1], 1.5)],
        *[(PANCREAS, {"overlap": value}) for value in (1, -0.1, "a")],
        *[(PANCREAS, {"hu_window": value}) for value in ([100], [240, -100], ["a", "b"])],
        *[(PANCREAS, {"class_ratios": value}) for value in ([1], [1] * 4, [0, 0, 0], [-1, 1, 1])],
        *[(PANCREAS, {"label_values": value}) for value in ([[1, 2], [2]], [], [1, 2], [[]])],
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_to_give(config, change):
    (name,) = change
    with pytest.raises(InputError, match=rf"{name} .*give .*--{name}\b.*\.$"):
        check_settings(config | change)


def test_the_settings_of_the_bundles_and_their_overlays_can_be():
    for paths in declared_ids():
        config: dict = {}
        for path in paths:
            config |= json.loads(path.read_text())
        check_settings(config)
    check_settings(PANCREAS | {"class_ratios": [1, 3]})  # no patch is centred on a tumour
    check_settings({"lr": "$@other * 2", "device": "@cache_device", "roi_size": "$[1]"})


@pytest.mark.parametrize(
    ("environ", "distributed", "words"),
    [
        ({}, "$init()", "start them by torchrun"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, None, "give the overlay multi_gpu.json"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "$init()", None),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": "0"}, "$init()", None),
        ({}, None, None),
    ],
)
def test_processes_form_a_group_or_there_is_one(environ, distributed, words, monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if words is None:
        check_processes({"distributed": distributed})
    else:
        with pytest.raises(InputError, match=words):
            check_processes({"distributed": distributed})


def test_pretrained_weights_are_loaded_or_refused_by_name(tmp_path):
    source, target = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    load_pretrained(target, "")
    assert not torch.equal(target.weight, source.weight)
    load_pretrained(target, str(tmp_path / "model.pt"))
    assert torch.equal(target.weight, source.weight)
    with pytest.raises(InputError, match=r"model\.pt: it does not fit the network"):
        load_pretrained(torch.nn.Linear(3, 4), str(tmp_path / "model.pt"))
    with pytest.raises(InputError, match=r"gone\.pt: there is no such file"):
        load_pretrained(target, str(tmp_path / "gone.pt"))
    (tmp_path / "cut.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("cut.pt", "list.pt"):
        with pytest.raises(InputError, match=f"{name}: it does not fit the network"):
            load_pretrained(target, str(tmp_path / name))
