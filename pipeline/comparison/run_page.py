"""One page of one training: its curves, what its evaluations found, and what comes next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.trained import BEST, BUNDLE, CONFIG, HISTORY, SUMMARY, read_history
from ..errors import InputError
from ..evaluation.figures.panels import save_figure, style_axes
from ..evaluation.figures.volumes import READING
from ..evaluation.metrics import as_words, find_metric
from ..files import read_json
from ..folders import new_folder
from .entries import Entry, Table, find_digits, format_number, label_metric
from .report import Picture, Section, write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = "Lines of the loss and of the validation's Dice by epoch"
_RULE = (
    "An arrow says what is better. The interval is that of the mean (BCa bootstrap; of fewer than "
    "ten cases Student's t). Every case is a row of {}."
)
#: What an evaluation's figures show, by name.
_FIGURES = {
    "worst_median_best": (
        "The cases with the worst, the median and the best mean Dice over the structures. Solid "
        "lines are predicted, dashed lines the expert's."
    ),
    "attention": f"The case with the median Dice. {READING}",
}


def make_page(run: Path, *, overwrite: bool = False) -> Path:
    """Write ``report/report.html`` into the folder of a training, from what is there.

    Returns:
        The path of the page.

    Raises:
        InputError: it is not the folder of a training.
        FileExistsError: there is a page already, and ``overwrite`` is off.
    """
    for name in (HISTORY, CONFIG):
        if not (run / name).is_file():
            raise InputError(f"{run}: it has no {name}; give the folder of a training.")
    config, history = read_json(run / CONFIG), read_history(run)
    summaries = {path.parent: read_json(path) for path in sorted(run.glob(f"*/{SUMMARY}"))}
    seconds = sum(float(row["seconds"]) for row in history)
    network = str(config["network_def"]["_target_"]).split(".")[-1]
    summary = [f"{network}, {len(history)} epochs in {seconds / 60:.1f} minutes, in {run}."]
    page = run / "report"
    with new_folder(page, overwrite=overwrite) as stage:
        curves = stage / "figures" / "curves.png"
        curves.parent.mkdir()
        save_figure(plot_curves(history), curves, dpi=150)
        sections = [
            *(section for each in summaries.items() for section in show_evaluation(*each, stage)),
            Section("Learning curves", pictures=[Picture(curves, [], _CURVES)]),
            Section("What comes next", commands=list_next(run, config)),
        ]
        title = run.resolve().name
        write_report(stage, title=title, summary=summary, sections=sections, cases=[])
    return page / "report.html"


def show_evaluation(folder: Path, summary: Mapping[str, Any], stage: Path) -> list[Section]:
    """The numbers and the pictures of an evaluation, which are copied into ``stage``."""
    name = as_words(folder.name.replace("-", ", ")).capitalize()
    heads = ["Metric", "Mean", "95 % interval", "SD", "Median", "Cases"]
    rows = []
    for metric, column in summary["metrics"].items():
        if find_metric(metric).kind == "value":  # neither good nor bad
            continue
        keys = ("mean", "ci_low", "ci_high", "std", "median")
        digits = find_digits([column], keys)
        mean, low, high, *others = (format_number(column[key], digits) for key in keys)
        interval = "" if column["ci_low"] is None else f"{low} to {high}"
        texts = [label_metric(metric, summary["units"]), mean, interval, *others]
        rows.append([Entry(text) for text in (*texts, str(column["n"]))])
    title = f"{name}: {summary['n_cases']} cases"
    records = [{"metric": key, **column} for key, column in summary["metrics"].items()]
    rule = _RULE.format(folder / "cases.csv")
    table = Table(folder.name, title, heads, rows, records, [rule])
    pictures = []
    for path in sorted((folder / "figures").glob("*.png"), reverse=True):  # the cases first
        target = stage / "figures" / f"{folder.name}-{path.name}"
        shutil.copyfile(path, target)
        words = as_words(path.stem).capitalize()
        note = _FIGURES.get(path.stem, f"{words}.")
        pictures.append(Picture(target, [note], f"{words} of {name}", drawn=False))
    return [
        Section(title, [table]),
        *([Section(f"{name}: pictures", pictures=pictures)] * any(pictures)),
    ]


def plot_curves(history: Sequence[Mapping[str, str]]) -> Figure:
    """Plot the loss of the training and the Dice of the validation by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained", facecolor="white")
    wanted = (("loss", "training loss"), ("dice", "validation Dice"))
    for axes, (column, name) in zip(figure.subplots(1, 2), wanted, strict=True):
        found = [(int(row["epoch"]), float(row[column])) for row in history if row.get(column)]
        if found:  # without a validation case there is no Dice
            marker = "o" if len(found) < 30 else None
            axes.plot(*zip(*found, strict=True), marker=marker, markersize=3)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        style_axes(axes)
    return figure


def list_next(run: Path, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What one may do with a training, and the command for it, to be copied word by word."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    bundle = Path(os.path.relpath(config.get(BUNDLE, "BUNDLE")))
    images = Path(str(config["dataset_dir"])) / "images"
    images = images if images.is_dir() else Path("IMAGES")

    def pipeline(*words: object) -> str:
        return shlex.join(map(str, (python, "-m", "pipeline", *words)))

    commands = [
        (
            "Segment images, here those of the dataset: masks, sizes and a page to look at.",
            pipeline("predict", images, "--checkpoint", run, "--output", run / "predictions"),
        ),
        (
            "Package the model for MONAI Label and others.",
            pipeline(
                "package", bundle, "--checkpoint", run / BEST, "--output", run / "package.zip"
            ),
        ),
        (
            "Train and compare several networks by a plan: hours on a CPU.",
            pipeline("experiment", "run", bundle / "plans/networks.json"),
        ),
        (
            "Make a bundle for your own data: the commands for it.",
            pipeline("bundle", "--help"),
        ),
    ]
    uri = str(config.get("tracking_uri") or "")
    if config.get("log_to_mlflow") and uri.startswith("sqlite:"):
        mlflow = shlex.join((str(python), "-m", "mlflow", "ui", "--backend-store-uri", uri))
        commands.append(("See all runs in MLflow, at http://127.0.0.1:5000.", mlflow))
    return commands
