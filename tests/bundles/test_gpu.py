"""The bundles on a GPU: a pretended one, which needs none, and a real one (marked ``gpu``)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_configs import BUNDLES
from monai.bundle import ConfigParser
from pretended_gpu_build import build
from small_cases import write_eyes

from pipeline.datasets.phantoms.ct import write_ct_phantoms
from pipeline.engines.inferer import has_right_volumes

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
        "fundus_disc_cup_segmentation": write_eyes(work / "a"),
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


ON = [pytest.param("cpu"), pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", ON)
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_convolutions_in_bfloat16_are_those_in_float32(bundle, device):
    """Of each layer, at the size that a training has; a CPU checks the test at a small one."""
    if device == "cuda" and not (take_real() or has_right_volumes()):
        pytest.skip("a training uses float32 here")
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/train.json"))
    size, batch = parser.get_parsed_content("patch_size"), parser.get_parsed_content("batch_size")
    size, batch = ([16] * len(size), 1) if device == "cpu" else (size, batch)
    network = parser.get_parsed_content("network_def").to(device).eval()
    checked = []

    def check(module, inputs, output):
        with torch.autocast(device, dtype=torch.bfloat16):
            half = module._conv_forward(inputs[0], module.weight, module.bias)
        assert half.dtype == torch.bfloat16
        checked.append(((half.float() - output).norm() / output.norm()).item())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            module.register_forward_hook(check)
    channels = len(parser.get_parsed_content("channel_names"))
    with torch.no_grad():
        network(torch.rand(batch, channels, *size, device=device))
    assert len(checked) > 20
    assert max(checked) < 0.05


FULL = """
import runpy, sys, torch
torch.cuda.set_per_process_memory_fraction(0.001)
del sys.argv[0]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


@pytest.mark.gpu
def test_a_full_gpu_ends_a_training_in_one_line(run_bundle, tmp_path):
    take_real()
    data = write_eyes(tmp_path / "data").parent
    (tmp_path / "full.py").write_text(FULL)
    ids = {"dataset_dir": data, "cache_device": "cpu", "log_to_mlflow": False}
    done = run_bundle(BUNDLES[0] / "configs", ["train.json"], cwd=tmp_path, check=False,
                      launcher=("full",), **ids)  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "--batch_size (now 5)" in done.stderr.splitlines()[-1]
