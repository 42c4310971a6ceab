"""Several checkpoints, and flips, are one model for every command."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_cases import EYE, photograph, predict, report, training

from pipeline.bundle.predictor import Predictor
from pipeline.errors import InputError
from pipeline.prediction.bundle import read_model


@pytest.fixture(scope="session")
def members(eye, tmp_path_factory):
    """Two networks that differ in their weights and their fold."""
    folder = tmp_path_factory.mktemp("members") / "other"
    training(folder, dimensions=2, roi_size=[32, 32], fold=1)
    content = torch.load(folder / "model.pt", weights_only=True)
    generator = torch.Generator().manual_seed(5)
    for tensor in content.values():
        if tensor.is_floating_point():
            tensor += 0.2 * torch.rand(tensor.shape, generator=generator) * tensor.abs()
    torch.save(content, folder / "model.pt")
    return [eye, folder]


def options(checkpoints):
    return [word for each in checkpoints for word in ("--checkpoint", each)]


def mean_mask(members, image, **ids):
    """The mask of the mean of the members' probabilities, by two runs of single networks."""
    predictors = [
        Predictor(model.config | ids, model.weights)
        for model in (read_model(EYE, checkpoint=[each]) for each in members)
    ]
    item = predictors[0].preprocessing({"image": str(image)})
    with torch.no_grad():
        each = [p.network(item["image"][None].as_tensor())[0].double() for p in predictors]
        mean = torch.stack(each).sigmoid().mean(0)
        item["pred"] = type(item["image"])(torch.logit(mean).float())
    return np.asarray(predictors[0].postprocessing(item)["pred"])[0].T


def test_two_checkpoints_are_the_mean_of_their_probabilities(members, tmp_path):
    image = photograph(tmp_path / "1.png")
    run = ("--bundle", EYE, "--set", "amp=False")
    predict(image, *run, *options(members), "--output", tmp_path / "both")
    mask = np.asarray(Image.open(tmp_path / "both/1_seg.png"))
    assert np.array_equal(mask, mean_mask(members, image, amp=False))
    for n, each in enumerate(members):
        predict(image, *run, "--checkpoint", each, "--output", tmp_path / str(n))
        assert not np.array_equal(mask, np.asarray(Image.open(tmp_path / f"{n}/1_seg.png")))
    said = report(tmp_path / "both")["checkpoint"]
    assert said["path"] == [str(each / "model.pt") for each in members]
    again, turned = (read_model(EYE, checkpoint=each) for each in (members, members[::-1]))
    assert again.about["checkpoint"]["sha256"] == said["sha256"]
    assert turned.digest != again.digest


def write_record(folder, **ids):
    """Give a checkpoint the whole config of a training."""
    whole = json.loads((EYE / "configs/train.json").read_text())
    small = {"channels": [4, 8], "strides": [2], "roi_size": [32, 32], "device": "cpu"}
    (folder / "config.json").write_text(json.dumps(whole | small | ids))
    return folder


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        ({"roi_size": [64, 64]}, r"roi_size is \[64, 64\]"),
        ({"percentiles": [1, 99]}, r"percentiles is \[1, 99\]"),
        ({"regions": {"optic_disc": [2], "optic_cup": [1]}}, "regions#optic_cup is"),
        ({"regions": {"optic_cup": [2], "optic_disc": [1, 2]}}, "regions is"),
        ({"channel_names": ["blue", "green", "red"]}, "channel_names is"),
        ({"strides": [4]}, r"strides is \[4\]"),
        ({"modality": "OP"}, "modality is 'OP'|modality is OP"),
    ],
)
def test_members_of_different_models_are_refused(members, tmp_path, ids, named):
    one, other = (shutil.copytree(each, tmp_path / each.name) for each in members)
    write_record(one, seed=0)
    write_record(other, seed=1, lr=0.1, epochs=3)
    assert read_model(EYE, checkpoint=[one, other]).config["network_def"]["members"] == 2
    write_record(other, **ids)
    with pytest.raises(InputError, match=f"other/model.pt: its {named}"):
        read_model(EYE, checkpoint=[one, other])


def test_what_cannot_be_a_member_is_refused(members, tmp_path):
    shutil.copytree(members[0], tmp_path / "bare")
    (tmp_path / "bare/config.json").unlink()
    for checkpoint, named in (
        ([members[0], members[0]], "given twice"),
        ([members[0], tmp_path / "no"], "checkpoint .*no"),
        ([members[0], tmp_path / "bare"], "bare/model.pt: it lacks the settings"),
        ([], "neither --checkpoint nor --bundle is given"),
    ):
        with pytest.raises(InputError, match=named):
            read_model(EYE if checkpoint else None, checkpoint=checkpoint)


def test_the_folder_of_a_plan_is_the_ensemble_of_its_trainings(members, tmp_path):
    plan = {"name": "p", "bundle": str(EYE), "networks": {"a": {}}, "folds": [0, 1]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for n, each in enumerate(members):
        target = tmp_path / f"a-fold{n}-seed0/training"
        shutil.copytree(each, target)
        if n == 0:
            with pytest.raises(InputError, match="a-fold0-seed0/training"):
                read_model(EYE, checkpoint=tmp_path)
        (target / "model.pt").rename(target / "model_final.pt")
    found, same = (read_model(EYE, checkpoint=each) for each in (tmp_path, members))
    assert found.digest == same.digest
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"variants": {"x": {}, "y": {}}}))
    with pytest.raises(InputError, match="several networks, a-x, a-y"):
        read_model(EYE, checkpoint=tmp_path)
