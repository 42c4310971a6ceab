"""The sections of a comparison's report."""

from __future__ import annotations

import re
import shutil

import numpy as np

from ..evaluation.figures.quality import draw_quality
from ..evaluation.figures.volumes import READING
from ..evaluation.metrics import find_metric
from .agreement import find_measures, make_agreement_table
from .entries import Table, format_number, label_metric
from .figures import Curve, draw_box_plots, plot_learning_curves, plot_sizes
from .intervals import draw_agreement, draw_forest
from .pictures import show_examples
from .report import Comparison, Picture, Section
from .runs import make_footprint_table, make_run_table, make_setup_table
from .statistics import FEWEST
from .tables import (
    make_difference_table,
    make_metric_table,
    make_missed_table,
    make_part_table,
    make_quality_table,
    make_size_table,
)

CURVE = "val/dice"


def make_sections(comparison: Comparison) -> list[Section]:
    """Make all sections, with their figures in the folder."""
    found, evaluations = comparison.results, comparison.evaluations
    units = evaluations[0].units
    parts = [make_part_table(found, evaluations, part, units) for part in ("fold", "seed")]
    sections = [
        make_metric_table(found, units),
        show_differences(comparison),
        make_missed_table(found, evaluations),
        show_examples(comparison),
        show_cases(comparison),
        show_agreement(comparison),
        show_sizes(comparison),
        show_quality(comparison),
        make_footprint_table(found, evaluations),
        show_learning_curves(comparison),
        show_attention(comparison),
        *parts,
        make_setup_table(comparison),
        make_run_table(evaluations),
    ]
    return [
        Section(each.title, [each]) if isinstance(each, Table) else each
        for each in sections
        if each
    ]


def show_differences(comparison: Comparison) -> Section | None:
    """Each network against the baseline; None if there are no others."""
    found, units = comparison.results, comparison.evaluations[0].units
    table = make_difference_table(found, units)
    if table is None:
        return None
    notes = [
        "A line is the interval; a filled point has p < 0.05. An axis on which lower is better "
        "runs from right to left, so that the right side is the better one in all."
    ]
    figure = draw_forest(found, table.records, units)
    alt = f"Differences to {found.baseline} with their intervals. {describe_rows(table)}"
    picture = comparison.save("differences", figure, notes, alt)
    return Section(table.title, [table], [picture])


def show_cases(comparison: Comparison) -> Section:
    """Every case of every network."""
    found, units = comparison.results, comparison.evaluations[0].units
    notes = ["Box: quartiles and median; whiskers: 1.5 times their distance."]
    if found.others:
        notes.append("A grey line joins what is the same case.")
    medians = [
        f"{label_metric(metric, units)}: "
        + ", ".join(
            f"{name} {format_number(np.nanmedian(found.values(name, metric)))}"
            for name in found.tables
        )
        for metric in found.metrics
        if find_metric(metric).plotted
    ]
    alt = f"Box plots with a point for each of {len(found.cases)} cases. Medians: "
    figure = draw_box_plots(found, units=units)
    picture = comparison.save("cases", figure, notes, f"{alt}{'; '.join(medians)}.")
    return Section("Every case", pictures=[picture])


def show_agreement(comparison: Comparison) -> Section | None:
    """Bland and Altman's plots; None if nothing is measured in masks."""
    found, units = comparison.results, comparison.evaluations[0].units
    measures = find_measures(found, units)
    table = make_agreement_table(found, measures)
    if table is None:
        return None
    notes = [
        "Each point is a case. Solid line: bias; dashed lines: limits of agreement; bands: their "
        "intervals."
    ]
    alt = f"Bland-Altman plots. {describe_rows(table)}"
    picture = comparison.save("agreement", draw_agreement(measures, table.records), notes, alt)
    return Section(table.title, [table], [picture])


def show_sizes(comparison: Comparison) -> Section:
    """Dice against the true size of the structures."""
    table = make_size_table(comparison.results)
    section = Section("Small structures", [table] if table else [])
    figure = plot_sizes(comparison.results)
    if figure is None:
        section.notes = ["The evaluations did not record the true sizes: evaluate again."]
        return section
    notes = ["Each line joins the means of the smallest, middle and largest third."]
    if table is None:
        notes = [f"Fewer than {FEWEST} cases have the structure: too few for thirds."]
    alt = f"Dice of each case against the true size. {describe_rows(table) if table else ''}"
    section.pictures = [comparison.save("small_structures", figure, notes, alt.strip())]
    return section


def show_quality(comparison: Comparison) -> Section | None:
    """Whether the estimates of quality hold; None if no evaluation made any."""
    found = comparison.results
    rows = {network: table.to_dict("records") for network, table in found.tables.items()}
    table = make_quality_table(rows, found.regions)
    if table is None:
        return None
    notes = [
        "Left: points on the diagonal were estimated rightly. Right: the mean error of the cases "
        "that are kept when the least trusted are left out; lower is better."
    ]
    alt = f"True against expected Dice, and risk against coverage. {describe_rows(table)}"
    picture = comparison.save("quality", draw_quality(rows, found.regions), notes, alt)
    return Section(table.title, [table], [picture])


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
        ends = [
            f"{network} from {np.mean([y[0] for _, y in own]):.3f} at epoch {own[0][0][0]} to "
            f"{np.mean([y[-1] for _, y in own]):.3f} at epoch {own[0][0][-1]}"
            for network, own in curves.items()
        ]
        alt = f"Validation Dice by epoch: {'; '.join(ends)}."
        figure = plot_learning_curves(curves)
        section.pictures = [comparison.save("learning_curves", figure, rules, alt)]
    return section


def show_attention(comparison: Comparison) -> Section | None:
    """The attention maps that the evaluations drew; None if no network has any."""
    section = Section("Attention", notes=[READING])
    for network in comparison.results.tables:
        first = next(each for each in comparison.evaluations if each.network == network)
        path = comparison.download(first.run, "figures/attention.png")
        if path is None:
            continue
        stem = "attention_" + re.sub(r"[^\w-]", "_", network)
        target = comparison.folder / "figures" / f"{stem}.png"
        while target.exists():  # `u+a` and `u.a` have the same name
            target = target.with_stem(f"{target.stem}_")
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
        note = f"{network}: the case with the median Dice in its first evaluation."
        alt = f"The picture that {network} saw, and the map of its gates at each level beside it."
        section.pictures.append(Picture(target, [note], alt, drawn=False))
    return section if section.pictures else None


def describe_rows(table: Table) -> str:
    """What a figure of a table shows: its values as a sentence."""
    rows = []
    for first, *entries in table.rows:
        said = (f"{head} {each.main}" for head, each in zip(table.head[1:], entries, strict=True))
        rows.append(f"{first}: {', '.join(said)}")
    return "; ".join(rows) + "."
