"""The same images under every network, from the masks that their evaluations saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UnfitFile
from ..evaluation.cases import pick_examples
from ..evaluation.figures.display import view_case
from ..evaluation.figures.photographs import Example, draw_comparison
from ..evaluation.masks import read_regions
from ..transforms.regions import Regions
from .evaluations import Evaluation
from .report import Comparison, Section

Masks = tuple[np.ndarray, np.ndarray]  # (R, *spatial) and the affine


def show_examples(comparison: Comparison) -> Section:
    """The worst, the median and the best case of the baseline by mean Dice.

    A case is shown as in the first fold and seed that has it.
    """
    found, evaluations = comparison.results, comparison.evaluations
    kept = (each.summary["label_values"] for each in evaluations if "label_values" in each.summary)
    values: dict[str, list[int]] = next(kept, {})
    if not values:
        notes = ["There is no picture: the evaluations did not save their predictions."]
        return Section("Images", notes=notes)
    table = found.tables[found.baseline]
    score = table[[f"dice/{region}" for region in found.regions]].mean(axis=1)
    examples, notes = [], []
    for rank, case in pick_examples(score.sort_values(kind="stable").index).items():
        first = {each.network: each for each in reversed(evaluations) if case in each.cases.index}
        masks = {
            name: read_prediction(comparison, first[name], case, values) for name in found.tables
        }
        if lost := [name for name, mask in masks.items() if mask is None]:
            notes.append(f"{case} is not drawn: {', '.join(lost)} saved no prediction of it.")
            continue
        picture, truth, predicted = view_example(first[found.baseline], case, masks, values, notes)
        rows = {name: first[name].cases.loc[case] for name in masks}
        dice = {name: [row[f"dice/{region}"] for region in values] for name, row in rows.items()}
        examples.append(Example(f"{rank}: {case}", picture, truth, predicted, dice))
    if not examples:
        return Section("Images", notes=notes)
    rule = (
        f"The cases where {found.baseline} is worst, median and best by mean Dice over the "
        "structures. Solid lines are predicted, dashed lines the expert's. Dice is that of the "
        "whole case."
    )
    if len({each.cell for each in evaluations}) > 1:
        rule += " A case with several evaluations is shown from the first fold and seed."
    figure = draw_comparison(examples, regions=list(values))
    alt = "; ".join(
        f"{each.title}, mean Dice "
        + ", ".join(f"{name} {np.nanmean(dice):.3f}" for name, dice in each.dice.items())
        for each in examples
    )
    alt = f"The image, the expert's outline and those of {', '.join(found.tables)}. {alt}."
    notes = [rule, *notes]
    return Section("Images", pictures=[comparison.save("images", figure, notes, alt, drawn=False)])


def read_prediction(
    comparison: Comparison, evaluation: Evaluation, case: str, values: Mapping[str, list[int]]
) -> Masks | None:
    """The masks that an evaluation saved for a case, if it did."""
    for suffix in (".png", ".nii.gz"):
        path = comparison.download(evaluation.run, f"predictions/{case}{suffix}")
        if path is not None:
            return read_regions(path, Regions(values))
    return None


def view_example(
    evaluation: Evaluation,
    case: str,
    masks: Mapping[str, Masks],
    values: Mapping[str, list[int]],
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """Picture ``(H, W, 3)``, truth and predictions ``(R, H, W)`` of a case.

    A volume is shown at the slice with the largest truth. Missing files are added to ``notes``.
    """
    row = evaluation.cases.loc[case]
    image, label = (str(row.get(key) or "") for key in ("image", "label"))
    first, affine = next(iter(masks.values()))
    every = np.concatenate([mask for mask, _ in masks.values()])
    try:
        truth = read_regions(label, Regions(values))[0] if Path(label).is_file() else None
    except UnfitFile:  # it has changed since the evaluation
        truth = None
    known = truth is not None and truth.shape == first.shape
    if not known:
        truth = np.zeros_like(first)
        notes.append(f"The expert's mask of {case} is not available at {label or 'any path'}.")
    try:
        if not Path(image).is_file():
            raise FileNotFoundError
        picture, predicted, true = view_case(
            image, every, truth, affine=affine, window=evaluation.summary.get("window")
        )
    except (OSError, RuntimeError, ValueError):
        notes.append(
            f"The image of {case} is not available at {image or 'any path'}: outlines on black."
        )
        picture, predicted, true = view_case(None, every, truth, affine=affine)
    split = predicted.reshape(len(masks), -1, *predicted.shape[1:])
    return picture, true if known else None, dict(zip(masks, split, strict=True))
