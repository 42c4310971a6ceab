"""Find the evaluations to compare in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import InputError, suggestion
from ..tracking.delivery import PARENT_TAG
from ..tracking.store import tell_error, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KIND, TRAINING = "pipeline.kind", "pipeline.training_run_id"


def find_evaluations(
    client: MlflowClient,
    *,
    experiment: str = "",
    runs: Sequence[str] = (),
    query: str = "",
    parent: str = "",
) -> tuple[list[Run], list[str]]:
    """Find finished evaluation runs.

    The name of an experiment, a ``query`` in MLflow's syntax and the id of a parent run narrow
    each other; the ids in ``runs`` are added. A training or a parent run stands for its
    evaluations, unless the search finds evaluations themselves.

    Returns:
        The runs, and a line for each run that was left out.

    Raises:
        InputError: something that was named does not exist, or no evaluation was found.
    """
    asked = {"experiment": experiment, "run": list(runs), "filter": query, "parent": parent}
    if not any(asked.values()):
        raise InputError("nothing to compare: give --experiment, --parent, --filter or --run")
    store = without_password(client.tracking_uri)
    names = {each.experiment_id: each.name for each in read_pages(client.search_experiments)}
    found = [get_run(client, run) for run in runs]
    if experiment or query or parent:
        within = [key for key, name in names.items() if name == experiment]
        if experiment and not within:
            near = suggestion(experiment, names.values())
            raise InputError(f"--experiment {experiment}: not an experiment at {store}; {near}")
        if parent:
            get_run(client, parent)
        below = f"tags.{PARENT_TAG} = '{parent}'" if parent else ""
        condition = " and ".join(part for part in (query, below) if part)
        matches = search_runs(client, within or list(names), condition)
        found += [run for run in matches if run.data.tags.get(KIND) == "evaluation"] or matches
    seen: dict[str, Run] = {}
    evaluations = list(find_below(client, list(names), found, seen))
    finished = [run for run in evaluations if run.info.status == "FINISHED"]
    unfinished = [run for run in evaluations if run.info.status != "FINISHED"]
    notes = [f"{describe_run(run)} is {run.info.status} and left out." for run in unfinished]
    if not finished:
        options = ", ".join(f"--{name} {value}" for name, value in asked.items() if value)
        raise InputError(
            f"{options}: no finished evaluation among the {len(seen)} runs found at {store}. "
            f"{' '.join(notes[:1])} Evaluate first, or change these options"
        )
    return finished, notes


def find_below(
    client: MlflowClient, experiments: list[str], runs: Iterable[Run], seen: dict[str, Run]
) -> Iterator[Run]:
    """Yield every evaluation among the runs and below every training and parent, once."""
    for run in runs:
        key = run.info.run_id
        if key in seen:
            continue
        seen[key] = run
        if run.data.tags.get(KIND) == "evaluation":
            yield run
            continue
        for tag in (TRAINING, PARENT_TAG):
            below = search_runs(client, experiments, f"tags.{tag} = '{key}'")
            yield from find_below(client, experiments, below, seen)


def get_run(client: MlflowClient, run_id: str) -> Run:
    with blame(f"run {run_id}"):
        return client.get_run(run_id)


def search_runs(client: MlflowClient, experiments: list[str], condition: str) -> list[Run]:
    with blame(f"--filter {condition}"):
        return read_pages(client.search_runs, experiment_ids=experiments, filter_string=condition)


@contextmanager
def blame(option: str) -> Iterator[None]:
    """Raise an error of MLflow as one that names the option."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise InputError(f"{option}: {tell_error(error, 300)}") from error


def read_pages(search: Any, **options: Any) -> list[Any]:
    """The results from all pages of a search."""
    page = search(**options)
    found = list(page)
    while page.token:
        page = search(**options, page_token=page.token)
        found += page
    return found


def describe_run(run: Run) -> str:
    return f"{run.info.run_name} ({run.info.run_id})"
