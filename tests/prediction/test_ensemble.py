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
