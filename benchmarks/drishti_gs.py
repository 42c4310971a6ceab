"""Results on Drishti-GS1: cross-validation, and the article's experiment.

    python -m pipeline data prepare drishti-gs FOLDER --output data/prepared/drishti_gs
    python benchmarks/drishti_gs.py cross-validation data/prepared/drishti_gs
    python benchmarks/drishti_gs.py cross-validation data/prepared/drishti_gs \
        --variant unet --variant attention_unet --variant unet_plus_plus

    python -m pipeline data prepare drishti-gs FOLDER --output data/prepared/drishti_gs_soft \
        --rule soft
    python benchmarks/drishti_gs.py cross-validation data/prepared/drishti_gs_soft \
        --variant attention_unet --variant soft --output runs/drishti_gs_soft

    python -m pipeline data prepare drishti-gs FOLDER --output data/prepared/drishti_gs_all \
        --rule all
    python benchmarks/drishti_gs.py cross-validation data/prepared/drishti_gs_all --network-grid \
        --output runs/drishti_gs_all

    python -m pipeline data prepare drishti-gs FOLDER --output data/prepared/drishti_gs_union \
        --rule union
    python benchmarks/drishti_gs.py article data/prepared/drishti_gs_union

The last of the cross-validations follows deepdraw: the pixels that all four experts marked, and
the pooled Dice on the network's grid; its photographs are those of the training section.
Each training and evaluation is a `monai.bundle run`. To continue an interrupted benchmark, run it
again: it skips what is finished and resumes interrupted training runs.
"""

from __future__ import annotations

import csv
import itertools
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
SMALL = "small_images.json"
NETWORK_GRID = str(Path(__file__).with_name("network_grid.json"))
#: Overlays and ids of what is compared.
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "attention_unet": ((), {}),
    "unet": (("networks/unet.json",), {}),
    "unet_plus_plus": (("networks/unet_plus_plus.json",), {}),
    "soft": ((), {"soft_labels": True}),
    "open_gates": ((), {"network_def#gate_bias": 3.0}),
}
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


def evaluate(
    folder: Path, configs: tuple[str, ...], name: str, threads: int, **ids: object
) -> None:
    """Evaluate the weights of the last epoch."""
    out = folder / name
    if not (out / "summary.json").exists():
        ids = {"ckpt_path": folder / "model_final.pt", "output_dir": out, **ids}
        bundle_run(configs, folder / f"{name}.log", threads, **ids)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def minutes(folder: Path) -> float:
    return sum(float(row["seconds"]) for row in history(folder)) / 60


@app.command("cross-validation")
def cross_validation(
    dataset_dir: Path,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/drishti_gs"),
    variant: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(VARIANTS)}; may be repeated, the first is the baseline."),
    ] = None,
    small_epochs: Annotated[int, typer.Option(help="Epochs at 224 x 224.")] = 400,
    epochs: Annotated[int, typer.Option(help="Further epochs at 512 x 512.")] = 80,
    folds: Annotated[int, typer.Option(help="How many of the five folds.")] = 5,
    network_grid: Annotated[
        bool, typer.Option(help="Score on the network's grid, not on the photograph's own.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="Folds that train at the same time.")] = 2,
) -> None:
    """Run cross-validation at 512 x 512, scoring each fold's held-out photographs.

    Each fold trains at 224 x 224 first and continues at 512 x 512, which saves most of the time:
    with a first stride of 4 the deeper levels see nearly the scale that they learned. UNet++ has
    no other strides than 2. The weights of the last epoch are scored after both parts, because the
    best epoch is chosen on the held-out photographs. All variants see the same photographs, so
    the tests are paired.
    """
    names = variant or ["attention_unet"]
    if unknown := [name for name in names if name not in VARIANTS]:
        raise SystemExit(f"--variant {unknown[0]}: give {', '.join(VARIANTS)}")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    common = {"dataset_dir": dataset_dir, "experiment_name": "drishti_gs_cross_validation"}
    scored, grid = ("evaluation", ()) if not network_grid else ("network_grid", (NETWORK_GRID,))

    def one(name: str, fold: int) -> None:
        overlays, own = VARIANTS[name]
        small, folder = (output / name / f"fold{fold}{part}" for part in ("-224", ""))
        ids = {"fold": fold, "val_interval": 20, **common, **own}
        train(small, (SMALL, *overlays), threads, epochs=small_epochs, **ids)
        network = {} if name == "unet_plus_plus" else {"strides": [4, 2, 2, 2]}
        go_on = {"pretrained": small / "model_final.pt", "warmup_epochs": 1, "lr": 0.001}
        train(folder, overlays, threads, epochs=epochs, **network, **go_on, **ids)
        ids = {"fold": fold, **common, **own}
        evaluate(small, (SMALL, *overlays, "evaluate.json", *grid), scored, threads, **ids)
        evaluate(folder, (*overlays, "evaluate.json", *grid), scored, threads, **network, **ids)
        times = minutes(small), minutes(folder)
        console.print(f"{name}, fold {fold}: {times[0]:.1f} + {times[1]:.1f} min of training")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda cell: one(*cell), itertools.product(names, range(folds))))
    text = []
    for size, part in ((224, "-224"), (512, "")):
        places = {name: [output / name / f"fold{n}{part}" for n in range(folds)] for name in names}
        text += [f"# {size} x {size} px", *make_tables(places, scored)]
    (output / f"{scored}.md").write_text("\n\n".join(text) + "\n")
    print("\n\n".join(text))


def make_tables(places: dict[str, list[Path]], scored: str) -> list[str]:
    """The tables of metrics and of paired differences, from the runs of each variant."""
    import pandas as pd

    from pipeline.comparison.case_tables import CaseTables
    from pipeline.comparison.evaluations import read_cases
    from pipeline.comparison.tables import make_difference_table, make_metric_table
    from pipeline.comparison.writers import to_markdown

    tables = {}
    for name, folders in places.items():
        cases = [read_cases(folder / scored / "cases.csv", str(folder)) for folder in folders]
        tables[name] = pd.concat(cases).select_dtypes("number").sort_index()
    found = CaseTables(tables)
    units = json.loads((folders[0] / scored / "summary.json").read_text())["units"]
    made = make_metric_table(found, units), make_difference_table(found, units)
    return [to_markdown(table) for table in made if table]


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


if __name__ == "__main__":
    app()
