"""The estimates of quality that `predict` reports, and probability maps."""

import json
import shutil

import nibabel
import numpy as np
import torch
from PIL import Image
from small_cases import EYE, PANCREAS, ct, photograph, predict, report

from pipeline.bundle.quality import Calibration, quality_file
from pipeline.files import sha256

REGIONS = ["optic_disc", "optic_cup"]


def test_a_calibrated_checkpoint_says_which_masks_to_look_at(eye, tmp_path, capsys):
    run = shutil.copytree(eye, tmp_path / "run")
    for seed in range(8):
        photograph(tmp_path / f"images/{seed}.png", seed=seed)
    # At other scales the calibration would have a part in the masks.
    options = ("--bundle", EYE, "--checkpoint", run, "--set", "scales=[]")
    predict(tmp_path / "images", *options, "--output", tmp_path / "out")
    cases = report(tmp_path / "out")["cases"]
    assert report(tmp_path / "out")["calibration"] is None
    assert not any("quality" in case for case in cases)
    out = capsys.readouterr().out
    assert "no estimates of quality" in out
    assert "to check" not in out
    predict(tmp_path / "images", *options[:-2], "--output", tmp_path / "scales")

    # As if these had been evaluated, with few errors.
    rng = np.random.default_rng(0)
    good = {f"{key}/{name}": 0.97 for key in ("dice", "recall", "precision") for name in REGIONS}
    rows = [case["features"] | good for case in cases]
    for row in rows:
        row |= {f"dice/{name}": rng.uniform(0.93, 0.99) for name in REGIONS}
        row["vertical_cdr/absolute_error"] = rng.uniform(0, 0.05)
    content = Calibration(rows, REGIONS, REGIONS).content(sha256(run / "model.pt"))
    quality_file(run / "model.pt").write_text(json.dumps(content))

    with Image.open(tmp_path / "images/0.png") as picture:
        dark = np.asarray(picture) // 4
    dark[: len(dark) // 2] = 0
    Image.fromarray(dark).save(tmp_path / "images/dark.png")
    for run_number in range(2):  # what is done already is estimated too, and again
        predict(tmp_path / "images", *options, "--output", tmp_path / "out")
        (path,) = sorted((tmp_path / "out").glob("report-*.json"))[-1:]
        found = json.loads(path.read_text())
        assert found["calibration"] == {"cases": 8}
        by_name = {case["name"]: case["quality"] for case in found["cases"]}
        assert [name for name, each in by_name.items() if each["check"]] == ["dark"]
        assert any("dark share" in reason for reason in by_name["dark"]["reasons"])
        for case in found["cases"][:8]:
            dice = case["quality"]["dice"]["optic_disc"]
            assert 0.9 < dice["low"] <= dice["expected"] <= dice["high"] <= 1
            interval = case["quality"]["area_px"]["optic_disc"]
            assert interval["low"] <= case["area_px"]["optic_disc"] <= interval["high"]
        out = capsys.readouterr().out
        assert "1 to check" in out
        assert ("check   dark" in out) == (run_number == 0)
    predict(tmp_path / "images/0.png", *options, "--output", tmp_path / "one")
    assert "1 done, 0 to check" in capsys.readouterr().out
    predict(tmp_path / "images", *options[:-2], "--output", tmp_path / "scales", code=1)
    assert "by another checkpoint or other settings" in capsys.readouterr().err


def test_a_network_that_answers_nan_is_no_empty_mask(eye, tmp_path):
    run = shutil.copytree(eye, tmp_path / "run")
    state = torch.load(run / "model.pt", weights_only=True)
    torch.save({key: each * np.nan for key, each in state.items()}, run / "model.pt")
    image = photograph(tmp_path / "a.png")
    options = ("--bundle", EYE, "--checkpoint", run, "--output", tmp_path / "out")
    predict(image, *options, code=1)
    (case,) = report(tmp_path / "out")["cases"]
    assert case["status"] == "failed"
    assert "NaN" in case["error"]
    assert not list((tmp_path / "out").glob("*_seg.png"))


def test_a_bundle_that_resizes_to_a_fixed_grid_predicts(eye, tmp_path):
    image = photograph(tmp_path / "a.png", size=(41, 70))
    resize = {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32]}
    options = ("--bundle", EYE, "--checkpoint", eye, "--output", tmp_path / "out")
    predict(image, *options, "--set", f"preprocessing#transforms#1={resize}")
    with Image.open(tmp_path / "out/a_seg.png") as mask:
        assert mask.size == (41, 70)


def test_probability_maps_are_on_the_image_s_grid_and_agree_with_the_mask(eye, pancreas, tmp_path):
    photograph(tmp_path / "images/a b.png", size=(41, 70))
    options = (tmp_path / "images", "--bundle", EYE, "--checkpoint", eye)
    options = (*options, "--set", "components={}", "--output", tmp_path / "out")
    predict(*options)
    predict(*options, "--probabilities")  # what is done lacks them
    (case,) = json.loads(sorted((tmp_path / "out").glob("report-*.json"))[-1].read_text())["cases"]
    maps = [f"a b_{name}_probability.png" for name in REGIONS]
    assert (case["status"], case["outputs"]) == ("done", ["a b_seg.png", *maps])
    mask, disc, cup = (np.asarray(Image.open(tmp_path / "out" / n)) for n in case["outputs"])
    assert mask.shape == disc.shape == cup.shape
    assert np.array_equal(mask >= 1, disc > 127)
    assert np.array_equal(mask == 2, (cup > 127) & (disc > 127))
    assert disc.min() < disc.max()

    ct(tmp_path / "ct/one.nii.gz")
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--set", "components={}")
    predict(tmp_path / "ct", *options, "--output", tmp_path / "ml", "--probabilities")
    mask, chance = (
        nibabel.load(tmp_path / f"ml/one_{name}.nii.gz") for name in ("seg", "pancreas_probability")
    )
    assert np.array_equal(chance.affine, mask.affine)
    values = chance.get_fdata()
    assert 0 <= values.min() < 0.5 < values.max() <= 1
    found = np.asarray(mask.dataobj) >= 1
    assert values[found].min() > 0.49
    assert values[~found].max() < 0.51
