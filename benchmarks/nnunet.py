"""Compare a bundle with nnU-Net on the same cases, fold, threads and minutes.

    python -m venv nnunet && nnunet/bin/pip install torch==2.13.0 nnunetv2==2.8.1
    python benchmarks/nnunet.py data/prepared/NAME --nnunet nnunet --bundle bundles/NAME

The dataset is a prepared folder with its `datalist.json`; both get its folds. Each budget is a
training of its own, whose learning rate schedule ends with the budget. By default it is CPU time
(user and system, of all processes and threads of the training, with its start and the reading of
the data), so other load on the machine counts for little; the wall time is shown beside it.
nnU-Net's planning and preprocessing, which come before, are not counted; a bundle prepares its
cases while it trains.

nnU-Net trains by its own plan. It spends its whole budget on training steps, since
`nnunet_trainer/` leaves out its validation on patches, and augments in the same process. The
bundle trains for as many epochs as fit: two short trainings measure the time of its start and of
an epoch, and a training that took over 3 % too long is repeated with fewer epochs. Its warm-up is
shortened with its epochs.

The weights of the last step are scored: the Dice of each region on the label's own grid, averaged
over the fold's validation cases. nnU-Net averages its predictions over mirrored images, as it does
by default; the bundle predicts as it is configured.

Results are lines of OUTPUT/results.jsonl. To continue an interrupted benchmark, run it again. It
skips what is finished; nnU-Net goes on from its last checkpoint, and a bundle's training begins
again. Without --nnunet and --bundle the table is printed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

TRAINER = Path(__file__).parent / "nnunet_trainer"
NNUNET, DATASET = "nnU-Net", "Dataset001_benchmark"
TOO_LONG = 1.03  # of the budget


class Benchmark:
    """One dataset, fold and number of threads, and the results so far."""

    def __init__(
        self, dataset: Path, output: Path, *, fold: int, threads: int, device: str, clock: str
    ) -> None:
        self.dataset, self.output = dataset.resolve(), output.resolve()
        self.datalist = json.loads((dataset / "datalist.json").read_text())
        self.same = {"fold": fold, "threads": threads, "device": device, "clock": clock}
        self.fold, self.device, self.clock = fold, device, clock
        self.env = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self.threads = threads
        self.output.mkdir(parents=True, exist_ok=True)

    @property
    def validation(self) -> list[dict[str, Any]]:
        return [case for case in self.datalist["training"] if case["fold"] == self.fold]

    def results(self, name: str) -> list[dict[str, Any]]:
        """The recorded trainings of ``name``; those without ``dice`` were not scored."""
        return [
            line
            for line in read_results(self.output)
            if line["name"] == name and self.same.items() <= line.items()
        ]

    def is_done(self, name: str, minutes: float) -> bool:
        return any(x["minutes"] == minutes and "dice" in x for x in self.results(name))

    def record(self, name: str, minutes: float, spent: dict[str, float], **more: Any) -> None:
        line = {"name": name, **self.same, "minutes": minutes, **spent, **more}
        with (self.output / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def run(self, command: Sequence[object], log: Path, **env: str) -> dict[str, float]:
        """Run a command with its output in ``log``, and measure its CPU and wall time in s.

        Raises:
            SystemExit: it failed; the message has the last line of its output.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        with log.open("a") as file:
            process = subprocess.Popen(
                list(map(str, command)),
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.env | env,
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SystemExit(f"{log}: exit {process.returncode}: {''.join(last)}")
        return {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - begin}

    def score(self, masks: Path, suffix: str = "") -> dict[str, dict[str, float]]:
        """Measure the Dice of each region of each validation case: ``{case: {region: Dice}}``.

        Args:
            masks: folder of predicted label maps.
            suffix: what their names have more than the labels' names.

        Raises:
            SystemExit: a mask is missing or is not on its label's grid.
        """
        import numpy as np
        from monai.transforms import LoadImage

        from pipeline.evaluation.metrics import MaskPair, dice

        read, scores = LoadImage(image_only=True), {}
        for case in self.validation:
            name, ending = self.name_case(case)
            path = masks / f"{name}{suffix}{ending}"
            if not path.exists():
                raise SystemExit(f"{path} is missing: see the log beside its folder")
            mask, label = read(path), read(self.dataset / case["label"])
            if mask.shape != label.shape or not np.allclose(mask.affine, label.affine, atol=1e-3):
                raise SystemExit(f"{path} is not on the grid of {case['label']}")
            scores[name] = {
                region: dice(MaskPair(*(np.isin(x.numpy(), values) for x in (mask, label))))
                for region, values in self.datalist["regions"].items()
            }
        return scores

    @staticmethod
    def name_case(case: dict[str, Any]) -> tuple[str, str]:
        """The name of a case's label file, and its ending such as ``.nii.gz``."""
        name, _, ending = Path(case["label"]).name.partition(".")
        return name, f".{ending}"


def read_results(output: Path) -> list[dict[str, Any]]:
    path = output / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def average(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean of each region over the cases."""
    rows = list(scores.values())
    return {region: sum(row[region] for row in rows) / len(rows) for region in rows[0]}


class NnUnet:
    """nnU-Net in an environment of its own."""

    def __init__(self, benchmark: Benchmark, environment: Path, configuration: str) -> None:
        self.benchmark, self.configuration = benchmark, configuration
        self.bin, self.folder = environment.resolve() / "bin", benchmark.output / "nnunet"
        self.env = {
            "nnUNet_raw": str(self.folder / "raw"),
            "nnUNet_preprocessed": str(self.folder / "preprocessed"),
            "nnUNet_extTrainer": str(TRAINER),
            "nnUNet_def_n_proc": str(benchmark.threads),
            "nnUNet_n_proc_DA": str(benchmark.threads),
            "BENCHMARK_CLOCK": benchmark.clock,
        }
        self.version = subprocess.check_output(
            [self.bin / "python", "-c", "from importlib.metadata import *; print(version('nnunetv2'))"],
            text=True,
        ).strip()  # fmt: skip

    def prepare(self) -> None:
        """Write the dataset for nnU-Net, with the datalist's folds, and let it plan."""
        splits = self.folder / "preprocessed" / DATASET / "splits_final.json"
        if splits.exists():
            return
        datalist, cases = self.benchmark.datalist, self.benchmark.datalist["training"]
        raw = self.folder / "raw" / DATASET
        shutil.rmtree(raw, ignore_errors=True)
        (raw / "imagesTr").mkdir(parents=True)
        (raw / "labelsTr").mkdir()
        folds: dict[int, list[str]] = {}
        for case in cases:
            name, ending = self.benchmark.name_case(case)
            folds.setdefault(case["fold"], []).append(name)
            images = [case["image"]] if isinstance(case["image"], str) else case["image"]
            for channel, image in enumerate(images):
                link = raw / "imagesTr" / f"{name}_{channel:04d}{ending}"
                link.symlink_to(self.benchmark.dataset / image)
            (raw / "labelsTr" / f"{name}{ending}").symlink_to(
                self.benchmark.dataset / case["label"]
            )
        ct = datalist["modality"] == "CT"  # a name by which nnU-Net chooses its scaling
        channels = ["CT"] if ct else datalist["channel_names"]
        about = {
            "channel_names": dict(enumerate(channels)),
            "labels": {label: int(value) for value, label in datalist["labels"].items()},
            "numTraining": len(cases),
            "file_ending": ending,
        }
        (raw / "dataset.json").write_text(json.dumps(about, indent=2))
        command = [self.bin / "nnUNetv2_plan_and_preprocess", "-d", 1, "-c", self.configuration]
        command += ["-np", self.benchmark.threads, "-npfp", self.benchmark.threads, "--no_pbar"]
        command += ["--verify_dataset_integrity"]
        self.benchmark.run(command, self.folder / "plan.log", **self.env)
        names = [name for fold in sorted(folds) for name in folds[fold]]
        parts = [
            {"train": [n for n in names if n not in folds[fold]], "val": folds[fold]}
            for fold in sorted(folds)
        ]
        splits.write_text(json.dumps(parts, indent=2))

    def train(self, minutes: float) -> None:
        bench, name = self.benchmark, f"{NNUNET} {self.version}"
        if bench.is_done(name, minutes):
            return
        same = f"{bench.threads}-{bench.device}-{bench.clock}"
        results = self.folder / f"fold{bench.fold}-{minutes:g}min-{same}"
        command = [self.bin / "nnUNetv2_train", 1, self.configuration, bench.fold, "--c"]
        command += ["-tr", "BudgetTrainer", "-device", bench.device]
        env = {"nnUNet_results": str(results), "BENCHMARK_SECONDS": str(60 * minutes)}
        if bench.clock == "cpu":  # augments in the training's own process, whose time counts
            env["nnUNet_n_proc_DA"] = "0"
        bench.run(command, results / "train.log", **(self.env | env))
        folder = results / DATASET / f"BudgetTrainer__nnUNetPlans__{self.configuration}"
        folder /= f"fold_{bench.fold}"
        progress = json.loads((folder / "progress.json").read_text())
        spent = {clock: progress[clock] for clock in ("cpu", "wall")}
        scores = bench.score(folder / "validation")
        steps = f"{progress['steps']} steps"
        bench.record(name, minutes, spent, steps=steps, dice=average(scores), cases=scores)


class Bundle:
    """A bundle of this project."""

    def __init__(self, benchmark: Benchmark, folder: Path, name: str) -> None:
        self.benchmark, self.folder, self.name = benchmark, folder.resolve(), name
        config = json.loads((folder / "configs/train.json").read_text())
        self.warmup = config.get("warmup_epochs", 0) / config["epochs"]

    def train(self, minutes: float) -> None:
        bench = self.benchmark
        output = bench.output / "bundles" / self.name / f"fold{bench.fold}-{minutes:g}min"
        most = sys.maxsize
        while not bench.is_done(self.name, minutes):
            epochs = min(self.epochs_in(60 * minutes), most)
            if epochs < 1:
                raise SystemExit(f"{self.name}: {minutes:g} minutes are too short for one epoch")
            spent = self.run(epochs, output)
            steps, more = f"{epochs} epochs", {}
            if spent[bench.clock] <= TOO_LONG * 60 * minutes:
                masks = output / "masks"
                self.predict(output, masks)
                scores = bench.score(masks, suffix="_seg")
                more = {"dice": average(scores), "cases": scores}
            bench.record(self.name, minutes, spent, epochs=epochs, steps=steps, **more)
            most = epochs - 1

    def epochs_in(self, seconds: float) -> int:
        """How many epochs take this time, by the shortest and the longest training so far."""
        bench = self.benchmark
        for epochs in (1, 3):
            if not any(x["epochs"] == epochs for x in bench.results(self.name)):
                spent = self.run(epochs, bench.output / "bundles" / self.name / "measured")
                bench.record(self.name, 0, spent, epochs=epochs, steps=f"{epochs} epochs")
        points = sorted((x["epochs"], x[bench.clock]) for x in bench.results(self.name))
        (few, short), (many, long) = points[0], points[-1]
        epoch = (long - short) / (many - few)
        return int((seconds - short) / epoch + few)

    def run(self, epochs: int, output: Path) -> dict[str, float]:
        bench = self.benchmark
        shutil.rmtree(output, ignore_errors=True)
        config = self.folder / "configs/train.json"
        ids = {
            "dataset_dir": bench.dataset,
            "fold": bench.fold,
            "output_dir": output,
            "device": bench.device,
            "log_to_mlflow": False,
            "epochs": epochs,
            "warmup_epochs": round(self.warmup * epochs),
            "val_interval": epochs,
        }
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config]
        for name, value in ids.items():
            command += [f"--{name}", value]
        return bench.run(command, output.with_suffix(".log"))

    def predict(self, output: Path, masks: Path) -> None:
        bench = self.benchmark
        images = [case["image"] for case in bench.validation]
        command = [sys.executable, "-m", "pipeline", "predict", "--bundle", self.folder]
        command += ["--checkpoint", output / "model_final.pt", "--output", masks]
        command += ["--set", f"device={bench.device}"]
        command += [bench.dataset / image for image in images]
        bench.run(command, output.with_suffix(".log"))


def show(output: Path) -> None:
    """Print the table of all scored trainings."""
    lines = [line for line in read_results(output) if "dice" in line]
    if not lines:
        raise SystemExit(f"{output}: no results yet; give --nnunet or --bundle")
    regions = list(dict.fromkeys(region for line in lines for region in line["dice"]))
    columns = ["fold", "minutes", "", "CPU min", "wall min", "trained", *regions, "mean"]
    table = Table(*columns, box=MARKDOWN)
    for line in sorted(lines, key=lambda x: (x["fold"], x["minutes"], x["name"])):
        dice = [line["dice"][region] for region in regions]
        table.add_row(
            str(line["fold"]),
            f"{line['minutes']:g} {line['clock']}",
            line["name"],
            *(f"{line[clock] / 60:.1f}" for clock in ("cpu", "wall")),
            line["steps"],
            *(f"{value:.4f}" for value in [*dice, sum(dice) / len(dice)]),
        )
    Console(width=200).print(table)


def main(
    dataset: Annotated[Path, typer.Argument(help="Prepared folder with a datalist.json.")],
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/nnunet"),
    nnunet: Annotated[Path | None, typer.Option(help="Environment with nnU-Net.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle.")] = None,
    name: Annotated[str, typer.Option(help="The bundle's name in the table.")] = "",
    minutes: Annotated[list[float] | None, typer.Option(help="May be repeated.")] = None,
    fold: Annotated[int, typer.Option(min=0)] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a training.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    clock: Annotated[str, typer.Option(help="What minutes are: cpu or wall.")] = "cpu",
    configuration: Annotated[str, typer.Option(help="nnU-Net's, such as 2d.")] = "3d_fullres",
) -> None:
    if clock not in ("cpu", "wall") or (clock, device) == ("cpu", "cuda"):
        raise typer.BadParameter(f"--clock {clock!r}: give cpu or wall; on a GPU give wall.")
    benchmark = Benchmark(dataset, output, fold=fold, threads=threads, device=device, clock=clock)
    if nnunet is not None:
        peer = NnUnet(benchmark, nnunet, configuration)
        peer.prepare()
    own = Bundle(benchmark, bundle, name or bundle.resolve().name) if bundle else None
    for budget in sorted(minutes or (10, 30, 60)):
        if nnunet is not None:
            peer.train(budget)
        if own is not None:
            own.train(budget)
    show(output)


if __name__ == "__main__":
    typer.run(main)
