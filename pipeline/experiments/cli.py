"""``python -m pipeline experiment``: many trainings by one plan."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Run a plan of trainings, or search for better values.", no_args_is_help=True
)


class ClusterKind(StrEnum):
    """The kinds of clusters."""

    local = "local"
    slurm = "slurm"


PlanFile = Annotated[Path, typer.Argument(help="A plan: a JSON file.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(help="Output folder (default: runs/NAME; of a search runs/NAME-search)."),
]
Where = Annotated[ClusterKind, typer.Option(help="Where the trainings run.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        help="Trainings at a time (default: one per GPU, or 1; on Slurm all, of a search 1)."
    ),
]
Gpus = Annotated[
    int | None, typer.Option(help="GPUs per training and machine (default: 1 if there is one).")
]
Nodes = Annotated[int, typer.Option(help="Machines per training.", rich_help_panel="Slurm")]
Cpus = Annotated[
    int | None,
    typer.Option(help="CPU cores per training (default: an even share; on Slurm its default)."),
]
Memory = Annotated[
    float | None, typer.Option(help="GB per training.", rich_help_panel="Slurm", show_default=False)
]
Time = Annotated[
    int,
    typer.Option(
        help="Time limit in minutes; after it, a training is queued again and resumes.",
        rich_help_panel="Slurm",
    ),
]
Partition = Annotated[
    str | None, typer.Option(help="Where to submit.", rich_help_panel="Slurm", show_default=False)
]


@app.command()
def run(
    plan: PlanFile,
    output: Output = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the commands.")] = False,
    cluster: Where = ClusterKind.local,
    jobs: Jobs = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    nodes: Nodes = 1,
    memory: Memory = None,
    time: Time = 24 * 60,
    partition: Partition = None,
) -> None:
    """Train and evaluate each cell of PLAN that is not done yet.

    Run it again to resume.
    """
    from .jobs import Resources
    from .run import run_plan

    resources = Resources(cluster.value, jobs, gpus, nodes, cpus, memory, time, partition)
    if run_plan(plan, output=output, resources=resources, dry_run=dry_run):
        raise typer.Exit(1)


@app.command()
def search(
    plan: PlanFile,
    output: Output = None,
    cluster: Where = ClusterKind.local,
    jobs: Jobs = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    nodes: Nodes = 1,
    memory: Memory = None,
    time: Time = 24 * 60,
    partition: Partition = None,
) -> None:
    """Search for better values of the ids that `search` in PLAN names.

    Run it again to resume.
    """
    from .jobs import Resources
    from .search import search_plan

    resources = Resources(cluster.value, jobs, gpus, nodes, cpus, memory, time, partition)
    if not search_plan(plan, output=output, resources=resources):
        raise typer.Exit(1)
