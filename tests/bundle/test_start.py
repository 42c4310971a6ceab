"""What a user gets wrong ends in one line, before any work."""

from __future__ import annotations

import json
import logging
import shutil
import sys

import pytest
import torch
from bundle_configs import declared_configs
from monai.bundle import ConfigWorkflow, create_workflow

from pipeline.bundle.running import running_bundle
from pipeline.bundle.start import check_output_dir, check_processes, load_pretrained, load_trained
from pipeline.errors import InputError
from pipeline.networks.weights import pack_weights

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")

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


def test_an_overlay_with_an_id_that_nothing_reads_is_refused(tiny, tmp_path):
    overlay = tmp_path / "mine.json"
    overlay.write_text('{"epohcs": 1, "rests": 2}')  # rests is the bundle's own
    with pytest.raises(RuntimeError) as error:
        workflow([tiny, str(overlay)])
    assert input_error(error.value).startswith(f"{overlay}: epohcs 1: ")
    assert "mean epochs?" in input_error(error.value)
    overlay.write_text('{"epohcs": 1, "bundle_folder": "/b"}')  # the record of a training
    workflow([tiny, str(overlay)])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"epohcs": 1}, ["--epohcs 1", "mean epochs?"]),
        ({"zzz": 1}, ["--zzz 1", "epochs", "lr"]),
        ({"rests": 1}, ["--rests 1"]),  # in the file, but it would change nothing
        ({"epochs": 1, "trainer#steps": 2}, ["--epochs 1"]),
        ({"lr": None}, ["--lr None", "'$None'"]),  # which MONAI would ignore
        ({"lr": "false"}, ["--lr False"]),  # fire makes a text of JSON's false
        ({"bundle_root": "a#b"}, ["--bundle_root a#b"]),
        ({"epochs": 0}, ["epochs is 0", "(--epochs)"]),
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


@pytest.mark.parametrize(
    "paths", declared_configs(), ids=lambda paths: "+".join(path.stem for path in paths)
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


def test_a_folder_with_files_of_an_earlier_run_is_refused(tmp_path):
    for name in ("notes.txt", "model.pt", "checkpoint.pt"):
        (tmp_path / name).touch()
    folder, everything = str(tmp_path), ["*.pt"]
    check_output_dir(str(tmp_path / "new"), everything)
    assert not (tmp_path / "new").exists()
    check_output_dir(folder, everything, resume=True)
    with pytest.raises(InputError, match=r"model\.pt.*--output_dir.*--resume True"):
        check_output_dir(folder, ["model.pt"])
    (tmp_path / "checkpoint.pt").unlink()  # a training from the start would overwrite the model
    with pytest.raises(InputError, match=r"model\.pt.*checkpoint\.pt.*--output_dir\."):
        check_output_dir(folder, everything, resume=True)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n")  # cut off in its first epoch
    check_output_dir(folder, everything, resume=True)
    with pytest.raises(InputError, match=r"model\.pt"):
        check_output_dir(folder, ["*.pth", "m*.pt"])
    with pytest.raises(InputError, match=r"notes\.txt/out.*--output_dir"):
        check_output_dir(str(tmp_path / "notes.txt/out"), everything)


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


def test_weights_are_loaded_or_refused_by_name(tmp_path):
    source = torch.nn.Linear(3, 2)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    (tmp_path / "cut.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    load_pretrained(source, "")
    for load, option in ((load_pretrained, "pretrained"), (load_trained, "ckpt_path")):
        target = torch.nn.Linear(3, 2)
        load(target, str(tmp_path / "model.pt"))
        assert torch.equal(target.weight, source.weight)
        other = torch.nn.Linear(5, 4)
        for network, name in [
            (other, "model"),
            (target, "gone"),
            (target, "cut"),
            (target, "list"),
        ]:
            with pytest.raises(InputError, match=rf"{option} .*{name}\.pt"):
                load(network, str(tmp_path / f"{name}.pt"))


def test_a_validation_has_the_fold_of_the_training(tmp_path):
    network = torch.nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text('{"fold": 2}')
    for section, fold in [("validation", 2), ("testing", 0), ("", None)]:
        load_trained(network, str(tmp_path / "model.pt"), section=section, fold=fold)
    with pytest.raises(InputError, match=r"fold is 0.*model\.pt"):
        load_trained(network, str(tmp_path / "model.pt"), section="validation", fold=0)
    (tmp_path / "config.json").write_text('{"fold": "all"}')  # which has validated nothing
    for section in ("training", "testing"):
        load_trained(network, str(tmp_path / "model.pt"), section=section, fold=0)
    for fold in (0, "all"):
        with pytest.raises(InputError, match=r"model\.pt.*--section testing"):
            load_trained(network, str(tmp_path / "model.pt"), section="validation", fold=fold)


def test_weights_that_do_not_say_their_settings_need_a_word(tmp_path, caplog):
    """By an option, also of the bundle's own value, or by an overlay that changes one."""
    config = {
        **{"width": 2, "other": 1, "section": "", "ckpt_path": "model.pt"},
        "network_def": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": "@width"},
        "initialize": [
            {
                "_target_": "pipeline.bundle.load_trained",
                **{"network": "@network_def", "ckpt_path": "@ckpt_path", "section": "@section"},
            }
        ],
        "run": ["$@other"],
    }
    for name, content in {"inference": config, "wide": {"width": 4}, "same": {"other": 2}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    shutil.copy(tmp_path / "inference.json", tmp_path / "train.json")
    files = {
        name: str(tmp_path / f"{name}.json") for name in ("inference", "train", "wide", "same")
    }
    torch.save(torch.nn.Linear(3, 2).state_dict(), "model.pt")
    for first, section in (("inference", ""), ("train", "testing")):
        for others in ([], [files["same"]]):
            with pytest.raises(RuntimeError) as error:
                workflow([files[first], *others], section=section)
            assert "ckpt_path model.pt: " in input_error(error.value)
            assert "--width 2" in input_error(error.value)
        workflow(files[first], section=section, width=2)
    torch.save(torch.nn.Linear(3, 4).state_dict(), "model.pt")
    workflow([files["inference"], files["wide"]])
    torch.save(pack_weights(torch.nn.Linear(3, 2).state_dict(), {"width": 2}), "model.pt")
    workflow(files["inference"])
    with pytest.raises(RuntimeError) as error:
        workflow(files["inference"], width=3)
    assert "width is 3" in input_error(error.value)
    # A training may start from any weights, with a warning.
    torch.save(torch.nn.Linear(3, 2).state_dict(), "model.pt")
    caplog.set_level(logging.WARNING)
    load_pretrained(torch.nn.Linear(3, 2), "model.pt")
    assert "model.pt" in caplog.text
