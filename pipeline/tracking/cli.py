"""The commands ``python -m pipeline runs ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Deliver, tidy and repeat runs that MLflow records.")

TrackingUri = Annotated[
    str | None, typer.Option(help="MLflow store; without it the one that the runs were meant for.")
]


@app.command()
def sync(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Runs' folders, or folders of such.")
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Deliver to MLflow what it missed of the runs in FOLDERS, in order, each event once."""
    from rich.console import Console

    from ..errors import one_line
    from .store import without_password
    from .sync import journals
    from .sync import sync as sync_one

    folders = folders or [Path("runs")]
    paths = journals(folders)
    if not paths:
        raise ValueError(f"no run with a record in {', '.join(map(str, folders))}")
    console = Console(soft_wrap=True)
    failed = 0
    for path in paths:
        folder = path.parent.parent
        try:
            uri, run_id, busy = sync_one(path, tracking_uri)
        except Exception as error:  # of one run; the others are delivered
            failed += 1
            reason = without_password(one_line(error, None))
            console.print(f"{folder}: not delivered: {reason}", highlight=False, style="red")
            continue
        state = "its training delivers it now" if busy else "complete"
        console.print(f"{folder}: run {run_id} at {uri}: {state}", highlight=False)
    if failed:
        raise ValueError(f"{failed} of {len(paths)} runs were not delivered, see above")


@app.command()
def tidy(
    experiment: Annotated[str | None, typer.Option(help="Only this experiment.")] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="Mark this run, wherever it ran: you know that it is dead."),
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Mark runs as KILLED that say RUNNING while their process on this host is gone."""
    from rich.console import Console

    from .store import connect
    from .tidy import mark, mark_dead_runs

    client = connect(tracking_uri or "")
    if run:
        marked = [client.get_run(run_id) for run_id in run]
        for each in marked:
            if each.info.status != "RUNNING":
                raise ValueError(f"run {each.info.run_id}: it is {each.info.status}, not RUNNING")
            mark(client, each, "marked by hand")
    else:
        experiments = [
            each
            for each in client.search_experiments()
            if experiment is None or each.name == experiment
        ]
        if not experiments:
            raise ValueError(
                f"experiment {experiment}: {client.tracking_uri} has none of that name"
            )
        marked = mark_dead_runs(client, [each.experiment_id for each in experiments])
    console = Console(soft_wrap=True)
    for each in marked:
        console.print(f"{each.info.run_name} ({each.info.run_id}): KILLED", highlight=False)
    console.print(f"{len(marked)} marked")


@app.command()
def rerun(
    run_id: str,
    output: Annotated[Path | None, typer.Option(help="Folder of the new run.")] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Repeat the training RUN_ID from its MLflow record, and show both results."""
    from rich.console import Console
    from rich.table import Table

    from .rerun import prepare_rerun, run_command
    from .store import connect

    client = connect(tracking_uri or "")
    first = client.get_run(run_id)
    output = output or Path("runs") / f"rerun-{run_id[:8]}"
    command, folder, differences = prepare_rerun(client, first, output)
    console = Console(soft_wrap=True)
    for line in differences:
        console.print(f"not as before: {line}", style="yellow", highlight=False)
    status = run_command(command, folder, client.tracking_uri)
    if status:
        raise typer.Exit(status)
    latest = client.search_runs([first.info.experiment_id], max_results=1000)
    place = str(output.resolve())
    second = next(run for run in latest if run.data.tags.get("pipeline.output_dir") == place)
    table = Table("metric", "first", "rerun")
    for name, value in first.data.metrics.items():
        if name.startswith(("train/loss", "val/", "best/")):
            table.add_row(
                name, f"{value:.6f}", f"{second.data.metrics.get(name, float('nan')):.6f}"
            )
    console.print(table)
