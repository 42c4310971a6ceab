"""Compare evaluations that MLflow holds: from a query to a report."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..errors import InputError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from .evaluations import Evaluation
    from .report import Picture, Section
    from .statistics import Results

log = logging.getLogger(__name__)
CURVE = "val/dice"


def compare(
    output: str | Path,
    *,
    experiment: str = "",
    runs: Sequence[str] = (),
    query: str = "",
    parent: str = "",
    by: str = "pipeline.network",
    baseline: str = "",
    common: bool = False,
    overwrite: bool = False,
    tracking_uri: str = "",
) -> Path:
    """Compare the evaluations of a query and write the report into ``output``.

    No network is run: all numbers come from the evaluations' ``cases.csv``, all pictures from
    what they kept. The report goes to the parent run too, as ``comparison/``, if there is one.

    Args:
        output: folder to make.
        experiment, runs, query, parent: what is compared, see :func:`find_evaluations`.
        by: tag or parameter whose values are compared.
        baseline: one of these values; by default ``unet`` or else the first.
        common: compare over the folds, seeds and cases that all share.
        overwrite: replace a report in ``output``.
        tracking_uri: MLflow store, by default MLflow's own.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: what was asked for is not there, or not comparable.
        FileExistsError: ``output`` has content and ``overwrite`` is off.
    """
    from ..files import new_folder
    from ..tracking.store import connect
    from .checks import cell_order, comparable
    from .evaluations import find_evaluations, read_evaluations
    from .statistics import results

    with new_folder(output, overwrite=overwrite) as stage, TemporaryDirectory() as scratch:
        client = connect(tracking_uri)
        asked = {"experiment": experiment, "runs": runs, "query": query, "parent": parent}
        found, notes = find_evaluations(client, **asked)
        evaluations = read_evaluations(client, found, by=by, folder=Path(scratch))
        evaluations, said = comparable(evaluations, common=common)
        evaluations.sort(key=lambda each: (each.network, cell_order(each.cell)))
        names = sorted({each.network for each in evaluations})
        if baseline and baseline not in names:
            raise InputError(f"--baseline {baseline}: the evaluations are of {', '.join(names)}")
        baseline = baseline or ("unet" if "unet" in names else names[0])
        per_case = results(evaluations, baseline=baseline)
        write(client, per_case, evaluations, [*notes, *said], stage, Path(scratch))
        target = parent or parent_of(evaluations)
        if target:
            attach(client, target, stage)
    return Path(output) / "report.html"


def write(
    client: MlflowClient,
    found: Results,
    evaluations: Sequence[Evaluation],
    notes: Sequence[str],
    folder: Path,
    scratch: Path,
) -> None:
    """All of the report into ``folder``."""
    from . import statistics as statistics
    from . import tables as tables
    from .checks import repeats
    from .figures import box_plots, size_figure
    from .report import Section, write_cases, write_report

    first = evaluations[0]
    units = first.summary.get("units", {})
    small = statistics.size_records(found)
    metrics = statistics.metric_records(found)
    differences = statistics.difference_records(found)
    boxes = Section("Every case", pictures=[draw(folder, "cases", box_plots(found, units=units))])
    boxes.pictures[0].notes = ["Box: quartiles and median; whiskers: 1.5 times their distance."]
    sizes = Section("Small structures", table=tables.size_table(found, small))
    if figure := size_figure(found):
        note = "Each line joins the means of the smallest, middle and largest third."
        sizes.pictures = [draw(folder, "small_structures", figure, [note])]
    else:
        sizes.notes = ["The evaluations did not record the true sizes: evaluate again."]
    if not small and sizes.pictures:
        sizes.notes = ["Less than nine cases have the structure: too few for thirds."]
        sizes.pictures[0].notes = []
    numbers = tables.metric_table(found, metrics, units)
    pairs = tables.difference_table(found, differences, units)
    cost, runs = tables.footprint_table(found, evaluations), tables.run_table(evaluations)
    sections = [
        Section(numbers.title, numbers),
        Section(pairs.title, pairs) if pairs else None,
        masks(client, found, evaluations, folder, scratch),
        boxes,
        sizes,
        Section(cost.title, cost),
        curves(client, found, evaluations, folder),
        attention(client, found, evaluations, folder, scratch),
        Section(runs.title, runs),
    ]
    low, high = repeats(evaluations)
    times = str(low) if low == high else f"{low} to {high}"
    averaged = f" Each is first averaged over its {times} evaluations (folds, seeds) of a network."
    summary = [
        f"{len(found.cases)} cases ({first.tag('section') or 'unknown'} section of "
        f"{first.tag('bundle') or 'an unknown bundle'}), {len(evaluations)} evaluations. "
        f"A case is the unit of all statistics.{averaged if high > 1 else ''}",
        *notes,
    ]
    title = f"Comparison of {', '.join(found.tables)}"
    write_report(folder, title=title, summary=summary, sections=[s for s in sections if s])
    write_cases(folder / "tables" / "cases.csv", found)


def masks(
    client: MlflowClient,
    found: Results,
    evaluations: Sequence[Evaluation],
    folder: Path,
    scratch: Path,
) -> Section:
    """The same images under every network."""
    from .pictures import pictures
    from .report import Section

    figure, notes = pictures(client, found, evaluations, scratch)
    if figure is None:
        return Section("Images", notes=notes)
    return Section("Images", pictures=[draw(folder, "images", figure, notes)])


def curves(
    client: MlflowClient, found: Results, evaluations: Sequence[Evaluation], folder: Path
) -> Section:
    """Validation Dice by epoch, from the trainings that the evaluations name."""
    import numpy as np

    from .figures import learning_curves
    from .report import Section

    known: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    trainings = {e.training.info.run_id: e for e in evaluations if e.training}
    for network in found.tables:
        for run_id, evaluation in trainings.items():
            history = client.get_metric_history(run_id, CURVE)
            if evaluation.network == network and history:
                # What was logged last counts: a resumed training repeats an epoch.
                value = {
                    each.step: each.value for each in sorted(history, key=lambda e: e.timestamp)
                }
                steps = np.array(sorted(value))
                known.setdefault(network, []).append((steps, np.array([value[s] for s in steps])))
    notes = []
    if lacking := [name for name in found.tables if name not in known]:
        notes = [f"No learning curve of {', '.join(lacking)}: no training with {CURVE} is known."]
    if not known:
        return Section("Learning curves", notes=notes)
    rule = "Mean over folds and seeds and their range; beyond the shortest training, single ones."
    figure = learning_curves(known, metric="validation Dice")
    if max(map(len, known.values())) > 1:
        notes = [rule, *notes]
    return Section("Learning curves", pictures=[draw(folder, "learning_curves", figure, notes)])


def attention(
    client: MlflowClient,
    found: Results,
    evaluations: Sequence[Evaluation],
    folder: Path,
    scratch: Path,
) -> Section | None:
    """The attention maps that the evaluations drew; None if no network has any."""
    from .pictures import attention_maps, copy
    from .report import Picture, Section

    section = Section("Attention")
    for network, path in attention_maps(client, found, evaluations, folder=scratch).items():
        stem = "attention_" + re.sub(r"[^\w-]", "_", network)
        target = folder / "figures" / f"{stem}.png"
        while target.exists():  # of `u+a`, and this is `u.a`
            target = target.with_stem(f"{target.stem}_")
        copy(path, target)
        note = f"{network}: the case of median Dice in its first evaluation."
        section.pictures.append(Picture(f"Attention of {network}", target, [note]))
    return section if section.pictures else None


def draw(folder: Path, name: str, figure, notes: Sequence[str] = ()) -> Picture:
    """Save a figure into the report's folder."""
    from ..evaluation.figures.photographs import save_figure
    from .report import Picture

    path = folder / "figures" / f"{name}.png"
    save_figure(figure, path, dpi=150)
    return Picture(name.replace("_", " ").capitalize(), path, list(notes))


def parent_of(evaluations: Sequence[Evaluation]) -> str | None:
    """The run that all evaluations belong to, if there is one."""
    parents = {each.run.data.tags.get("mlflow.parentRunId") for each in evaluations}
    return parents.pop() if len(parents) == 1 else None


def attach(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Keep the report with the parent run too; a store that refuses it costs a warning."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_artifacts(run_id, str(folder), "comparison")
    except (MlflowException, OSError) as error:
        log.warning("the report is not attached to run %s: %s", run_id, one_line(error, None))
