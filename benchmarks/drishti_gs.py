"""Results on Drishti-GS1: cross-validation, and the article's experiment.

    python -m pipeline data prepare drishti-gs FOLDER --output data/prepared/drishti_gs
    python -m pipeline data prepare drishti-gs FOLDER --output data/prepared/drishti_gs_union \
        --rule union
    python benchmarks/drishti_gs.py cross-validation data/prepared/drishti_gs
    python benchmarks/drishti_gs.py article data/prepared/drishti_gs_union

Each training and evaluation is a `monai.bundle run`. To continue an interrupted benchmark, run it
again: it skips what is finished and resumes interrupted training runs.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

CONFIGS = Path(__file__).parents[1] / "bundles/fundus_disc_cup_segmentation/configs"
app = typer.Typer(no_args_is_help=True, add_completion=False)
console = Console()


def bundle_run(configs: tuple[str, ...], log: Path, threads: int, **ids: object) -> None:
    """Run `monai.bundle run` with its output in ``log``.

    Raises:
        SystemExit: it failed; the message has the last line of its output.
    """
    files = [str(CONFIGS / name) for name in ("train.json", *configs)]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    for name, value in ids.items():
        command += [f"--{name}", str(value)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        status = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        ).returncode
    if status:
        raise SystemExit(f"{log}: exit {status}: {log.read_text().splitlines()[-1]}")


def train(folder: Path, configs: tuple[str, ...], threads: int, **ids: object) -> None:
    if not (folder / "model_final.pt").exists():
        ids = {"output_dir": folder, "run_name": folder.name, "resume": True, **ids}
        bundle_run(configs, folder / "train.log", threads, **ids)


def evaluate(folder: Path, threads: int, **ids: object) -> None:
    """Evaluate the weights of the last epoch."""
    out = folder / "evaluation"
    if not (out / "summary.json").exists():
        bundle_run(
            ("evaluate.json",),
            folder / "evaluation.log",
            threads,
            ckpt_path=folder / "model_final.pt",
            output_dir=out,
            **ids,
        )


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def minutes(folder: Path) -> float:
    return sum(float(row["seconds"]) for row in history(folder)) / 60


@app.command("cross-validation")
def cross_validation(
    dataset_dir: Path,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/drishti_gs"),
    small_epochs: Annotated[int, typer.Option(help="Epochs at 224 x 224.")] = 400,
    epochs: Annotated[int, typer.Option(help="Further epochs at 512 x 512.")] = 80,
    jobs: Annotated[int, typer.Option(help="Folds that train at the same time.")] = 2,
) -> None:
    """Run five-fold cross-validation at 512 x 512, scoring each fold's held-out photographs.

    Each fold trains at 224 x 224 first and continues at 512 x 512, which saves most of the time:
    with a first stride of 4 the deeper levels see nearly the scale that they learned. The weights
    of the last epoch are scored, because the best epoch is chosen on the held-out photographs.
    """
    from pipeline.evaluation.summary import summarise

    threads = max(1, (os.cpu_count() or 1) // jobs)
    common = {"dataset_dir": dataset_dir, "experiment_name": "drishti_gs_cross_validation"}

    def one(fold: int) -> tuple[Path, float]:
        small, folder = output / f"fold{fold}-224", output / f"fold{fold}"
        ids = {"fold": fold, "val_interval": 20, **common}
        train(small, ("small_images.json",), threads, epochs=small_epochs, **ids)
        network = {"strides": [4, 2, 2, 2]}
        go_on = {"pretrained": small / "model_final.pt", "warmup_epochs": 1, "lr": 0.001}
        train(folder, (), threads, epochs=epochs, **network, **go_on, **ids)
        evaluate(folder, threads, fold=fold, **network, **common)
        times = [minutes(small), minutes(folder)]
        console.print(f"fold {fold}: {times[0]:.1f} + {times[1]:.1f} min of training")
        return folder, sum(times)

    with ThreadPoolExecutor(jobs) as pool:
        folds = list(pool.map(one, range(5)))
    cases = []
    for folder, _ in folds:
        with (folder / "evaluation" / "cases.csv").open() as file:
            cases += [
                {name: number(text) for name, text in row.items()} for row in csv.DictReader(file)
            ]
    summary = summarise(cases)
    (output / "summary.json").write_text(json.dumps(summary, indent=4))
    table = Table("metric", "mean", "95 % interval", "n", title=f"{len(cases)} photographs")
    for name, column in summary["metrics"].items():
        interval = f"{column['ci_low']:.4f} to {column['ci_high']:.4f}"
        table.add_row(name, f"{column['mean']:.4f}", interval, str(column["n"]))
    console.print(table)
    total = sum(time for _, time in folds)
    console.print(f"pooled IoU {summary['pooled_iou']:.4f}; {total:.1f} min of training, {jobs=}")


@app.command()
def article(
    dataset_dir: Path,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/article"),
    epochs: Annotated[int, typer.Option(help="Epochs; the article uses 100.")] = 100,
    channels: Annotated[
        str, typer.Option(help="Widths of the networks; the default is the article's.")
    ] = "[64, 128, 256, 512, 1024]",
    recipe_epochs: Annotated[int, typer.Option(help="Epochs of our recipe.")] = 150,
    fold: int = 0,
) -> None:
    """Run the article's experiment with one fold held out, and our recipe, both at 224 x 224.

    DATASET_DIR has the union masks. As in the article, `best` is chosen on the held-out
    photographs; `last` is the last epoch.
    """
    threads = os.cpu_count() or 1
    peers = {"U-Net": "unet", "UNet++": "unet_plus_plus", "Attention U-Net": None}
    cells: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {}
    for name, overlay in peers.items():
        overlays = ("article.json", *([f"networks/{overlay}.json"] if overlay else []))
        cells[f"{name}, article's recipe"] = (overlays, {"epochs": epochs, "channels": channels})
    cells["Attention U-Net, our recipe"] = (
        ("small_images.json",),
        {"epochs": recipe_epochs, "val_interval": 10},
    )
    table = Table("network", "pooled IoU, best", "last", "epochs", "minutes")
    for name, (overlays, ids) in cells.items():
        folder = output / name.lower().replace(" ", "_").replace(",", "").replace("'", "")
        ids = {"dataset_dir": dataset_dir, "fold": fold, "experiment_name": "article", **ids}
        train(folder, overlays, threads, **ids)
        scores = [float(row["pooled_iou"]) for row in history(folder) if row["pooled_iou"]]
        best, last = f"{max(scores):.3f}", f"{scores[-1]:.3f}"
        table.add_row(name, best, last, str(len(history(folder))), f"{minutes(folder):.1f}")
    console.print(table)


def number(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None


if __name__ == "__main__":
    app()
