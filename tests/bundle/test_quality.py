"""Estimates of quality: a world in which the error follows from the disagreement."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import GaussianSmooth

from pipeline.bundle.quality import Calibration, quality_file, read_calibration
from pipeline.errors import InputError
from pipeline.evaluation.quality import QualityEstimates
from pipeline.files import sha256
from pipeline.transforms.quality import (
    QualityFeaturesd,
    calibration_error,
    measure_sharpness,
    quality_features,
)

IMAGE = {"image_mean/red": (0.4, 0.03), "image_sd/red": (0.2, 0.02), "image_dark": (0.1, 0.02)}


def draw(rng, count, *, spread=0.25, hard=0.0) -> list[dict]:
    """Cases of regions ``a`` and ``b``, whose errors are 0.7 and 2 times their disagreement."""
    rows = []
    for _ in range(count):
        row = {key: rng.normal(*each) for key, each in IMAGE.items()}
        for name, factor in {"a": 0.7, "b": 2.0}.items():
            disagreement = np.exp(rng.normal(-3.0 + hard, 0.5 + hard / 4))
            error = min(factor * disagreement * np.exp(rng.normal(0, spread)), 1.0)
            size = np.exp(rng.normal(0, error))
            row |= {f"agreement/{name}": max(1 - disagreement, 0.0), f"dice/{name}": 1 - error}
            row |= {f"recall/{name}": size / 2, f"precision/{name}": 0.5}
            row |= {f"elsewhere/{name}": 0.01, "image_sharpness": 1.2}
            row |= {f"found/{name}": np.exp(rng.normal(0, 0.2)), f"true/{name}": 10 / size}
        row["vertical_cdr/absolute_error"] = abs(rng.normal(0, 0.5 * (1 - row["dice/b"])))
        rows.append(row)
    return rows


def measured(row) -> dict:
    return {"area_px": {"a": 10.0, "b": 10.0}, "vertical_cdr": 0.5}


def test_agreement_is_the_mean_dice_of_all_pairs_of_masks():
    masks = torch.rand(4, 1, 9, 8, generator=torch.Generator().manual_seed(0)) > 0.4
    logits = torch.special.logit(masks.float().mean(0))
    pairs = list(itertools.product(masks, masks))
    shared = sum(float((one & other).sum()) for one, other in pairs)
    sizes = sum(float(one.sum() + other.sum()) / 2 for one, other in pairs)
    image = torch.linspace(0, 1, 72).reshape(1, 9, 8)
    found = quality_features(logits, image, ["a"], ["red"])
    assert found["agreement/a"] == pytest.approx(shared / sizes)
    assert found["found/a"] == pytest.approx(float(masks.float().mean()))
    assert found["image_dark"] == pytest.approx(2 / 72)
    # Of a picture, black pixels do not count: they surround its field.
    assert found["image_mean/red"] == pytest.approx(float(image[image >= 0.1].mean()))
    assert found["image_sd/red"] == pytest.approx(float(image[image >= 0.1].std()))
    volume = quality_features(logits[..., None], image[..., None], ["a"], ["red"])
    assert volume["image_mean/red"] == pytest.approx(0.5)
    assert (
        quality_features(torch.full_like(logits, -1e9), image, ["a"], ["red"])["agreement/a"] == 0
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_sharpness_falls_with_a_blur_only(dims):
    image = torch.randn(2, *[40] * dims, generator=torch.Generator().manual_seed(0))
    sharp = measure_sharpness(image)
    # The variance of a - 2b + c is three times that of a - b.
    assert sharp == pytest.approx(3**0.5, rel=0.03)
    assert measure_sharpness(image * 0.1 + 5) == pytest.approx(sharp, rel=1e-3)
    blurred = torch.stack([GaussianSmooth(1.5)(each[None])[0] for each in image])
    assert measure_sharpness(blurred) < sharp / 2
    assert measure_sharpness(torch.zeros(1, *[5] * dims)) == 0
    assert measure_sharpness(torch.rand(1, *[2] * dims)) == 0  # there are no second differences


def test_agreement_is_that_of_the_parts_that_are_kept():
    chances = torch.full((1, 12, 12), 0.001)
    chances[0, 1:5, 1:5], chances[0, 8:11, 8:11] = 0.9, 0.3
    image = torch.rand(1, 12, 12)
    logits = torch.special.logit(chances)
    found = quality_features(logits, image, ["a"], ["red"], {"a": 1})
    assert found["agreement/a"] == pytest.approx(0.9)
    total = float(chances.sum())
    assert found["elsewhere/a"] == pytest.approx(1 - 16 * 0.9 / total, abs=1e-4)
    assert found["found/a"] == pytest.approx(total / 144)
    everything = quality_features(logits, image, ["a"], ["red"])
    assert everything["agreement/a"] == pytest.approx(float((chances**2).sum()) / total)
    assert everything["elsewhere/a"] == 0


def test_black_corners_are_those_around_the_field():
    x, y = torch.meshgrid(*[torch.linspace(-1, 1, 200)] * 2, indexing="ij")
    field = (x**2 + y**2 < 1).float()[None]
    logits = torch.zeros_like(field)
    padded = torch.nn.functional.pad(field, [50, 50])
    for image, share in ((field, 1), (padded, 200 / 300)):
        found = quality_features(torch.zeros_like(image), image, ["a"], ["red"])
        assert found["image_corners"] == pytest.approx(1 - np.pi / 4, abs=0.01)
        assert found["image_field"] == pytest.approx(share, abs=0.02)
    inside = field[:, 60:140, 60:140]
    found = quality_features(logits[:, :80, :80], inside, ["a"], ["red"])
    assert found["image_corners"] == 0


def test_one_case_is_estimated_from_no_other(tmp_path, caplog):
    rows = draw(np.random.default_rng(0), 1)
    known = dict(rows[0])
    given = {"weights": str(tmp_path / "model.pt"), "section": "validation"}
    estimates = QualityEstimates(SimpleNamespace(members=[1]), output_dir=str(tmp_path), **given)
    estimates.add(rows, ["a", "b"], [])
    estimates.keep({})
    assert "a, b" in caplog.text
    assert rows == [known]
    assert list(tmp_path.iterdir()) == []


def test_estimates_are_right_on_average_and_intervals_hold_nine_of_ten():
    rng = np.random.default_rng(0)
    calibration = Calibration(draw(rng, 40), ["a", "b"], ["a", "b"])
    inside = {"a": [], "b": [], "size": [], "cdr": []}
    gaps = {"a": [], "b": []}
    for row in draw(rng, 400):
        found = calibration.estimate(row, measured(row))
        for name, each in found["dice"].items():
            gaps[name].append(each["expected"] - row[f"dice/{name}"])
            inside[name].append(each["low"] <= row[f"dice/{name}"] <= each["high"])
        low, high = found["area_px"]["b"].values()
        inside["size"].append(low <= row["true/b"] <= high)
        half = (found["vertical_cdr"]["high"] - found["vertical_cdr"]["low"]) / 2
        inside["cdr"].append(row["vertical_cdr/absolute_error"] <= half)
    assert np.abs([np.mean(each) for each in gaps.values()]).max() < 0.01
    shares = {name: np.mean(each) for name, each in inside.items()}
    assert all(0.8 < share < 0.98 for share in shares.values()), shares


def test_bad_masks_are_flagged_though_the_calibration_saw_good_ones_only():
    rng = np.random.default_rng(1)
    calibration = Calibration(draw(rng, 20), ["a", "b"])
    rows = draw(rng, 500, hard=1.5)
    flagged = np.array([calibration.estimate(row, measured(row))["check"] for row in rows])
    worst = np.array([min(row["dice/a"], row["dice/b"]) for row in rows])
    assert (worst < 0.8).sum() > 100
    assert flagged[worst < 0.8].mean() > 0.9
    assert flagged[worst < 0.5].all()
    good = draw(rng, 500)
    alarms = [calibration.estimate(row, measured(row))["check"] for row in good]
    worst = np.array([min(row["dice/a"], row["dice/b"]) for row in good])
    assert np.mean(np.array(alarms)[worst >= 0.8]) < 0.2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image_mean/red": 0.9}, "of red"),
        ({"image_dark": 0.9}, "dark"),
        ({"image_sharpness": 0.7}, "sharpness"),
        ({"elsewhere/b": 0.5}, "probability of b"),
        ({"found/b": 30.0}, "size of b"),
        ({"found/a": 0.01}, "size of a"),
        ({"image_sd/red": float("nan")}, "of red"),
    ],
)
def test_what_is_unlike_the_calibration_is_named(change, word):
    rng = np.random.default_rng(2)
    calibration = Calibration(draw(rng, 30), ["a", "b"])
    row = draw(rng, 1)[0] | {"agreement/a": 0.99, "agreement/b": 0.99}
    assert not calibration.estimate(row, measured(row))["check"]
    found = calibration.estimate(row | change, measured(row))
    assert (found["check"], len(found["reasons"])) == (True, 1)
    assert word in found["reasons"][0]


def test_a_region_that_is_not_found_is_doubtful_only_if_every_label_holds_it():
    rng = np.random.default_rng(3)
    rows = draw(rng, 20)
    nothing = measured({}) | {"area_px": {"a": 0, "b": 10.0}}
    found = Calibration(rows, ["a", "b"]).estimate(rows[0] | {"agreement/a": 0.0}, nothing)
    assert found["dice"]["a"] == {"expected": 0.0, "low": 0.0, "high": 0.0}
    assert "a is not found" in found["reasons"]
    rows[1] |= {"recall/a": float("nan"), "dice/a": 1.0, "agreement/a": 0.0, "found/a": 0.0}
    found = Calibration(rows, ["a", "b"]).estimate(rows[0] | {"agreement/a": 0.0}, nothing)
    assert "a" not in found["dice"]
    assert not [each for each in found["reasons"] if each.startswith("a ")]


def test_an_evaluation_estimates_what_is_not_found_as_prediction_does(tmp_path):
    """An empty mask is as wrong as can be, or right, but no estimate follows from agreement."""
    weights = tmp_path / "model.pt"
    weights.write_text("weights")
    rows = draw(np.random.default_rng(5), 12)
    rows[0]["recall/b"] = float("nan")  # a label without b
    content = Calibration(rows, ["a", "b"]).content(sha256(weights))
    quality_file(weights).write_text(json.dumps(content))
    given = {"weights": str(weights), "section": "testing", "output_dir": str(tmp_path)}
    estimates = QualityEstimates(SimpleNamespace(members=[weights]), **given)
    found = dict.fromkeys(("predicted_area/a", "predicted_area/b"), 10.0)
    cases = [rows[1] | found, rows[1] | found | {"predicted_area/a": 0, "predicted_area/b": 0}]
    estimates.add(cases, ["a", "b"], [])
    assert cases[0]["check"] == ""
    assert cases[0]["expected_dice/b"] < 1
    assert "a is not found" in cases[1]["check"]
    assert [cases[1][f"{key}_dice/a"] for key in ("expected", "low", "high")] == [0, 0, 0]
    assert "expected_dice/b" not in cases[1]


def test_one_bad_case_does_not_draw_the_expected_dice_out_of_its_interval():
    rng = np.random.default_rng(6)
    rows = draw(rng, 60)
    for row in rows:
        row["agreement/a"], row["dice/a"] = 0.95, rng.uniform(0.97, 0.98)
    rows[0]["dice/a"] = 0.0
    found = Calibration(rows, ["a", "b"]).estimate(rows[1])["dice"]["a"]
    assert found["low"] <= found["expected"] <= found["high"]


def test_a_file_is_read_as_it_was_written_and_an_ensemble_has_all_cases(tmp_path):
    rng = np.random.default_rng(4)
    weights = [tmp_path / "one.pt", tmp_path / "two.pt"]
    rows = [draw(rng, 6), draw(rng, 7)]
    rows[0][0]["recall/a"] = float("nan")
    for path, each in zip(weights, rows, strict=True):
        path.write_text(path.name)
        assert read_calibration(weights) is None
        content = Calibration(each, ["a", "b"], ["a", "b"]).content(sha256(path))
        quality_file(path).write_text(json.dumps(content, allow_nan=False))
    joined = read_calibration(weights)
    expected = Calibration([*rows[0], *rows[1]], ["a", "b"], ["a", "b"])
    assert len(joined.rows) == 13
    row = draw(rng, 1)[0]
    assert joined.estimate(row, measured(row)) == expected.estimate(row, measured(row))
    quality_file(weights[0]).write_text(json.dumps(content | {"cases": [{"dice/a": "x"}]}))
    assert read_calibration(weights) is None  # of other weights
    content |= {"checkpoint_sha256": sha256(weights[0]), "cases": [{"elsewhere/a": 0}]}
    quality_file(weights[0]).write_text(json.dumps(content))
    assert read_calibration(weights) is None  # of an earlier version
    content |= {"cases": [{"dice/a": "x", "image_sharpness": 1}]}
    quality_file(weights[0]).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"one_quality\.json"):
        read_calibration(weights)


def test_the_calibration_error_is_the_gap_between_probability_and_share():
    chances = torch.tensor([0.75] * 100 + [0.25] * 100 + [0.0] * 1000)
    truth = torch.cat([torch.arange(100) < 75, torch.arange(100) < 25, torch.zeros(1000) > 0])
    assert calibration_error(chances, truth) == pytest.approx(0)
    truth[:100] = True
    assert calibration_error(chances, truth) == pytest.approx(0.125)
    assert calibration_error(torch.zeros(5), torch.zeros(5) > 0) == 0


def test_the_label_of_a_case_is_brought_to_the_network_s_grid_and_ignored_where_it_says_so():
    image = MetaTensor(torch.rand(1, 8, 8), affine=torch.diag(torch.tensor([2.0, 2, 1, 1])))
    fine = torch.zeros(2, 16, 16)
    fine[0, 4:12, 4:12], fine[1, :, :8] = 1, 1
    item = {"image": image, "pred": torch.full((1, 8, 8), -20.0)}
    item["label"] = MetaTensor(fine, affine=torch.eye(4))
    measure = QualityFeaturesd("pred", {"a": [1]}, ["red"])
    assert measure(item)["quality"]["ece/a"] == pytest.approx(1)  # nothing is found
    coarse = fine[0, ::2, ::2]
    item["pred"] = torch.where(coarse > 0, 20.0, -20.0)[None]
    item["pred"][:, :, 0] = 20.0  # where it does not count
    assert measure(item)["quality"]["ece/a"] == pytest.approx(0, abs=1e-6)
