"""Compare a bundle with nnU-Net on the same cases, fold, threads and minutes.

    python3.11 -m venv nnunet && nnunet/bin/pip install torch==2.13.0 nnunetv2==2.8.1
    python -m pipeline data prepare msd Task04_Hippocampus --output data/prepared/hippocampus
    python -m pipeline bundle new data/prepared/hippocampus --output bundles/hippocampus
    python benchmarks/nnunet.py data/prepared/hippocampus --nnunet nnunet \
        --bundle bundles/hippocampus

If nnU-Net fails because torchvision lacks an operator, beside a torch without CUDA, run
`nnunet/bin/python pipeline/packaging/label_torchvision.py` once.

The dataset is a prepared folder with its `datalist.json`, whose folds nnU-Net gets too. Each
budget is a training of its own, whose learning rate schedule ends with the budget. By default the
budget is CPU time: user and system, of all processes and threads of the training, from its start.
Waiting for a core does not count. Other load still slows each step a little, through the shared
memory, so run both under the same load. The wall time is shown too.

- nnU-Net trains by its own plan. Its planning and preprocessing are not counted, and its whole
  budget goes into training steps, see `nnunet_trainer/`.
- The bundle reads and prepares its cases within the budget. It trains for as many epochs as fit,
  by the time that short trainings took. One that takes over 5 % too long is repeated with fewer
  epochs. Its warm-up is as long a part of the training as in its `train.json`.

The weights of the last step are scored: the Dice of each region on the label's own grid, averaged
over the fold's cases. nnU-Net averages its predictions over mirrored images, as it does by
default; the bundle predicts as it is configured.

To continue an interrupted benchmark, run it again. It skips what is in OUTPUT/results.jsonl;
nnU-Net goes on from its last checkpoint, and a bundle's training begins again. Without --nnunet
and --bundle it prints the table. To compare on a GPU, give --device cuda --clock wall.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from budgets import Benchmark, Conditions, name_case, show_results

TRAINER, DATASET = Path(__file__).parent / "nnunet_trainer", "Dataset001_benchmark"
AIM, TOO_LONG = 0.97, 1.05  # of the budget


class NnUnet:
    """nnU-Net, in an environment of its own."""

    def __init__(self, benchmark: Benchmark, environment: Path, configuration: str) -> None:
        self.benchmark, self.configuration = benchmark, configuration
        self.bin, self.folder = environment.resolve() / "bin", benchmark.output / "nnunet"
        self.env = {
            "nnUNet_raw": str(self.folder / "raw"),
            "nnUNet_preprocessed": str(self.folder / "preprocessed"),
            "nnUNet_extTrainer": str(TRAINER),
            "nnUNet_def_n_proc": str(benchmark.conditions.threads),
            "nnUNet_n_proc_DA": str(benchmark.conditions.threads),
        }
        command = "from importlib.metadata import version; print(version('nnunetv2'))"
        found = subprocess.check_output([self.bin / "python", "-c", command], text=True)
        self.name = f"nnU-Net {found.strip()}"

    def prepare(self) -> None:
        """Let nnU-Net plan and preprocess the dataset, and give it the datalist's folds."""
        splits = self.folder / "preprocessed" / DATASET / "splits_final.json"
        if splits.exists():
            return
        datalist, source = self.benchmark.datalist, self.benchmark.dataset
        raw = self.folder / "raw" / DATASET
        shutil.rmtree(raw, ignore_errors=True)
        (raw / "imagesTr").mkdir(parents=True)
        (raw / "labelsTr").mkdir()
        for case in datalist["training"]:
            name, ending = name_case(case)
            images = [case["image"]] if isinstance(case["image"], str) else case["image"]
            for channel, image in enumerate(images):
                link = raw / "imagesTr" / f"{name}_{channel:04d}{ending}"
                link.symlink_to(source / image)
            (raw / "labelsTr" / f"{name}{ending}").symlink_to(source / case["label"])
        # nnU-Net scales a channel by its name, and knows CT.
        channels = ["CT"] if datalist["modality"] == "CT" else datalist["channel_names"]
        about = {
            "channel_names": dict(enumerate(channels)),
            "labels": {label: int(value) for value, label in datalist["labels"].items()},
            "numTraining": len(datalist["training"]),
            "file_ending": ending,
        }
        (raw / "dataset.json").write_text(json.dumps(about, indent=4))
        threads = self.benchmark.conditions.threads
        command = [self.bin / "nnUNetv2_plan_and_preprocess", "-d", 1, "-c", self.configuration]
        command += ["-np", threads, "-npfp", threads, "--no_pbar", "--verify_dataset_integrity"]
        self.benchmark.run(command, self.folder / "plan.log", **self.env)
        folds: dict[int, list[str]] = {}
        for case in datalist["training"]:
            folds.setdefault(case["fold"], []).append(name_case(case)[0])
        names = [name for fold in sorted(folds) for name in folds[fold]]
        parts = [
            {"train": [name for name in names if name not in folds[fold]], "val": folds[fold]}
            for fold in sorted(folds)
        ]
        splits.write_text(json.dumps(parts, indent=4))

    def train(self, minutes: float) -> None:
        bench, same = self.benchmark, self.benchmark.conditions
        if bench.is_done(self.name, minutes):
            return
        title = f"fold{same.fold}-{minutes:g}min-{same.threads}-{same.device}-{same.clock}"
        results = self.folder / title
        env = {
            "nnUNet_results": str(results),
            "BENCHMARK_SECONDS": str(60 * minutes),
            "BENCHMARK_CLOCK": same.clock,
        }
        if same.clock == "cpu":  # augments in the training's own process
            env["nnUNet_n_proc_DA"] = "0"
        command = [self.bin / "nnUNetv2_train", 1, self.configuration, same.fold, "--c"]
        command += ["-tr", "BudgetTrainer", "-device", same.device]
        bench.run(command, results / "train.log", **(self.env | env))
        folder = results / DATASET / f"BudgetTrainer__nnUNetPlans__{self.configuration}"
        folder /= f"fold_{same.fold}"
        progress = json.loads((folder / "progress.json").read_text())
        trained = f"{progress.pop('steps')} steps"
        bench.record(self.name, minutes, progress, folder / "validation", trained=trained)


class Bundle:
    """A bundle of this project."""

    def __init__(self, benchmark: Benchmark, folder: Path, name: str) -> None:
        self.benchmark, self.folder, self.name = benchmark, folder.resolve(), name
        config = json.loads((folder / "configs/train.json").read_text())
        self.warmup = config["warmup_epochs"] / config["epochs"]
        self.output = benchmark.output / "bundles" / name

    def train(self, minutes: float) -> None:
        bench, seconds, most = self.benchmark, 60 * minutes, sys.maxsize
        while not bench.is_done(self.name, minutes):
            epochs = min(self.epochs_in(AIM * seconds), most)
            if epochs < 1:
                raise SystemExit(f"{self.name}: {minutes:g} minutes are too short for an epoch")
            output = self.output / f"fold{bench.conditions.fold}-{minutes:g}min"
            spent = self.run(epochs, output)
            too_long = spent[bench.conditions.clock] / seconds
            masks = self.predict(output) if too_long <= TOO_LONG else None
            bench.record(
                self.name, minutes, spent, masks, epochs=epochs, trained=f"{epochs} epochs"
            )
            most = int(AIM * epochs / too_long)

    def epochs_in(self, seconds: float) -> int:
        """How many epochs take this time, by the shortest and the longest training so far."""
        while True:
            clock = self.benchmark.conditions.clock
            points = sorted((x["epochs"], x[clock]) for x in self.benchmark.results(self.name))
            if len(points) > 1 and points[-1][1] > 2 * points[0][1]:
                (few, short), (many, long) = points[0], points[-1]
                return int((seconds - short) / (long - short) * (many - few) + few)
            epochs = 4 * points[-1][0] if points else 1
            spent = self.run(epochs, self.output / "short")
            self.benchmark.record(self.name, 0, spent, None, epochs=epochs)

    def run(self, epochs: int, output: Path) -> dict[str, float]:
        shutil.rmtree(output, ignore_errors=True)
        ids = {
            "config_file": self.folder / "configs/train.json",
            "dataset_dir": self.benchmark.dataset,
            "output_dir": output,
            "fold": self.benchmark.conditions.fold,
            "device": self.benchmark.conditions.device,
            "epochs": epochs,
            "warmup_epochs": round(self.warmup * epochs),
            "val_interval": epochs,
            "log_to_mlflow": False,
        }
        command = [sys.executable, "-m", "monai.bundle", "run"]
        command += [part for name, value in ids.items() for part in (f"--{name}", value)]
        return self.benchmark.run(command, output.with_suffix(".log"))

    def predict(self, output: Path) -> Path:
        """Predict the fold's cases with the weights of the last epoch, and return the folder."""
        bench, masks = self.benchmark, output / "masks"
        command = [sys.executable, "-m", "pipeline", "predict", "--bundle", self.folder]
        command += ["--checkpoint", output / "model_final.pt", "--output", masks]
        command += ["--set", f"device={bench.conditions.device}"]
        command += [bench.dataset / case["image"] for case in bench.cases]
        bench.run(command, output.with_suffix(".log"))
        return masks


def main(
    dataset: Annotated[Path, typer.Argument(help="Prepared folder with a datalist.json.")],
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/nnunet"),
    msd: Annotated[Path | None, typer.Option(help="Task to prepare as DATASET first.")] = None,
    nnunet: Annotated[Path | None, typer.Option(help="nnU-Net's virtual environment.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle.")] = None,
    name: Annotated[str, typer.Option(help="The bundle's name in the table.")] = "",
    minutes: Annotated[list[float], typer.Option(help="May be repeated.")] = (10, 30, 60),
    fold: Annotated[int, typer.Option(min=0, help="Whose cases are scored.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of a training.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    clock: Annotated[str, typer.Option(help="What minutes are: cpu or wall.")] = "cpu",
    configuration: Annotated[str, typer.Option(help="nnU-Net's, such as 2d.")] = "3d_fullres",
) -> None:
    if clock not in ("cpu", "wall") or (device == "cuda" and clock == "cpu"):
        raise typer.BadParameter(f"--clock {clock!r}: give cpu or wall, and on a GPU wall.")
    if msd is not None and not dataset.exists():
        command = [sys.executable, "-m", "pipeline", "data", "prepare", "msd", msd]
        subprocess.run([*command, "--output", dataset], check=True)
    if not (dataset / "datalist.json").exists():
        raise typer.BadParameter(f"{dataset} has no datalist.json: prepare the dataset first.")
    benchmark = Benchmark(dataset, output, Conditions(fold, threads, device, clock))
    competitors: list[NnUnet | Bundle] = []
    if nnunet is not None:
        competitors.append(NnUnet(benchmark, nnunet, configuration))
        competitors[0].prepare()
    if bundle is not None:
        competitors.append(Bundle(benchmark, bundle, name or bundle.resolve().name))
    for budget in sorted(minutes):
        for each in competitors:
            each.train(budget)
    show_results(output)


if __name__ == "__main__":
    typer.run(main)
