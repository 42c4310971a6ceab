"""Evaluation and prediction on a pretended GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_cases import EYE, PANCREAS, report, write_eyes
from tables import read_csv

from pipeline.datasets.phantoms.ct import write_ct_phantoms

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.mark.slow
def test_a_gpu_that_cannot_hold_a_volume_gives_what_a_cpu_gives(eye, pancreas, tmp_path):
    try:
        pytest.importorskip("pretended_gpu_build").build()
    except RuntimeError as error:
        pytest.skip(f"no pretended GPU: {error}")
    pictures = write_eyes(tmp_path / "a")
    volumes = write_ct_phantoms(tmp_path / "b", count=10, size=(40, 40, 24))
    jobs = [(EYE, eye, pictures), (PANCREAS, pancreas, volumes)]
    jobs = [{"bundle": str(b), "run": str(r), "data": str(d.parent)} for b, r, d in jobs]
    for job in jobs:
        config = json.loads(Path(job["run"], "config.json").read_text())
        job["ids"] = {name: value for name, value in config.items() if name != "device"}
    done = subprocess.run(
        [sys.executable, SUPPORT / "gpu_predict.py", tmp_path, json.dumps(jobs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SUPPORT.parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for bundle in (EYE, PANCREAS):
        gpu, cpu = (tmp_path / device / bundle.name for device in ("cuda:0", "cpu"))
        sizes, scores = (
            [each(place) for place in (gpu, cpu)] for each in (read_sizes, read_scores)
        )
        assert len(sizes[0]) == 3
        assert scores[0]
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)
        assert scores[0] == pytest.approx(scores[1], rel=1e-3, nan_ok=True)


def read_sizes(folder):
    """That of the first region of each mask."""
    cases = report(folder / "masks")["cases"]
    assert {case["status"] for case in cases} == {"done"}
    return [next(iter((case.get("volume_ml") or case["area_px"]).values())) for case in cases]


def read_scores(folder):
    """The Dice and the calibration error of each case."""
    rows = read_csv(folder / "evaluation/cases.csv")
    return [
        float(row[name] or "nan") for row in rows for name in row if name[:4] in ("dice", "ece/")
    ]
