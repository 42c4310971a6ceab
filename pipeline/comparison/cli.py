"""``python -m pipeline compare`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ..errors import InputError
from ..tracking.cli import Store


def compare(
    output: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("comparison"),
    experiment: Annotated[str, typer.Option(help="Name of an MLflow experiment.")] = "",
    run: Annotated[list[str] | None, typer.Option(help="Id of a run; may be repeated.")] = None,
    query: Annotated[str, typer.Option("--filter", help="Search in MLflow's syntax.")] = "",
    parent: Annotated[str, typer.Option(help="Id of the parent of the runs.")] = "",
    by: Annotated[str, typer.Option(help="Tag or parameter to compare by.")] = "pipeline.network",
    baseline: Annotated[
        str, typer.Option(help="What the others are compared to (default: unet, or the first).")
    ] = "",
    common: Annotated[
        bool, typer.Option("--common", help="Use only the folds, seeds and cases that all share.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the report in the output folder.")
    ] = False,
    tracking_uri: Store = "",
) -> None:
    """Compare evaluations in MLflow: tables, tests and pictures on one HTML page.

    It runs no network. If the evaluations have a common parent run, the report is logged to it too.
    """
    from ..folders import new_folder
    from ..tracking.store import connect
    from .case_tables import average_cases
    from .checks import cell_order, check_comparable, count_repeats
    from .evaluations import attach_report, find_parent, read_evaluations, use_titles
    from .find import find_evaluations
    from .report import Comparison, write_report
    from .sections import make_sections

    with new_folder(output, overwrite=overwrite) as stage, TemporaryDirectory() as scratch:
        client = connect(tracking_uri)
        found, notes = find_evaluations(
            client, experiment=experiment, runs=run or [], query=query, parent=parent
        )
        evaluations = read_evaluations(client, found, by=by, folder=Path(scratch))
        evaluations, left_out = check_comparable(evaluations, common=common)
        evaluations.sort(key=lambda each: (each.network, cell_order(each.cell)))
        names = sorted({each.network for each in evaluations})
        if baseline and baseline not in names:
            raise InputError(f"--baseline {baseline}: give one of {', '.join(names)}")
        baseline = baseline or ("unet" if "unet" in names else names[0])
        first = next(each for each in evaluations if each.network == baseline)
        use_titles(evaluations)
        results = average_cases(evaluations, baseline=first.network)
        if results.absent:
            absent = f"No label of these cases holds {', '.join(results.absent)}"
            if not results.metrics:
                raise InputError(f"{absent}: there is nothing to compare; evaluate other cases")
            left_out.append(f"{absent}: it is in no table.")
        low, high = count_repeats(evaluations)
        times = str(low) if low == high else f"{low} to {high}"
        averaged = f" Each is first averaged over its {times} evaluations (folds, seeds)."
        section, bundle = (evaluations[0].tag(name) or "unknown" for name in ("section", "bundle"))
        summary = (
            f"{len(results.cases)} cases ({section} section of {bundle}), {len(evaluations)} "
            f"evaluations. A case is the unit of all statistics.{averaged if high > 1 else ''}"
        )
        write_report(
            stage,
            title=f"{'Comparison' if results.others else 'Results'} of {', '.join(results.tables)}",
            summary=[summary, *notes, *left_out],
            sections=make_sections(Comparison(client, results, evaluations, stage, Path(scratch))),
            cases=results.records(),
        )
        if target := parent or find_parent(evaluations):
            attach_report(client, target, stage)
    typer.echo(output / "report.html")


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a training, such as runs/NAME.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier page.")
    ] = False,
) -> None:
    """Show a training on one HTML page: numbers, pictures, curves and the next commands."""
    from .run_page import make_page

    typer.echo(make_page(run, overwrite=overwrite))
