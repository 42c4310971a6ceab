"""Find the evaluations to compare in MLflow, and read them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.trained import CASES, SUMMARY
from ..errors import InputError, one_line, suggestion
from ..evaluation.summary import leave_out_absent
from ..tracking.store import without_password

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)
MEMBERS = "pipeline.members"  # how many, of an ensemble
KIND, TRAINING, PARENT = "pipeline.kind", "pipeline.training_run_id", "mlflow.parentRunId"


@dataclass
class Evaluation:
    """An evaluation run with its table of cases, and the training that it measured.

    ``fold`` and ``seed`` are a dash if they are unknown, if they are what is compared, or of an
    ensemble.
    """

    run: Run
    training: Run | None
    network: str  # the group that is compared, by default the network's name
    fold: str
    seed: str
    cases: pd.DataFrame  # a row per case, indexed by its name
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def cell(self) -> tuple[str, str]:
        """Fold and seed; a comparison expects the same ones of every network."""
        return self.fold, self.seed

    @property
    def units(self) -> dict[str, str]:
        """The unit of each metric that has one."""
        return self.summary.get("units", {})

    @property
    def is_ensemble(self) -> bool:
        return MEMBERS in self.run.data.tags

    def tag(self, name: str) -> str | None:
        return self.run.data.tags.get(f"pipeline.{name}")

    def __str__(self) -> str:
        return describe_run(self.run)


def describe_run(run: Run) -> str:
    return f"{run.info.run_name} ({run.info.run_id})"


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
        below = f"tags.{PARENT} = '{parent}'" if parent else ""
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
        for tag in (TRAINING, PARENT):
            below = search_runs(client, experiments, f"tags.{tag} = '{key}'")
            yield from find_below(client, experiments, below, seen)


def read_evaluations(
    client: MlflowClient, runs: Sequence[Run], *, by: str, folder: Path
) -> list[Evaluation]:
    """Read evaluation runs with their tables.

    Args:
        client: of the store.
        runs: evaluations.
        by: tag or parameter of the training, or else of the evaluation, that names the group.
        folder: takes files from a remote store.

    Raises:
        InputError: a run has no valid table of cases, or no tag or parameter ``by``.
    """
    from mlflow.exceptions import MlflowException

    evaluations = []
    for run in runs:
        training, name = None, describe_run(run)
        if key := run.data.tags.get(TRAINING):
            try:
                training = client.get_run(key)
            except MlflowException:  # deleted, or in another store
                training = None
        # The training comes first: an evaluation need not repeat its options.
        both = [each for each in (training, run) if each is not None]
        groups = [source.get(by) for r in both for source in (r.data.tags, r.data.params)]
        group = next((value for value in groups if value), None)
        if group is None:
            raise InputError(
                f"--by {by}: neither {name} nor its training has this tag or parameter"
            )
        path = download_artifact(client, run, CASES, folder)
        if path is None:
            raise InputError(f"{name} has no artifact cases.csv: evaluate again, or leave it out")
        summary = download_artifact(client, run, SUMMARY, folder)
        fold, seed = (
            next((r.data.params[key] for r in both if key in r.data.params and key != by), "-")
            for key in ("fold", "seed")
        )
        if members := run.data.tags.get(MEMBERS):
            group, fold, seed = f"{group}-ensemble{members}", "-", "-"
        content = json.loads(summary.read_text()) if summary else {}
        cases = read_cases(path, name)
        evaluations.append(Evaluation(run, training, group, fold, seed, cases, content))
    return evaluations


def read_cases(path: Path, name: str) -> pd.DataFrame:
    """Read the ``cases.csv`` of the run ``name``, with numbers or nan in all columns but paths.

    Earlier evaluations measured regions that no label holds: these columns become nan here.
    """
    import pandas as pd

    text = ["case", "image", "label"]
    # Only an empty field is undefined: a case may be named NA.
    table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values={})
    if "case" not in table:
        raise InputError(f"{name}: its cases.csv has no column case; evaluate again")
    numbers = table.columns.difference(text)
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    if len(repeated := table["case"][table["case"].duplicated()]):
        raise InputError(f"{name}: its cases.csv has the case {repeated.iloc[0]} twice")
    rows = table.to_dict("records")
    leave_out_absent(rows)
    return pd.DataFrame(rows, columns=table.columns).set_index("case")


def download_artifact(client: MlflowClient, run: Run, artifact: str, folder: Path) -> Path | None:
    """The local path of a run's artifact; None if the run does not have it."""
    from mlflow.exceptions import MlflowException

    target = folder / run.info.run_id
    target.mkdir(parents=True, exist_ok=True)
    try:
        path = Path(client.download_artifacts(run.info.run_id, artifact, str(target)))
    except (MlflowException, OSError):
        return None
    return path if path.is_file() else None


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
        raise InputError(f"{option}: {without_password(one_line(error))}") from error


def read_pages(search: Any, **options: Any) -> list[Any]:
    """The results from all pages of a search."""
    page = search(**options)
    found = list(page)
    while page.token:
        page = search(**options, page_token=page.token)
        found += page
    return found


def find_parent(evaluations: Sequence[Evaluation]) -> str | None:
    """The id of the run that all evaluations belong to, if there is one."""
    parents = {each.run.data.tags.get(PARENT) for each in evaluations}
    return parents.pop() if len(parents) == 1 else None


def attach_report(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Log the report to the parent run too; warn if the store refuses it."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_artifacts(run_id, str(folder), "comparison")
    except (MlflowException, OSError) as error:
        reason = without_password(one_line(error, None))
        log.warning("the report is not attached to run %s: %s", run_id, reason)
