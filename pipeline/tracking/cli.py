"""The commands ``python -m pipeline runs ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Deliver, tidy and repeat runs that MLflow records.")

TrackingUri = Annotated[str | None, typer.Option(help="MLflow store (default: that of the runs).")]
# Of the commands that read one.
Store = Annotated[
    str, typer.Option(help="MLflow store (default: MLFLOW_TRACKING_URI, or MLflow's own).")
]


@app.command()
def sync(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs, or folders that contain them.")
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Send MLflow the missing records of the runs in FOLDERS (default: runs)."""
    from .journal import find_journals
    from .store import tell_error, without_password
    from .sync import deliver_journal

    folders = folders or [Path("runs")]
    paths = find_journals(folders)
    if not paths:
        raise ValueError(
            f"{', '.join(map(str, folders))}: there is no recorded run; give its folder."
        )
    failed = 0
    for path in paths:
        folder = path.parent.parent
        try:
            uri, run_id, busy = deliver_journal(path, tracking_uri)
        except Exception as error:  # of one run; the others are delivered
            failed += 1
            _say(f"{folder}: not delivered: {tell_error(error)}", style="red")
            continue
        state = "its training delivers it now" if busy else "complete"
        _say(f"{folder}: run {run_id} at {without_password(uri)}: {state}")
    if failed:
        raise ValueError(f"{failed} of {len(paths)} runs were not delivered, see above.")


@app.command()
def tidy(
    experiment: Annotated[str | None, typer.Option(help="Tidy only this experiment.")] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="Mark this run, wherever it ran, because you know that it is dead."),
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Mark runs as KILLED that say RUNNING although their process on this machine has ended."""
    from .store import connect, without_password
    from .tidy import mark_dead_runs, mark_killed

    client = connect(tracking_uri)
    if run:
        marked = [client.get_run(run_id) for run_id in run]
        for each in marked:
            if each.info.status != "RUNNING":
                raise ValueError(f"run {each.info.run_id}: it is {each.info.status}, not RUNNING.")
            mark_killed(client, each, "marked by hand")
    else:
        experiments = [
            each for each in client.search_experiments() if experiment in (None, each.name)
        ]
        if not experiments:
            store = without_password(client.tracking_uri)
            raise ValueError(f"experiment {experiment}: {store} has no experiment of that name.")
        marked = mark_dead_runs(client, [each.experiment_id for each in experiments])
    for each in marked:
        _say(f"{each.info.run_name} ({each.info.run_id}): KILLED")
    _say(f"{len(marked)} marked")


@app.command()
def rerun(
    run_id: str,
    output: Annotated[Path | None, typer.Option(help="Output folder of the new run.")] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Repeat the training RUN_ID from its MLflow record, and show both results."""
    from rich.table import Table

    from .rerun import prepare_rerun, run_command
    from .store import connect

    client = connect(tracking_uri)
    first = client.get_run(run_id)
    output = output or Path("runs") / f"rerun-{run_id[:8]}"
    command, folder, differences = prepare_rerun(client, first, output)
    for line in differences:
        _say(f"not as before: {line}", style="yellow")
    status = run_command(command, folder, client.tracking_uri)
    if status:
        raise typer.Exit(status)
    latest = client.search_runs([first.info.experiment_id], max_results=1000)
    place = str(output.resolve())
    found = (run for run in latest if run.data.tags.get("pipeline.output_dir") == place)
    second = next(found, None)
    if second is None:
        raise ValueError(f"output {output}: the store has no run of this folder; see its log.")
    table = Table("metric", "first", "rerun")
    for name, value in first.data.metrics.items():
        if name.startswith(("train/loss", "val/", "best/")):
            table.add_row(
                name, f"{value:.6f}", f"{second.data.metrics.get(name, float('nan')):.6f}"
            )
    _say(table)


def _say(what: Any, style: str | None = None) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(what, style=style, highlight=False, markup=False)
