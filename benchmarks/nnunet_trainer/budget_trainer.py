"""An nnU-Net trainer that stops after a given time; nnU-Net's own Python loads it.

nnU-Net finds it by the environment variable ``nnUNet_extTrainer``, the folder of this file.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

BEGUN = time.monotonic()
SAVE_EVERY = 120  # s of the budget


class BudgetTrainer(nnUNetTrainer):
    """nnU-Net's trainer whose schedule follows the time spent instead of epochs.

    The learning rate falls by nnU-Net's polynomial over the budget. Only training steps are run:
    nnU-Net's validation on patches is left out, since it does not change the last weights, which
    are scored. ``progress.json`` holds the time spent and the number of steps; with ``--c`` the
    training goes on from the last checkpoint.

    The budget is ``BENCHMARK_SECONDS``. By ``BENCHMARK_CLOCK`` these are seconds of CPU time, of
    this process and its children, or of wall time. Both count from the start of the process.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # the command sets all cores
        self.num_epochs = 1  # so that a step of the schedule is a share of the budget

    def run_training(self) -> None:
        clock, budget = os.environ["BENCHMARK_CLOCK"], float(os.environ["BENCHMARK_SECONDS"])
        path = Path(self.output_folder, "progress.json")
        saved = {"cpu": 0.0, "wall": 0.0, "steps": 0}
        start = dict.fromkeys(saved, 0.0)
        if path.exists():
            saved, start = json.loads(path.read_text()), read_clocks()
        before, steps = dict(saved), saved["steps"]
        self.on_train_start()
        self.network.train()
        while True:
            now = {name: before[name] + s - start[name] for name, s in read_clocks().items()}
            now["steps"] = steps
            share = now[clock] / budget
            if share >= 1:
                break
            if now[clock] - saved[clock] > SAVE_EVERY:
                self.save_progress(path, now)
                saved = now
            self.lr_scheduler.step(share)
            self.train_step(next(self.dataloader_train))
            steps += 1
        self.save_progress(path, now)
        self.on_train_end()

    def save_progress(self, path: Path, now: dict[str, float]) -> None:
        self.print_to_log_file(now)
        new = path.with_name("new.pth")
        self.save_checkpoint(str(new))
        new.replace(path.with_name("checkpoint_latest.pth"))
        path.write_text(json.dumps(now))


def read_clocks() -> dict[str, float]:
    """CPU time of this process and its ended children, and time since its start, in s."""
    return {"cpu": sum(os.times()[:4]), "wall": time.monotonic() - BEGUN}
