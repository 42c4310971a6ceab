"""A picture whose mask is doubtful is segmented at other scales too."""

import numpy as np
import pytest
from small_cases import EYE, photograph, training

from pipeline.bundle.predictor import Predictor
from pipeline.bundle.quality import Calibration
from pipeline.prediction.bundle import read_model

REGIONS = ["optic_disc", "optic_cup"]


def calibrate(features) -> Calibration:
    """Good masks of images that are much like one."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(8):
        row = {key: value * rng.uniform(0.99, 1.01) for key, value in features.items()}
        rows.append(
            row | {f"{key}/{n}": 0.95 for key in ("dice", "recall", "precision") for n in REGIONS}
        )
    return Calibration(rows, REGIONS)


def test_the_scale_is_that_of_the_mask_that_is_trusted_most(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.bundle.predictor._MARGIN", 0.0)  # masks of chance differ little
    run = training(tmp_path / "run", dimensions=2, roi_size=[32, 32])
    model = read_model(EYE, checkpoint=run, overrides=["scales=[2,4,0.5]", "device=cpu"])
    path = str(photograph(tmp_path / "1.png", size=(61, 40)))
    usual = Predictor(model.config, model.weights)
    assert usual.scales == [1.0]  # nothing would tell which one is better
    seen = []
    usual.network.register_forward_pre_hook(lambda _, given: seen.append(given[0][0, :, :, 0]))
    items = {scale: usual.prepare(path, scale=scale) for scale in (1.0, 2, 4, 0.5)}
    answers = {scale: usual._answer(item, scale, 32 * 32) for scale, item in items.items()}
    assert not seen[0].any()  # black above the usual size, the edge's colours above a smaller one
    assert all(each.any(dim=0)[8:-8].all() for each in seen[1:3])
    chosen = set()
    for answer in answers.values():
        assert answer.mask.shape == (40, 61)
        calibration = calibrate(answer.features)
        found = Predictor(model.config, model.weights, calibration=calibration).segment(path)
        doubtful = calibration.estimate(answers[1.0].features)["check"]
        trust = {scale: calibration.trust(each.features) for scale, each in answers.items()}
        assert found.scale == (max(trust, key=trust.get) if doubtful else 1.0)
        assert np.array_equal(found.mask, answers[found.scale].mask)
        chosen.add(found.scale)
    assert len(chosen) > 1
    masks = [answer.mask for answer in answers.values()]
    assert not any(np.array_equal(masks[0], other) for other in masks[1:])
    assert usual.segment(path).features == answers[1.0].features  # the sizes are as before


def test_a_picture_is_segmented_at_the_scales_that_are_chosen(tmp_path, monkeypatch):
    run = training(tmp_path / "run", dimensions=2, roi_size=[32, 32])
    model = read_model(EYE, checkpoint=run, overrides=["scales=[2,0.5]", "device=cpu"])
    path = str(photograph(tmp_path / "1.png", size=(61, 40)))
    features = Predictor(model.config, model.weights).segment(path).features
    assert {"image_corners", "image_field"} < features.keys()
    tried = []
    prepare = Predictor.prepare
    monkeypatch.setattr(
        Predictor, "prepare", lambda *args: tried.append(args[3:]) or prepare(*args)
    )
    calibration = calibrate(features)
    monkeypatch.setattr(
        calibration,
        "choose_scales",
        lambda found, scales: [scale for scale in scales if found == features and scale < 1],
    )
    Predictor(model.config, model.weights, calibration=calibration).segment(path)
    assert [each[0] for each in tried if each] == [0.5]


DOUBT = {"image_dark": 0.9}
TINY = {f"found/{name}": 1e-4 for name in REGIONS}


@pytest.mark.parametrize(
    ("change", "scales"),
    [
        ({}, []),
        (DOUBT, []),
        ({"image_corners": 0.0}, [2]),  # it may be a crop
        (DOUBT | {"image_corners": 0.0}, [2, 0.5]),
        ({"image_field": 0.5}, []),
        (DOUBT | {"image_field": 0.5}, [0.5]),
        (TINY, [0.5]),
        ({f"found/{REGIONS[0]}": 1e-4}, []),
    ],
)
def test_a_whole_field_with_a_known_size_keeps_its_scale(change, scales):
    usual = {"image_corners": 0.2, "image_field": 0.95, "image_dark": 0.1}
    for name in REGIONS:
        usual |= {f"agreement/{name}": 0.95, f"elsewhere/{name}": 0.1, f"found/{name}": 0.02}
    calibration, crops = calibrate(usual), calibrate(usual | {"image_corners": 0.0})
    assert calibration.choose_scales(usual | change, [2, 0.5]) == scales
    for doubt, any_scale in (({}, []), (DOUBT, [2, 0.5])):
        assert crops.choose_scales(usual | doubt, [2, 0.5]) == any_scale
