"""From a training to an archive that runs where this project is not."""

import hashlib
import json
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
import yaml
from commands import refusal
from forked import run_module
from PIL import Image
from small_cases import EYE, PANCREAS, training

from pipeline.bundle.configs import Config
from pipeline.bundle.quality import Calibration
from pipeline.bundle.trained import read_config
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.networks.weights import read_weights
from pipeline.packaging.archive import MANIFEST, digest_bytes, read_archive, write_archive
from pipeline.packaging.build import package, package_files, save_weights
from pipeline.packaging.check import check_files, check_package, verify_archive
from pipeline.packaging.code import rename_project
from pipeline.packaging.configs import as_fine_tuning, hide_image_path, make_training_config
from pipeline.packaging.fresh import WithoutProject
from pipeline.packaging.source import open_trained

from .conftest import BUNDLE, run_code

NAME = BUNDLE.name
# As where neither the project nor MLflow is installed.
ALONE = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        hidden = name.split(".")[0] in ("pipeline", "mlflow")
        return None if hidden else self.finder.find_spec(name, *rest)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def test_the_archive_tells_what_was_measured_and_holds_the_weights(archive, trained):
    name, files = read_archive(archive)
    assert name == NAME
    metadata = json.loads(files["configs/metadata.json"])
    summary = json.loads((trained.work / "run/evaluation-testing/summary.json").read_text())
    for metric, values in summary["metrics"].items():
        if values["mean"] is not None:
            assert metadata["eval_metrics"][f"testing/{metric}"] == values["mean"]
            assert f"| {metric} | {values['mean']:.4g} |" in files["docs/README.md"].decode()
    assert metadata["training"] == {"mlflow_run": trained.run_id}
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert output["channel_def"] == {"0": "background", "1": "disc_rim", "2": "optic_cup"}
    assert (output["num_channels"], output["spatial_shape"]) == (2, [64, 64])
    (trained.work / "weights.pt").write_bytes(files["models/model.pt"])
    (packaged, kept), (given, all_) = (
        read_weights(trained.work / path, option="checkpoint", fix="")
        for path in ("weights.pt", "run/model.pt")
    )
    assert packaged.keys() == given.keys()
    assert all(torch.equal(packaged[key], given[key]) for key in given)
    assert kept.items() <= all_.items()
    assert all_.keys() - kept.keys() == {"bundle_folder"}  # a path of this machine
    card = files["docs/README.md"].decode()
    data = json.loads((trained.work / "data/datalist.json").read_text())
    assert "The repository contains no trained weights" not in card
    for part in ("trained on", "measured on, section testing"):
        (row,) = re.findall(rf"(?m)^\| {part} \| .*$", card)
        assert all(data[name] in row for name in ("name", "subjects", "licence"))
    assert "8 cases for training; 2 cases for validation" in card
    assert "| fold held out | 0 |" in card
    assert "| pretrained | no |" in card
    assert re.search(r"\| hd95/optic_disc \| [\d.]+ \| .* \| px \| 2 \|", card)
    assert metadata["eval_metric_units"]["testing/hd95/optic_cup"] == "px"
    assert metadata["trained_on"] == kept["trained_on"]


def test_the_same_input_gives_the_same_bytes(archive, trained, tmp_path):
    with open_trained(str(trained.work / "run")) as source:
        files, _ = package_files(BUNDLE, NAME, source)
    write_archive(tmp_path / "again.zip", NAME, files)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_what_monai_label_demands_is_in_the_files(archive):
    _, files = read_archive(archive)
    inference, train = (json.loads(files[f"configs/{n}.json"]) for n in ("inference", "train"))
    # One model; a picture without an axis of channels, as PNG; handlers that can be added to.
    assert [name for name in files if re.match(r"models/.*", name)] == ["models/model.pt"]
    targets = [step["_target_"] for step in inference["postprocessing"]["transforms"]]
    assert targets[-2:] == ["SaveImaged", "SqueezeDimd"]
    assert inference["displayable_configs"] == {"result_extension": ".png"}
    assert all(isinstance(each, dict) for each in train["train"]["handlers"])
    # What it looks for on a machine with several GPUs, or else does not train and says nothing.
    assert "configs/multi_gpu_train.json" in files
    assert {name.split("/")[0] for name in files if name.endswith(".py")} == {"scripts"}


def test_a_package_retrains_by_the_overlay_that_fine_tunes(tmp_path):
    configs = BUNDLE / "configs"
    plain, tuned = Config.read(configs / "train.json"), configs / "fine_tune.json"
    expected = Config.read(configs / "train.json", tuned).content
    for before in (plain, Config(expected)):  # a second time changes nothing
        made = make_training_config(as_fine_tuning(before, BUNDLE), "eyes")
        for name in ("lr", "optimizer", "ema"):
            assert made[name] == rename_project(expected[name])
    assert as_fine_tuning(plain, tmp_path).get("lr") == pytest.approx(plain.get("lr") / 10)


@pytest.mark.slow
def test_verify_repeats_the_checks_and_sees_what_was_changed(archive, tmp_path, capsys):
    done = run_module("pipeline", "package", "verify", archive, cwd=tmp_path)
    assert "the repository's mask" in done.stdout
    assert "equal to the repository's" in done.stdout
    name, files = read_archive(archive)
    files.pop(MANIFEST)
    files["configs/metadata.json"] = files["configs/metadata.json"].replace(b"Fundus", b"Fondue")
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as zipped:
        for path, content in {**files, MANIFEST: read_archive(archive)[1][MANIFEST]}.items():
            zipped.writestr(f"{name}/{path}", content)
    line = refusal(capsys, "package", "verify", tmp_path / "changed.zip")
    assert "configs/metadata.json" in line


@pytest.mark.slow
def test_code_that_is_missing_is_found(archive):
    name, files = read_archive(archive)
    del files["scripts/networks/padding.py"]
    with pytest.raises(InputError, match=r"No module named 'scripts\.networks\.padding'"):
        check_package(files, name)


def test_weights_of_another_network_are_found(archive):
    name, files = read_archive(archive)
    for weights in (b"PK broken", save_weights({"weight": torch.zeros(1)}, {})):
        with pytest.raises(InputError, match=r"models/model\.pt"):
            check_package({**files, "models/model.pt": weights}, name)


@pytest.mark.parametrize(
    ("path", "old", "new", "reason"),
    [
        ("configs/train.json", b'"pretrained": "', b'"pretrained": "/home/me/', "/home/me/"),
        ("docs/README.md", b"## Performance", b"## Praise", "README.md .*Performance"),
        ("configs/metadata.json", b'"version": "0', b'"version": "v0', "version 'v0"),
        ("configs/metadata.json", b'"image": {', b'"picture": {', "`image`.*picture"),
        ("configs/train.json", b'"data": {', b'"cases": {', "train#dataset#data"),
        ("LICENSE", None, None, "LICENSE"),
    ],
)
def test_each_fault_in_the_files_is_named(archive, path, old, new, reason):
    name, files = read_archive(archive)
    content = files.pop(path)
    if old is not None:
        assert old in content
        files[path] = content.replace(old, new)
    with pytest.raises(InputError, match=reason):
        check_files(files, name)


def test_a_second_model_file_would_be_served_by_chance(archive):
    name, files = read_archive(archive)
    with pytest.raises(InputError, match=r"models/a\.pt"):
        check_files({**files, "models/a.pt": b""}, name)


@pytest.mark.parametrize("content", [b"", b"[1", b"[]", b"{}", b"3", b"\xff"])
@pytest.mark.parametrize("file", ["metadata", "train", "inference"])
def test_configs_of_another_hand_are_refused_in_a_line(archive, file, content):
    name, files = read_archive(archive)
    with pytest.raises(InputError) as error:
        check_files({**files, f"configs/{file}.json": content}, name)
    assert "\n" not in str(error.value)


def test_what_is_too_large_for_the_model_zoo_is_said(archive):
    name, files = read_archive(archive)
    assert "--weights-url" not in dict(check_files(files, name))["model zoo"]
    large = {**files, "models/model.pt": bytes(25 * 10**6 + 1)}
    said = dict(check_files(large, name))["model zoo"]
    assert "models/model.pt" in said
    assert "--weights-url" in said


@pytest.mark.slow
def test_it_segments_and_retrains_where_neither_the_project_nor_mlflow_is(
    unpacked, trained, tmp_path
):
    """By the calls and overrides of MONAI Label's training task."""
    data, root = trained.work / "data", str(unpacked)
    cases = [
        {part: str(data / f"{part}s/phantom_{i:04}.png") for part in ("image", "label")}
        for i in range(4)
    ]
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": f"{root}/models/model.pt",
        "load_dict": {"model": "$@network"},
        "strict": False,
    }
    train = json.loads((unpacked / "configs/train.json").read_text())
    calls = {
        "inference": {"dataset_dir": str(data / "images"), "output_dir": "out"},
        "train": {
            "train#trainer#max_epochs": 3,
            "train#dataset#data": cases[:3],
            "train#handlers": [loader, *train["train"]["handlers"]],
            "validate#dataset#data": cases[3:],
        },
    }
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    before = (unpacked / "models/model.pt").read_bytes()
    code = (
        f"{ALONE}\nimport json\nroot = {root!r}\nsys.path.insert(0, root)\n"
        "from monai.bundle import run\n"
        "for name, ids in json.load(open('calls.json')).items():\n"
        "    run(run_id='run', init_id=None, final_id=None, bundle_root=root, device='cpu',\n"
        "        meta_file=root + '/configs/metadata.json',\n"
        "        config_file=f'{root}/configs/{name}.json', **ids)\n"
        "from monai.bundle import load\n"
        f"network = load({NAME!r}, bundle_dir={str(unpacked.parent)!r})\n"
        "import torch\n"
        "state = torch.load(root + '/models/model.pt', weights_only=True)\n"
        "same = all(torch.equal(state[n], each) for n, each in network.state_dict().items())\n"
        "print('loaded', type(network).__module__, same)\n"
    )
    said = run_code(code, cwd=tmp_path)
    assert "loaded scripts.networks.attention_unet True" in said
    size = Image.open(cases[0]["image"]).size[::-1]
    mask = np.asarray(Image.open(tmp_path / "out/phantom_0000_seg.png"))
    assert (mask.dtype, mask.shape) == (np.uint8, size)
    first = float(re.search(r"models/model\.pt \D*(\d\.\d+)", said)[1])
    best = float(re.findall(r"best (\S+)", said)[-1])
    # The server has new weights if, and only if, they are better.
    assert ((unpacked / "models/model.pt").read_bytes() != before) == (best > first)
    assert [path.name for path in (unpacked / "models").iterdir()] == ["model.pt"]
    config = read_config(unpacked / "models/model.pt")
    assert config["strides"] == [2, 2]
    assert [each["training"] for each in config["trained_on"]] == [3, 8][-1 - (best > first) :]
    assert not list(tmp_path.glob("**/mlflow.db"))


@pytest.mark.slow
def test_two_versions_beside_each_other_run_their_own_code(unpacked, tmp_path):
    """As in one server, which unloads the package ``scripts`` and nothing else between them."""
    other = shutil.copytree(unpacked, tmp_path / "model" / "fundus_other_segmentation")
    regions = other / "scripts/transforms/regions.py"
    text = regions.read_text()
    assert text.count("(masks[n], value)") == 1
    regions.write_text(text.replace("(masks[n], value)", "(masks[n], value + 100)"))
    code = ALONE + (
        "import json, torch\nfrom monai.bundle import ConfigParser\n"
        "def post(root):\n"
        "    sys.path.insert(0, root)\n"
        "    for name in [n for n in sys.modules if n.split('.')[0] == 'scripts']:\n"
        "        del sys.modules[name]\n"
        "    config = json.load(open(root + '/configs/inference.json'))\n"
        "    steps = ConfigParser(config).get_parsed_content('postprocessing').transforms\n"
        "    sys.path.remove(root)\n"
        "    return next(s for s in steps if type(s).__name__ == 'RegionsToLabeld')\n"
        f"roots = {[str(unpacked), str(other)] * 2}\n"
        "steps = [post(root) for root in roots]\n"
        "print([int(s({'pred': torch.ones(2, 1, 1)})['pred']) for s in steps])\n"
    )
    assert run_code(code, cwd=tmp_path).strip() == "[2, 102, 2, 102]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "nowhere.pt"}, "nowhere.pt"),
        ({"checkpoint": f"runs:/{'0' * 32}"}, f"runs:/{'0' * 32}"),
        ({"checkpoint": "models:/nobody@champion"}, "models:/nobody@champion"),
        ({"checkpoint": "other.pt"}, "other.pt"),
        ({"checkpoint": "text.pt"}, "text.pt"),
        ({"checkpoint": "bare.pt"}, "--set strides=[2,2,2,2]"),
        ({"checkpoint": "bare.pt", "set": "strides=[2,2,2]"}, "channels"),
        ({"checkpoint": "bare.pt", "set": "lr"}, "--set lr"),
        ({"checkpoint": "bare.pt", "set": "device=cpu"}, "--set device"),
        ({"checkpoint": "bare.pt", "config": "nets.json"}, "nets.json"),
        ({"bundle": "nosuch"}, "bundle nosuch"),
        ({"bundle": "no_such_detection"}, "bundle no_such_detection"),
        ({"name": "lung_nodule_detection"}, "'detection'"),
        ({"name": "Fundus"}, "'Fundus'"),
        ({"version": "0.2.0"}, "--change"),
        ({"output": "fundus.tar"}, ".zip"),
        ({"output": "there.zip"}, "--overwrite"),
    ],
    ids=str,
)
def test_what_the_user_can_put_right_is_one_line(
    trained, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"weight": torch.zeros(1)}, "config": '{"gates": 1}'}, "other.pt")
    torch.save({"weight": torch.zeros(1)}, "bare.pt")
    for name in ("text.pt", "there.zip"):
        (tmp_path / name).write_text("text")
    given = {"checkpoint": trained.work / "run/model.pt", "output": "new.zip"} | options
    bundle = given.pop("bundle", BUNDLE)
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    line = refusal(capsys, "package", bundle, *words, "--tracking-uri", trained.store)
    assert message in line
    assert not (tmp_path / "new.zip").exists()
    assert (tmp_path / "there.zip").read_text() == "text"


@pytest.mark.slow
def test_large_weights_stay_beside_the_archive_for_the_model_zoo(trained, tmp_path):
    package(
        BUNDLE,
        tmp_path / "zoo.zip",
        checkpoint=str(trained.work / "run"),
        version="0.2.0",
        change="smaller",
        weights_url="https://example.org/model.pt",
    )
    _, files = read_archive(tmp_path / "zoo.zip")
    assert "models/model.pt" not in files
    (entry,) = yaml.safe_load(files["large_files.yml"])["large_files"]
    weights = (tmp_path / "zoo_model.pt").read_bytes()
    assert entry == {
        "path": "models/model.pt",
        "url": "https://example.org/model.pt",
        "hash_val": hashlib.sha256(weights).hexdigest(),
        "hash_type": "sha256",
    }
    assert "large_files.yml" in dict(verify_archive(tmp_path / "zoo.zip"))["weights"]
    metadata = json.loads(files["configs/metadata.json"])
    assert (metadata["version"], metadata["changelog"]["0.2.0"]) == ("0.2.0", "smaller")


@pytest.mark.slow
def test_overlays_stand_for_the_config_that_a_training_did_not_leave(tmp_path):
    """A volume, two regions and MONAI's own network in one go."""
    pancreas = BUNDLE.with_name("pancreas_ct_segmentation")
    names = ["demo.json", "tumour.json", "networks/monai_attention_unet.json"]
    overlays = [pancreas / "configs" / name for name in names]
    config = Config.read(pancreas / "configs/train.json", *overlays)
    torch.save(config.built("network_def").state_dict(), tmp_path / "model.pt")
    given = [word for name in names for word in ("--config", name)]
    given += ["--set", "strides=[2,2,2,2]"]
    given += ["--checkpoint", tmp_path / "model.pt", "--output", tmp_path / "ct.zip"]
    run_module("pipeline", "package", pancreas, *given, cwd=tmp_path)
    _, files = read_archive(tmp_path / "ct.zip")
    (tmp_path / "packaged.pt").write_bytes(files["models/model.pt"])
    said = read_config(tmp_path / "packaged.pt")  # what the user said, and no defaults
    assert said["network_def"]["_target_"] == "AttentionUnet"
    assert (said["spacing"], said["strides"]) == ([3.0, 3.0, 3.0], [2, 2, 2, 2])
    assert not said.keys() & {"hu_window", "flip", "experiment_name"}
    card = files["docs/README.md"].decode()
    assert "| `strides` | `[2, 2, 2, 2]` |" in card
    for name in ("`hu_window`", "`flip`", "fold held out", "pretrained"):
        assert f"| {name} | not recorded |" in card
    metadata = json.loads(files["configs/metadata.json"])
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert output["channel_def"] == {"0": "background", "1": "pancreas", "2": "tumour"}


MR = {
    "modality": "MR",
    "channel_names": ["T1", "T2"],
    "regions": {"kidney": [7], "liver": [3]},
    **{"hu_window": None, "percentiles": [0.5, 99.5], "foreground_above": -1e9},
    **{"spacing": [6.0, 6.0, 6.0], "roi_size": [16, 16, 16], "patch_size": [16, 16, 16]},
}
CELLS = {
    "modality": "microscopy",
    "channel_names": ["DAPI", "GFP"],
    "regions": {"cell": [1, 9], "nucleus": [9]},
    **{"vertical_cdr": [], "roi_size": [32, 32], "patch_size": [32, 32]},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bundle", "ids", "chosen", "labels", "served"),
    [
        (
            PANCREAS,
            MR,
            {"threshold": 0.45, "components": {"liver": 2}},
            {"3": "liver", "7": "kidney"},
            "4D NIfTI of 2 channels",
        ),
        (EYE, CELLS, {}, {"1": "cell", "9": "nucleus"}, "cannot be served"),
    ],
    ids=["MR", "cells"],
)
def test_any_labels_and_channels_are_in_all_of_its_files(
    bundle, ids, chosen, labels, served, tmp_path
):
    dimensions = len(ids["roi_size"])
    run = training(tmp_path / "run", dimensions=dimensions, channels=2, **ids)
    if chosen:
        (run / "postprocessing.json").write_text(json.dumps(chosen))
        names = [f"{key}/{n}" for key in ("dice", "agreement", "elsewhere", "recall", "precision")
                 for n in ids["regions"]]  # fmt: skip
        rows = [dict.fromkeys([*names, "image_sharpness"], 0.9)] * 6
        calibration = Calibration(rows, list(ids["regions"]))
        content = calibration.content(sha256(run / "model.pt"))
        (run / "model_quality.json").write_text(json.dumps(content))
    results = package(bundle, tmp_path / "own.zip", checkpoint=str(run), exports=["torchscript"])
    assert served in dict(results)["MONAI Label"]
    assert dict(results)["labels"] == ", ".join(f"{v} {name}" for v, name in labels.items())
    _, files = read_archive(tmp_path / "own.zip")
    metadata, inference = (
        json.loads(files[f"configs/{each}.json"]) for each in ("metadata", "inference")
    )
    # Without a choice, the bundle's own numbers of parts are for regions that are not here.
    assert inference.items() >= ({"threshold": 0.5, "components": {}} | chosen).items()
    image, pred = (metadata["network_data_format"][k] for k in ("inputs", "outputs"))
    image, pred = image["image"], pred["pred"]
    assert (image["modality"], image["format"]) == (ids["modality"], "magnitude")
    assert list(image["channel_def"].values()) == ids["channel_names"]
    assert pred["channel_def"] == {"0": "background", **labels}
    assert (image["num_channels"], pred["num_channels"]) == (2, 2)
    card, page = (files[f"{each}/README.md"].decode() for each in ("docs", "exports"))
    for text in (card, page):
        assert ("above 0.45" in text) == bool(chosen)
        assert ("kidney, liver) only the likeliest counts" in text) == (bundle == PANCREAS)
    assert "| 0 | kidney | 7 |" in card or "| 0 | cell | 1, 9 |" in card
    assert ("An evaluation of these weights chose" in card) == bool(chosen)
    assert "scripts/bundle/quality.py" in files
    assert ("models/model_quality.json" in files) == bool(chosen)
    if chosen:
        kept = json.loads(files["models/model_quality.json"])
        assert kept["checkpoint_sha256"] == digest_bytes(files["models/model.pt"])
        assert (len(kept["cases"]), "calibrated on 6 validation cases" in card) == (6, True)


def test_the_hook_hides_the_project_alone():
    hook = WithoutProject()
    assert hook.find_spec("monai.bundle") is None
    for name in ("pipeline", "pipeline.networks"):
        with pytest.raises(ModuleNotFoundError):
            hook.find_spec(name)


def test_a_volume_is_resampled_with_a_path_at_image_path():
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    untouched = [{"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0]}]
    item = {"image": MetaTensor(torch.rand(1, 8, 8, 8), meta={"filename_or_obj": "ct.nii.gz"})}

    def resample(steps, item):
        for step in ConfigParser({"steps": steps}).get_parsed_content("steps"):
            item = step(item)
        return item

    with_path = {**item, "image_path": "ct.nii.gz"}
    with pytest.raises(AttributeError):  # otherwise the trick is no longer needed
        resample(untouched, with_path)
    steps = hide_image_path(untouched)
    for given in (item, with_path):
        out = resample(steps, given)
        assert out.keys() == given.keys()
        assert torch.equal(out["image"], resample(untouched, item)["image"])
    assert out["image_path"] == "ct.nii.gz"
