"""The same images under every network, from the masks that their evaluations kept."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.masks import read_mask
from .evaluations import Evaluation, fetch
from .statistics import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


def chosen_cases(found: Results) -> dict[str, str]:
    """The worst, the median and the best case of the baseline, by mean Dice over the structures."""
    table = found.tables[found.baseline]
    score = table[[f"dice/{region}" for region in found.regions]].mean(axis=1)
    order = score.sort_values(kind="stable").index
    ranks = {"Worst": 0, "Median": (len(order) - 1) // 2, "Best": len(order) - 1}
    if len(order) < 3:
        del ranks["Median"]
    if len(order) < 2:
        del ranks["Best"]
    return {rank: order[place] for rank, place in ranks.items()}


def pictures(
    client: MlflowClient, found: Results, evaluations: Sequence[Evaluation], folder: Path
) -> tuple[Figure | None, list[str]]:
    """The figure of the chosen cases, and what there is to say about it.

    Args:
        client: of the store that keeps the predictions.
        found: names the networks in order.
        evaluations: in the order of folds and seeds; the first that holds a case is shown.
        folder: takes files from a remote store.
    """
    from ..evaluation.figures.photographs import comparison_figure

    values = next(
        (e.summary["label_values"] for e in evaluations if "label_values" in e.summary), 0
    )
    if not values:
        return None, ["No picture of the masks: the evaluations did not keep their predictions."]
    photographs, truths, titles, notes = [], [], [], []
    shown: dict[str, list[np.ndarray]] = {network: [] for network in found.tables}
    dice: dict[str, list[list[float]]] = {network: [] for network in found.tables}
    for rank, case in chosen_cases(found).items():
        first = {each.network: each for each in reversed(evaluations) if case in each.cases.index}
        masks = {name: prediction(client, first[name], case, values, folder) for name in shown}
        if lost := [name for name, mask in masks.items() if mask is None]:
            notes.append(f"{case} is not drawn: {', '.join(lost)} kept no prediction of it.")
            continue
        photograph, truth, predicted, said = view(first[found.baseline], case, masks, values)
        notes += said
        photographs.append(photograph)
        truths.append(truth)
        titles.append(f"{rank}: {case}")
        for name in shown:
            shown[name].append(predicted[name])
            row = first[name].cases.loc[case]
            dice[name].append([float(row[f"dice/{region}"]) for region in values])
    if not photographs:
        return None, notes
    cells = {each.cell for each in evaluations}
    rule = (
        f"The cases where {found.baseline} is worst, median and best by mean Dice over the "
        "structures; solid is predicted, dashed the expert's. Dice is the whole case's."
    )
    if len(cells) > 1:
        rule += " Where a case has several evaluations, that of the first fold and seed is shown."
    figure = comparison_figure(
        photographs, truths, shown, regions=list(values), titles=titles, dice=dice
    )
    return figure, [rule, *notes]


def prediction(
    client: MlflowClient,
    evaluation: Evaluation,
    case: str,
    values: dict[str, list[int]],
    folder: Path,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Masks ``(R, *spatial)`` and affine that an evaluation kept of a case, if it did."""
    for suffix in (".png", ".nii.gz"):
        path = fetch(client, evaluation.run, f"predictions/{case}{suffix}", folder)
        if path is not None:
            return read_mask(path, list(values.values()))
    return None


def view(
    evaluation: Evaluation,
    case: str,
    masks: dict[str, tuple[np.ndarray, np.ndarray]],
    values: dict[str, list[int]],
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray], list[str]]:
    """Picture ``(H, W, 3)``, truth and predictions ``(R, H, W)`` of a case, with what is missing.

    Of a volume it is the slice with the largest truth.
    """
    from ..evaluation.figures.display import case_view

    notes = []
    row = evaluation.cases.loc[case]
    image, label = (str(row.get(key) or "") for key in ("image", "label"))
    grid = next(iter(masks.values()))[0].shape
    affine = next(iter(masks.values()))[1]
    every = np.concatenate([mask for mask, _ in masks.values()])
    truth = np.zeros(grid, dtype=bool)
    known = Path(label).is_file()
    if known:
        found, _ = read_mask(label, list(values.values()))
        known = found.shape == grid
        truth = found if known else truth
    if not known:
        notes.append(f"The expert's mask of {case} is not at hand at {label or 'any path'}.")
    try:
        if not Path(image).is_file():
            raise FileNotFoundError
        picture, predicted, true = case_view(image, every, truth, affine=affine)
    except (OSError, RuntimeError, ValueError):
        notes.append(
            f"The image of {case} is not at hand at {image or 'any path'}: outlines on black."
        )
        picture, predicted, true = case_view(None, every, truth, affine=affine)
    split = predicted.reshape(len(masks), -1, *predicted.shape[1:])
    return picture, true if known else None, dict(zip(masks, split, strict=True)), notes


def attention_maps(
    client: MlflowClient, found: Results, evaluations: Sequence[Evaluation], *, folder: Path
) -> dict[str, Path]:
    """The picture of its attention that each network's first evaluation has, if any."""
    maps = {}
    for network in found.tables:
        first = next(each for each in evaluations if each.network == network)
        path = fetch(client, first.run, "figures/attention.png", folder)
        if path is not None:
            maps[network] = path
    return maps


def copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
