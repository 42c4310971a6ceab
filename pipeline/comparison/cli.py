"""``python -m pipeline compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    output: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("comparison"),
    experiment: Annotated[str, typer.Option(help="Name of an MLflow experiment.")] = "",
    run: Annotated[
        list[str] | None, typer.Option(help="Id of an MLflow run; may be given several times.")
    ] = None,
    query: Annotated[
        str,
        typer.Option(
            "--filter", help="MLflow's own filter, such as \"tags.pipeline.section = 'testing'\"."
        ),
    ] = "",
    parent: Annotated[str, typer.Option(help="Id of the run that the runs belong to.")] = "",
    by: Annotated[
        str, typer.Option(help="Tag or parameter whose values are compared.")
    ] = "pipeline.network",
    baseline: Annotated[
        str, typer.Option(help="What the others are compared to (default: unet, else the first).")
    ] = "",
    common: Annotated[
        bool, typer.Option("--common", help="Compare over the cases and folds that all share.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the report in the output folder.")
    ] = False,
    tracking_uri: Annotated[
        str, typer.Option(help="MLflow store (default: MLFLOW_TRACKING_URI, else MLflow's own).")
    ] = "",
) -> None:
    """Compare evaluations that MLflow holds: tables, tests, pictures, one HTML page."""
    from .compare import compare_evaluations

    report = compare_evaluations(
        output,
        experiment=experiment,
        runs=run or [],
        query=query,
        parent=parent,
        by=by,
        baseline=baseline,
        common=common,
        overwrite=overwrite,
        tracking_uri=tracking_uri,
    )
    typer.echo(report)
