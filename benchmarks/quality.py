"""Try the estimates of quality on validation cases, untouched and altered.

    python -m pipeline experiment run PLAN                 # one network, several folds
    python benchmarks/quality.py runs/PLAN data/prepared/NAME

Each training of the plan segments the validation cases of its fold, as they are and altered:
cropped, padded, darkened, blurred, with noise, and pictures also without colour. The calibration of
a case has the untouched cases of all folds but that case itself.

The table shows for each alteration the share of cases to be checked, and per region the true and
the expected Dice, and the share of cases inside their interval. Below it, the rank correlation,
and how many bad and good masks are flagged. The rows are kept in OUTPUT, so that an interrupted run
goes on.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

BAD, WORSE = 0.8, 0.5


def main(
    plan: Annotated[Path, typer.Argument(help="Folder of a finished plan of one network.")],
    dataset: Annotated[Path, typer.Argument(help="The prepared folder with datalist.json.")],
    bundle: Annotated[Path | None, typer.Option(help="Default: that of the trainings.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the rows.")] = Path("runs/quality"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="As in predict.")] = None,
    fold: Annotated[list[int] | None, typer.Option(help="Only these folds.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help='Only these alterations, such as "crop 3".')
    ] = None,
    scales: Annotated[
        bool, typer.Option("--scales", help="After a run without: also at the bundle's scales.")
    ] = False,
) -> None:
    from pipeline.bundle.predictor import Predictor
    from pipeline.bundle.quality import Calibration
    from pipeline.prediction.bundle import read_model

    cases = json.loads((dataset / "datalist.json").read_text())["training"]
    rows: list[dict] = []
    folder = output / "scales" if scales else output
    for training in sorted(plan.glob("*-fold*-seed*/training")):
        config = json.loads((training / "config.json").read_text())
        if fold and config["fold"] not in fold:
            continue
        path = folder / f"{training.parent.name}.csv"
        regions, pair = list(config["regions"]), config.get("vertical_cdr") or []
        if not path.is_file():
            model = read_model(bundle, checkpoint=training / "model_final.pt", overrides=set_ or [])
            calibration = None
            if scales:  # from the other folds
                known = [each for each in output.glob("*.csv") if each.name != path.name]
                calibration = Calibration(untouched(known), regions, pair)
            predictor = Predictor(model.config, model.weights, calibration=calibration)
            mine = [case for case in cases if case["fold"] == config["fold"]]
            found = list(measure(predictor, mine, dataset, model, only=only))
            write(path, found)
        rows += [{**row, "fold": config["fold"]} for row in read(path)]
    show(rows, untouched(output.glob("*.csv")), regions, pair)


def measure(predictor, cases, dataset: Path, model, *, only: list[str] | None) -> Iterator[dict]:
    """Rows of features and metrics of each case and alteration."""
    from rich.progress import track

    from pipeline.evaluation.metrics import case_metrics, vertical_cdr, vertical_cdr_error

    with TemporaryDirectory() as folder:
        for case in track(cases, "segmenting"):
            image, label, affine = load(dataset, case)
            for name, picture, truth in alter(image, label):
                if only and name not in only:
                    continue
                path = save(Path(folder, "case"), picture, affine)
                answer = predictor.segment(str(path))
                sides = [
                    np.stack([np.isin(each, values) for values in predictor.regions.values])
                    for each in (answer.mask, truth)
                ]
                spacing = np.linalg.norm(affine[:3, :3], axis=0) if affine is not None else (1, 1)
                row = {"case": Path(str(case["image"])).name, "alteration": name}
                row |= answer.features
                row |= case_metrics(*sides, predictor.regions.names, tuple(map(float, spacing)))
                if pair := model.config.get("vertical_cdr"):
                    index = [predictor.regions.names.index(each) for each in pair]
                    ratios = [vertical_cdr(*side[index], axis=0) for side in sides]
                    row["vertical_cdr/absolute_error"] = vertical_cdr_error(*ratios)
                yield row


def load(dataset: Path, case: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Image and label as arrays, with the affine of a volume."""
    paths = [dataset / case[key] for key in ("image", "label")]
    if paths[0].suffix == ".gz":
        import nibabel

        image, label = map(nibabel.load, paths)
        return image.get_fdata(dtype=np.float32), np.asarray(label.dataobj), image.affine
    from PIL import Image

    image, label = map(Image.open, paths)
    return np.asarray(image.convert("RGB")), np.asarray(label), None


def save(stem: Path, image: np.ndarray, affine: np.ndarray | None) -> Path:
    if affine is None:
        from PIL import Image

        Image.fromarray(image).save(path := stem.with_suffix(".png"), compress_level=0)
    else:
        import nibabel

        nibabel.save(nibabel.Nifti1Image(image, affine), path := stem.with_suffix(".nii"))
    return path


def alter(image: np.ndarray, label: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The case as it is, then altered in ways that a new camera or scanner may differ."""
    yield "untouched", image, label
    from scipy.ndimage import gaussian_filter

    axes, dims = label.ndim, label.shape
    middle = [float(np.mean(each)) for each in np.nonzero(label)] or [n / 2 for n in dims]
    for scale in (1.5, 2.0, 3.0, 5.0) if axes == 2 else (1.3, 1.6):
        part = []
        for centre, size in zip(middle, dims, strict=True):
            length = max(8, round(size / scale))
            start = int(np.clip(centre - length / 2, 0, max(size - length, 0)))
            part.append(slice(start, start + length))
        yield f"crop {scale:g}", image[tuple(part)], label[tuple(part)]
    for scale in (1.5, 2.0, 3.3) if axes == 2 else (1.5,):
        margins = [(round(n * (scale - 1) / 2),) * 2 for n in dims]
        none = [(0, 0)] * (image.ndim - axes)
        yield f"pad {scale:g}", np.pad(image, margins + none), np.pad(label, margins)
    top = float(np.percentile(image, 99.5))

    def same(values: np.ndarray) -> np.ndarray:
        return np.clip(values, 0, 255).astype(np.uint8) if image.dtype == np.uint8 else values

    noise = np.random.default_rng(0).normal(0, 1, image.shape).astype(np.float32)
    for share in (0.1, 0.3):
        yield f"noise {share:g}", same(image + share * top * noise), label
    for part in (1 / 200, 1 / 50):
        sigmas = [max(part * min(dims), 0.7)] * axes + [0] * (image.ndim - axes)
        yield f"blur {part:g}", same(gaussian_filter(image.astype(np.float32), sigmas)), label
    yield "dark 0.25", same(image * 0.25), label
    if axes == 2:
        grey = image.mean(axis=2, keepdims=True)
        yield "grey", same(np.repeat(grey, 3, axis=2)), label
        yield "no red", same(image * np.array([0, 1, 1])), label


def write(path: Path, rows: list[dict]) -> None:
    from pipeline.files import write_rows

    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, rows)


def read(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return [
            {
                key: value if key in ("case", "alteration") else float(value or math.nan)
                for key, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


def untouched(files: Iterable[Path]) -> list[dict]:
    """The rows of the unaltered cases, which are those of a calibration."""
    rows = [row for each in files for row in read(each) if row["alteration"] == "untouched"]
    if not rows:
        raise SystemExit("a calibration needs unaltered cases: run without --only and --scales")
    return rows


def show(rows: list[dict], base: list[dict], regions: list[str], pair: list[str]) -> None:
    """Print the tables of ``rows``, whose calibration is ``base``."""
    from pipeline.bundle.quality import Calibration
    from pipeline.evaluation.quality import rank_correlation

    found = []
    for row in rows:
        others = [each for each in base if each["case"] != row["case"]]
        sizes = {name: row[f"found/{name}"] for name in regions}
        found.append(Calibration(others, regions, pair).estimate(row, {"area_px": sizes}))
    true = {name: np.array([row[f"dice/{name}"] for row in rows]) for name in regions}
    dice = {
        key: {name: np.array([e["dice"][name][key] for e in found]) for name in regions}
        for key in ("expected", "low", "high")
    }
    check = np.array([each["check"] for each in found])
    kind = np.array([row["alteration"] for row in rows])
    console = Console(width=150)
    table = Table(title=f"{len(base)} cases", title_justify="left")
    for head in ("", "to check", *(f"{n}: {w}" for n in regions for w in ("Dice", "exp.", "in"))):
        table.add_column(head, justify="right")
    for name in dict.fromkeys(kind):
        own = kind == name
        cells = [f"{check[own].mean():.0%}"]
        for region in regions:
            d, e, low, high = (
                each[region][own] for each in (true, dice["expected"], dice["low"], dice["high"])
            )
            inside = ((low <= d) & (d <= high)).mean()
            cells += [f"{d.mean():.3f}", f"{e.mean():.3f}", f"{inside:.0%}"]
        table.add_row(name, *cells)
    console.print(table)
    worst = np.min(list(true.values()), axis=0)
    for title, own in (("untouched", kind == "untouched"), ("all", kind == kind)):
        ranks = [rank_correlation(dice["expected"][n][own], true[n][own]) or 0 for n in regions]
        bad, worse = own & (worst < BAD), own & (worst < WORSE)
        console.print(
            f"{title}: rank correlation {', '.join(f'{each:.2f}' for each in ranks)}; "
            f"flagged {check[bad].sum()} of {bad.sum()} below {BAD}, "
            f"{check[worse].sum()} of {worse.sum()} below {WORSE}, "
            f"{check[own & ~bad].sum()} of {(own & ~bad).sum()} others"
        )


if __name__ == "__main__":
    typer.run(main)
