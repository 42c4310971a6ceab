"""The estimates of quality that `predict` reports."""

import json
import shutil

import numpy as np
from PIL import Image
from small_cases import EYE, photograph, predict, report

from pipeline.bundle.quality import Calibration, quality_file
from pipeline.files import sha256

REGIONS = ["optic_disc", "optic_cup"]


def test_a_calibrated_checkpoint_says_which_masks_to_look_at(eye, tmp_path, capsys):
    run = shutil.copytree(eye, tmp_path / "run")
    for seed in range(8):
        photograph(tmp_path / f"images/{seed}.png", seed=seed)
    options = ("--bundle", EYE, "--checkpoint", run)
    predict(tmp_path / "images", *options, "--output", tmp_path / "out")
    cases = report(tmp_path / "out")["cases"]
    assert report(tmp_path / "out")["calibration"] is None
    assert not any("quality" in case for case in cases)
    assert "to check" not in capsys.readouterr().out

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
