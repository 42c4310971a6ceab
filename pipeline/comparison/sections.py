"""The sections of a comparison's report."""

from __future__ import annotations

import re
import shutil

import numpy as np

from ..evaluation.figures.quality import draw_quality
from .figures import Curve, draw_box_plots, plot_learning_curves, plot_sizes
from .pictures import show_examples
from .report import Comparison, Picture, Section
from .statistics import FEWEST
from .tables import (
    Table,
    make_difference_table,
    make_footprint_table,
    make_metric_table,
    make_quality_table,
    make_run_table,
    make_size_table,
)

CURVE = "val/dice"


def make_sections(comparison: Comparison) -> list[Section]:
    """Make all sections, with their figures and the table of all cases in the folder."""
    import pandas as pd

    found, evaluations = comparison.results, comparison.evaluations
    units = evaluations[0].units
    rule = "Box: quartiles and median; whiskers: 1.5 times their distance."
    boxes = comparison.save("cases", draw_box_plots(found, units=units), [rule])
    sections = [
        make_metric_table(found, units),
        make_difference_table(found, units),
        show_examples(comparison),
        Section("Every case", pictures=[boxes]),
        show_sizes(comparison),
        show_quality(comparison),
        make_footprint_table(found, evaluations),
        show_learning_curves(comparison),
        show_attention(comparison),
        make_run_table(evaluations),
    ]
    path = comparison.folder / "tables" / "cases.csv"
    path.parent.mkdir(exist_ok=True)
    pd.concat(found.tables, names=["network", "case"]).to_csv(path, lineterminator="\n")
    return [
        Section(each.title, each) if isinstance(each, Table) else each for each in sections if each
    ]


def show_sizes(comparison: Comparison) -> Section:
    """Dice against the true size of the structures."""
    section = Section("Small structures", make_size_table(comparison.results))
    figure = plot_sizes(comparison.results)
    if figure is None:
        section.notes = ["The evaluations did not record the true sizes: evaluate again."]
        return section
    notes = ["Each line joins the means of the smallest, middle and largest third."]
    if section.table is None:
        notes = [f"Fewer than {FEWEST} cases have the structure: too few for thirds."]
    section.pictures = [comparison.save("small_structures", figure, notes)]
    return section


def show_quality(comparison: Comparison) -> Section | None:
    """Whether the estimates of quality hold; None if no evaluation made any."""
    found = comparison.results
    rows = {network: table.to_dict("records") for network, table in found.tables.items()}
    table = make_quality_table(rows, found.regions)
    if table is None:
        return None
    rule = "Left: points on the diagonal were estimated rightly. Right: lower is better."
    figure = draw_quality(rows, found.regions)
    return Section(table.title, table, pictures=[comparison.save("quality", figure, [rule])])


def show_learning_curves(comparison: Comparison) -> Section:
    """Validation Dice by epoch, from the trainings of the evaluations."""
    trainings = {e.training.info.run_id: e.network for e in comparison.evaluations if e.training}
    networks = list(comparison.results.tables)
    curves: dict[str, list[Curve]] = {}
    for run_id in sorted(trainings, key=lambda run_id: networks.index(trainings[run_id])):
        history = comparison.client.get_metric_history(run_id, CURVE)
        # The value that was logged last counts: a resumed training repeats an epoch.
        values = {each.step: each.value for each in sorted(history, key=lambda e: e.timestamp)}
        if values:
            steps = sorted(values)
            curve = np.array(steps), np.array([values[step] for step in steps])
            curves.setdefault(trainings[run_id], []).append(curve)
    section = Section("Learning curves")
    if lacking := [name for name in networks if name not in curves]:
        section.notes = [f"{', '.join(lacking)}: no training with {CURVE} was found."]
    if curves:
        rule = "Mean and range over folds and seeds, up to the last epoch of the shortest training."
        rules = [rule] if max(map(len, curves.values())) > 1 else []
        picture = comparison.save("learning_curves", plot_learning_curves(curves), rules)
        section.pictures = [picture]
    return section


def show_attention(comparison: Comparison) -> Section | None:
    """The attention maps that the evaluations drew; None if no network has any."""
    section = Section("Attention")
    for network in comparison.results.tables:
        first = next(each for each in comparison.evaluations if each.network == network)
        path = comparison.download(first, "figures/attention.png")
        if path is None:
            continue
        stem = "attention_" + re.sub(r"[^\w-]", "_", network)
        target = comparison.folder / "figures" / f"{stem}.png"
        while target.exists():  # `u+a` and `u.a` have the same name
            target = target.with_stem(f"{target.stem}_")
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
        note = f"{network}: the case with the median Dice in its first evaluation."
        section.pictures.append(Picture(f"Attention of {network}", target, [note]))
    return section if section.pictures else None
