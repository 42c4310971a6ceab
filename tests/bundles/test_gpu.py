"""The bundles on a GPU: a pretended one, which needs none, and a real one (marked ``gpu``)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_configs import BUNDLES
from pretended_gpu_build import build

from pipeline.datasets.phantoms.ct import write_ct_phantoms
from pipeline.datasets.phantoms.fundus import write_fundus_phantoms

SUPPORT = Path(__file__).parents[1] / "support"
NET = {"channels": [4, 8, 16], "strides": [2, 2]}
SMALL = {
    "fundus_disc_cup_segmentation": NET
    | {"roi_size": [64, 64], "patch_size": [48, 48], "batch_size": 2},
    "pancreas_ct_segmentation": NET
    | {"spacing": [5] * 3, "roi_size": [32] * 3, "patch_size": [24] * 3, "margin": 4},
}


def pretend() -> dict[str, str]:
    try:
        build()
    except RuntimeError as error:
        pytest.skip(f"no pretended GPU: {error}")
    return {"PRETENDED_GPU": "1", "CUDA_VISIBLE_DEVICES": ""}


def take_real() -> dict[str, str]:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return {}


@pytest.fixture(scope="module", params=[pretend, pytest.param(take_real, marks=pytest.mark.gpu)])
def found(request, tmp_path_factory):
    """What the runs of both bundles tell."""
    env = request.param()
    work = tmp_path_factory.mktemp("gpu")
    data = {
        "fundus_disc_cup_segmentation": write_fundus_phantoms(work / "a", count=10, testing=0.2),
        "pancreas_ct_segmentation": write_ct_phantoms(
            work / "b", count=10, size=(56, 56, 28), tumour_share=1.0
        ),
    }
    jobs = [
        {
            "configs": str(bundle / "configs"),
            "ids": SMALL[bundle.name] | {"dataset_dir": str(data[bundle.name].parent)},
        }
        for bundle in BUNDLES
    ]
    done = subprocess.run(
        [sys.executable, SUPPORT / "gpu_steps.py", work, json.dumps(jobs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SUPPORT.parents[1]), **env},
        cwd=work,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("bundle", SMALL)
def test_a_training_step_waits_for_nothing(found, bundle):
    for name, epochs in (("trained", 2), ("resumed", 4)):
        run = found[bundle][name]
        assert run["waits"] == []
        assert (run["epoch"], run["steps"], run["device"]) == (epochs, 3, "cuda:0")
        assert 0 <= run["metrics"]["dice"] <= 1
    # Draws alone, and no fields; with the cache on the host the images too.
    assert found[bundle]["trained"]["copied"] < 3 * 4096
    assert found[bundle]["evaluated"]["metrics"]
