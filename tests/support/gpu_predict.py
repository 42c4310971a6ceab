"""Train, evaluate and predict on a pretended GPU, with volumes put together on the CPU.

Run as ``python gpu_predict.py BUNDLE DATASET WORK 'IDS AS JSON'``. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pretended_gpu  # noqa: F401
import torch
from monai.bundle import ConfigWorkflow

from pipeline.engines.sliding_window import SlidingWindow
from pipeline.prediction.predict import predict

bundle, dataset, work = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
given = {**json.loads(sys.argv[4]), "dataset_dir": str(dataset), "log_to_mlflow": False}
choose = SlidingWindow._choose_tiling
SlidingWindow._choose_tiling = lambda *args: replace(choose(*args), device=torch.device("cpu"))


def run(*names: str, **ids: object) -> ConfigWorkflow:
    files = [str(bundle / "configs" / name) for name in names]
    workflow = ConfigWorkflow(files, workflow_type="train", logging_file=False, **given, **ids)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


if __name__ == "__main__":
    folder = str(work / "run")
    trained = run("train.json", device="cuda:0", output_dir=folder, epochs=1, val_interval=1)
    validator = trained.parser.get_parsed_content("validate#evaluator")
    ids = {"ckpt_path": f"{folder}/model.pt", "section": "validation"}
    for device in ("cuda:0", "cpu"):
        own = {"device": device, "output_dir": str(work / f"evaluation-{device}")}
        run("train.json", "evaluate.json", **own, **ids)
        masks = {"output": work / f"masks-{device}", "checkpoint": Path(folder)}
        predict([dataset / "images"], bundle=bundle, overrides=[f"device={device}"], **masks)
    pred = validator.state.output["pred"]
    found = {"dice": validator.state.metrics["dice"], "pred": str(pred.device)}
    print(json.dumps(found))
