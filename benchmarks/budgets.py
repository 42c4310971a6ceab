"""Trainings that each have a budget of time: run and score them, keep and show the results."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table


@dataclass
class Conditions:
    """What two trainings must share to be compared.

    Attributes:
        fold: whose cases are scored.
        threads: of a training.
        device: cpu or cuda.
        clock: what a budget is: ``cpu`` or ``wall`` time.
    """

    fold: int
    threads: int
    device: str
    clock: str


class Benchmark:
    """A prepared dataset, the conditions of all trainings, and a folder of results."""

    def __init__(self, dataset: Path, output: Path, conditions: Conditions) -> None:
        self.dataset, self.output, self.conditions = dataset.resolve(), output.resolve(), conditions
        self.datalist = json.loads((dataset / "datalist.json").read_text())
        self.cases = [c for c in self.datalist["training"] if c["fold"] == conditions.fold]

    def results(self, name: str) -> list[dict[str, Any]]:
        """Get the trainings of ``name`` under these conditions; those scored have ``dice``."""
        same = {"name": name, **asdict(self.conditions)}
        return [line for line in read_results(self.output) if same.items() <= line.items()]

    def is_done(self, name: str, minutes: float) -> bool:
        return any(x["minutes"] == minutes and "dice" in x for x in self.results(name))

    def record(
        self, name: str, minutes: float, spent: dict[str, float], masks: Path | None, **more: Any
    ) -> None:
        """Score a training's masks, if it has some, and keep its result."""
        line = {"name": name, **asdict(self.conditions), "minutes": minutes, **spent, **more}
        if masks is not None:
            scores = self.score(masks)
            rows = list(scores.values())
            line["dice"] = {r: sum(row[r] for row in rows) / len(rows) for r in rows[0]}
            line["cases"] = scores
        with (self.output / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def score(self, masks: Path) -> dict[str, dict[str, float]]:
        """Measure the Dice of each region in each of the fold's cases: ``{case: {region: Dice}}``.

        Args:
            masks: folder of label maps that are named after the case, with or without ``_seg``.

        Raises:
            SystemExit: a mask is missing, or it is not on its label's grid.
        """
        import numpy as np
        from monai.transforms import LoadImage

        from pipeline.evaluation.metrics import MaskPair, dice

        read, scores = LoadImage(image_only=True), {}
        for case in self.cases:
            name, ending = name_case(case)
            paths = [masks / f"{name}{end}{ending}" for end in ("", "_seg")]
            path = next((path for path in paths if path.exists()), None)
            if path is None:
                raise SystemExit(f"{paths[0]} is missing: see the log beside its folder")
            mask, label = read(path), read(self.dataset / case["label"])
            if mask.shape != label.shape or not np.allclose(mask.affine, label.affine, atol=1e-3):
                raise SystemExit(f"{path} is not on the grid of {case['label']}")
            scores[name] = {
                region: dice(MaskPair(*(np.isin(x.numpy(), values) for x in (mask, label))))
                for region, values in self.datalist["regions"].items()
            }
        return scores

    def run(self, command: Sequence[object], log: Path, **env: str) -> dict[str, float]:
        """Run a command with its output in ``log``, and measure its CPU and wall time in s.

        Raises:
            SystemExit: it failed; the message has the last line of its output.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        threads = {"OMP_NUM_THREADS": str(self.conditions.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        begin = time.monotonic()
        with log.open("a") as file:
            process = subprocess.Popen(
                list(map(str, command)),
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | threads | env,
            )
            _, status, usage = os.wait4(process.pid, 0)  # with the children of the process
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SystemExit(f"{log}: exit {process.returncode}: {''.join(last)}")
        return {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - begin}


def name_case(case: dict[str, Any]) -> tuple[str, str]:
    """The name of a case's label file, and its ending such as ``.nii.gz``."""
    name, _, ending = Path(case["label"]).name.partition(".")
    return name, f".{ending}"


def read_results(output: Path) -> list[dict[str, Any]]:
    path = output / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show_results(output: Path) -> None:
    """Print all scored trainings, by fold and minutes."""
    lines = [line for line in read_results(output) if "dice" in line]
    regions = list(dict.fromkeys(region for line in lines for region in line["dice"]))
    columns = ["fold", "threads", "budget", "", "CPU min", "wall min", "trained"]
    table = Table(*columns, *regions, "mean", box=MARKDOWN)
    for line in sorted(lines, key=lambda x: (x["fold"], x["minutes"], x["name"])):
        dice = list(line["dice"].values())
        table.add_row(
            str(line["fold"]),
            f"{line['threads']} {line['device']}",
            f"{line['minutes']:g} min {line['clock']}",
            line["name"],
            *(f"{line[clock] / 60:.1f}" for clock in ("cpu", "wall")),
            line["trained"],
            *(f"{value:.4f}" for value in [*dice, sum(dice) / len(dice)]),
        )
    Console(width=200).print(table)
