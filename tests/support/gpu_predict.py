"""Evaluate and predict on a pretended GPU, with volumes put together on the CPU.

Run as ``python gpu_predict.py WORK JOBS``, JSON. Prints nothing; `test_gpu.py` reads the files.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pretended_gpu  # noqa: F401
import torch
from monai.bundle import ConfigWorkflow

from pipeline.engines.metrics import RegionDice
from pipeline.engines.sliding_window import SlidingWindow
from pipeline.evaluation.figures.cases import compute_attention
from pipeline.networks.attention_unet import AttentionUnet
from pipeline.prediction.predict import predict

choose = SlidingWindow._choose_tiling
SlidingWindow._choose_tiling = lambda *args: replace(choose(*args), device=torch.device("cpu"))
# What a validation measures then.
dice = RegionDice({"a": [1]})
dice.update((torch.ones(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4, device="cuda")))
assert dice.compute()["dice"] == 1
network = AttentionUnet(3, 1, 1, channels=(4, 8, 16), strides=(2, 2)).to("cuda")
assert [each.shape for each in compute_attention(network, torch.zeros(1, 8, 8, 8))] == [
    (1, 2, 2, 2)
]
for job in json.loads(sys.argv[2]):
    bundle, run = Path(job["bundle"]), job["run"]
    files = [str(bundle / "configs" / name) for name in ("train.json", "evaluate.json")]
    for device in ("cuda:0", "cpu"):
        out = Path(sys.argv[1]) / device / bundle.name
        settings = {"amp": False, "dataset_dir": job["data"], "log_to_mlflow": False}
        settings["figures"] = False
        places = {"device": device, "ckpt_path": run, "output_dir": str(out / "evaluation")}
        workflow = ConfigWorkflow(
            files, "train", logging_file=False, **settings, **places, **job["ids"]
        )
        workflow.initialize()
        workflow.run()
        ids = [f"device={device.partition(':')[0]}", "amp=false"]  # as MONAI Label says it
        images = sorted(Path(job["data"], "images").iterdir())[:3]
        predict(images, bundle=bundle, checkpoint=Path(run), overrides=ids, output=out / "masks")
