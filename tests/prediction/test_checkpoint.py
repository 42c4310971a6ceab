"""What a checkpoint says of itself is believed where it is data, and never run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from commands import refusal
from small_cases import EYE, PANCREAS, photograph, predict, report

from pipeline.bundle.configs import Config
from pipeline.bundle.predictor import Predictor
from pipeline.errors import InputError
from pipeline.networks.weights import pack_weights
from pipeline.packaging.build import package
from pipeline.prediction.bundle import read_model

CODE = "$open('marker', 'w')"
CALL = {"_target_": "builtins.open", "file": "marker", "mode": "w"}
TRAIN = Config.read(EYE / "configs/train.json")
NETWORK, PREPROCESSING = TRAIN.get("network_def"), TRAIN.get("preprocessing")
FIRST, *REST = PREPROCESSING["transforms"]


def steps(*changed) -> dict:
    return {**PREPROCESSING, "transforms": list(changed)}


REFUSED = [
    {"strides": CODE},
    {"strides": [[CODE]]},
    {"strides": "%evil.json::code"},
    {"strides": "@code", "code": CODE},
    {"strides": "$import evil"},
    {"modality": "$import evil"},  # MONAI runs an import wherever it stands
    {"channels": CALL},
    {"regions": {"optic_disc": [CODE]}},
    {"regions": {CODE: [1]}},
    {"threshold": CODE},
    {"network_def": CALL},
    {"network_def": "%evil.json::network_def"},
    {"network_def": "@other", "other": CALL},
    {"network_def": {**NETWORK, "gates": CODE}},
    {"network_def": {**NETWORK, "gates": CALL}},
    {"network_def": {**NETWORK, "gates": "$@code"}, "code": CALL},
    {"network_def": {**NETWORK, "_requires_": [CODE]}},
    {"network_def": {**NETWORK, "_mode_": "debug"}},
    {"network_def": {**NETWORK, "_desc_": CODE}},
    {"network_def": {**NETWORK, "_disabled_": True}},
    {"network_def": {**NETWORK, "_target_": "pipeline.networks.Padded"}},
    {"network_def": {**NETWORK, "gates::0": 1}},
    {"preprocessing": steps(CALL, FIRST, *REST)},
    {"preprocessing": steps({**FIRST, "reader": "evil.Reader"}, *REST)},  # MONAI imports this
    {"preprocessing": steps({**FIRST, "_target_": "image"}, *REST)},  # a word of another key
    {"preprocessing": steps(FIRST, {"_target_": "Lambdad", "keys": "image", "func": CODE})},
    {"postprocessing": {"_target_": "Compose", "transforms": [CALL]}},
    {"inferer": CALL},
    {"evaluator": CALL},
]
MALFORMED = [
    *({name: value} for name in ("network_def", "regions", "preprocessing") for value in (None, 5)),
    {"network_def": {}},
    {"preprocessing": {**PREPROCESSING, "transforms": 5}},
    {"postprocessing": {"_target_": "Compose", "transforms": 5}},
    {"channel_names": None},
    {"roi_size": "x"},
    {"channels": "x"},
    {"regions": ["optic_disc"]},
]
UNREAD = [  # the bundle has its own
    {"imports": ["$import evil"], "initialize": [CODE], "run": [CODE], "network": CODE},
    {"device": CODE, "bundle_root": CODE, "output_dir": CODE, "tags": CALL},
    {"network_def#_target_": "os.system", "+imports": ["$import evil"], "_meta_": {"a": CODE}},
    {"network_def": {**NETWORK, "_desc_": "in other words"}},
    {"percentiles": [1, 99]},
]


@pytest.fixture
def place(eye, tmp_path, monkeypatch):
    """A function that leaves a checkpoint with changed settings in ``run``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil.py", "image.py"):
        Path(name).write_text("open('marker', 'w')\nclass Reader: pass\n")
    Path("evil.json").write_text(json.dumps({"code": CODE, "network_def": CALL}))
    state = torch.load(eye / "model.pt", weights_only=True)
    base = json.loads((eye / "config.json").read_text())

    def place(change: dict, *, inside: bool = True) -> Path:
        Path("run").mkdir(exist_ok=True)
        config = {**base, **change}
        torch.save(pack_weights(state, config if inside else {}), "run/model.pt")
        Path("run/config.json").write_text(json.dumps({} if inside else config))
        return Path("run")

    return place


def package_it(run: Path, bundle: Path = EYE) -> None:
    package(bundle, Path("a.zip"), checkpoint=str(run))


def predict_with(run: Path) -> None:
    read_model(EYE, checkpoint=run)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("change", [*REFUSED, *MALFORMED], ids=lambda each: json.dumps(each)[:60])
def test_a_checkpoint_cannot_bring_code(place, change, inside):
    run = place(change, inside=inside)
    # What train.json does not have is not taken into a package.
    for use in (
        (predict_with, package_it) if change.keys() & TRAIN.content.keys() else [predict_with]
    ):
        with pytest.raises(InputError) as error:
            use(run)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600
        assert not Path("marker").exists()
        if change in REFUSED[:3]:
            words = (f"{run / 'model.pt'}: ", next(iter(change)), "--config")
            assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("change", UNREAD, ids=lambda each: json.dumps(each)[:40])
def test_what_the_bundle_does_not_take_from_a_training_does_not_matter(place, change):
    model = read_model(EYE, checkpoint=place(change), overrides=["device=cpu"])
    Predictor(model.config, model.weights)
    assert not Path("marker").exists()
    assert model.config.get("percentiles") == change.get("percentiles", [0, 99.9])


def test_code_that_the_user_gives_by_an_overlay_is_the_users(place):
    """As of a network outside of this project."""
    own = {"network_def": {**NETWORK, "_target_": "torch.nn.Identity"}}
    run = place(own)
    Path("own.json").write_text(json.dumps(own))
    Path("whole.json").write_text(json.dumps({**TRAIN.content, **own, "run": [CODE]}))
    with pytest.raises(InputError, match=r"network_def .*'torch\.nn\.Identity'.*--config"):
        read_model(EYE, checkpoint=run)
    for overlay in ("own.json", "whole.json"):
        model = read_model(EYE, checkpoint=run, overlays=[overlay])
        assert model.config["network_def"] == own["network_def"]
        assert model.config["run"] == Config.read(EYE / "configs/inference.json").get("run")


def test_an_expression_in_the_postprocessing_that_was_chosen_is_refused(place):
    run = place({})
    for chosen in ({"threshold": CODE, "components": {}}, {"threshold": 0.5, "components": CALL}):
        (run / "postprocessing.json").write_text(json.dumps(chosen))
        with pytest.raises(InputError, match=r"postprocessing\.json"):
            read_model(EYE, checkpoint=run)
    assert not Path("marker").exists()


def test_only_a_bundle_of_the_user_is_taken_at_a_checkpoints_word(place):
    evil = shutil.copytree(EYE, "elsewhere/evil")
    for folder, taken in [
        (str(EYE), True),
        ("bundles/own", True),
        (str(Path(evil).resolve()), False),
        ("bundles/../elsewhere/evil", False),
        (["bundles/own"], False),
    ]:
        if folder == "bundles/own":
            shutil.copytree(EYE, folder)
        run = place({"bundle_folder": folder})
        if taken:
            assert read_model(checkpoint=run).about["bundle"]["path"] == str(Path(folder).resolve())
            continue
        with pytest.raises(InputError, match=r"model\.pt: .*--bundle"):
            read_model(checkpoint=run)


def test_a_file_that_does_not_say_its_settings_needs_a_word(eye, tmp_path, capsys):
    shutil.copy(eye / "model.pt", tmp_path)
    image = photograph(tmp_path / "1.png")
    options = [image, "--bundle", EYE, "--checkpoint", tmp_path / "model.pt"]
    more = ["--set", "roi_size=[32,32]", "--set", "device=cpu"]
    line = refusal(capsys, "predict", *options, *more, "--output", tmp_path / "none")
    assert "--set strides=" in line
    (tmp_path / "own.json").write_text('{"channels": [4, 8], "strides": [2]}')
    word = ["--set", "channels=[4,8]", "--set", "strides=[2]"]
    for name, said in (("set", word), ("config", ["--config", tmp_path / "own.json"])):
        predict(*options, *more, *said, "--output", tmp_path / name)
        assert report(tmp_path / name)["settings"]["training"] is None
    # Its own settings count more than a file that happens to lie beside it.
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    torch.save(pack_weights(state, {"channels": [4, 8], "strides": [2]}), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text('{"strides": [4], "roi_size": [64, 64]}')
    model = read_model(EYE, checkpoint=tmp_path)
    assert (model.config["strides"], model.config["roi_size"]) == ([2], [512, 512])


def test_a_2d_training_in_a_3d_bundle_is_named_first(place):
    run = place({"network_def": NETWORK, "preprocessing": PREPROCESSING})
    for use in (lambda: read_model(PANCREAS, checkpoint=run), lambda: package_it(run, PANCREAS)):
        with pytest.raises(InputError, match=r"2D .* 3D .*bundle"):
            use()


@pytest.mark.parametrize(
    ("content", "bundle", "words"),
    [
        ({"epoch": 1, "state": {}, "generators": []}, EYE, "resumed"),
        (None, PANCREAS, "2D"),
        (torch.nn.Linear(1, 1), EYE, "more than tensors"),
    ],
)
def test_another_file_is_refused_in_plain_words(eye, tmp_path, capsys, content, bundle, words):
    path = tmp_path / "checkpoint.pt"
    content = torch.load(eye / "model.pt", weights_only=True) if content is None else content
    torch.save(content, path)
    image = photograph(tmp_path / "1.png")
    word = ["--set", "channels=[4,8]", "--set", "strides=[2]", "--set", "deep_supervision=False"]
    options = ["--bundle", bundle, "--checkpoint", path, "--output", tmp_path / "o", *word]
    line = refusal(capsys, "predict", image, *options)
    assert line.startswith(f"error: checkpoint {path}: ")
    assert words in line
    assert "weights_only" not in line
    with pytest.raises(InputError, match=words):
        package(bundle, tmp_path / "a.zip", checkpoint=str(path), overrides=word[1::2])
