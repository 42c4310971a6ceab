"""The evaluations that a comparison is about: found in MLflow and read from it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, one_line

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

KIND, TRAINING, PARENT = "pipeline.kind", "pipeline.training_run_id", "mlflow.parentRunId"


@dataclass
class Evaluation:
    """One evaluation run with its table of cases, and the training that it belongs to.

    ``fold`` and ``seed`` are a dash where they are not known, or are themselves what is compared.
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
        """Fold and seed: what every network is expected to have been trained with."""
        return self.fold, self.seed

    def tag(self, name: str) -> str | None:
        return self.run.data.tags.get(f"pipeline.{name}")

    def __str__(self) -> str:
        return f"{self.run.info.run_name} ({self.run.info.run_id})"


def find_evaluations(
    client: MlflowClient,
    *,
    experiment: str = "",
    runs: Sequence[str] = (),
    query: str = "",
    parent: str = "",
) -> tuple[list[Run], list[str]]:
    """The finished evaluation runs among what is asked for.

    ``experiment``, ``query`` and ``parent`` narrow each other; the evaluations among what they
    find are taken, or, if there are none, those of the trainings and parents found. ``runs`` come
    on top.

    Args:
        client: of the store.
        experiment: name of an experiment; all of them if empty.
        runs: ids of evaluations, of trainings, or of parents of either.
        query: in MLflow's filter syntax.
        parent: id of a parent run.

    Returns:
        The runs, and a line for what was left out.

    Raises:
        InputError: for what is not there, and where no evaluation is found.
    """
    if not (experiment or runs or query or parent):
        raise InputError("nothing to compare: give --experiment, --parent, --filter or --run")
    everywhere = {each.experiment_id: each.name for each in paged(client.search_experiments)}
    found = [get_run(client, run) for run in runs]
    wanted = list(found)
    if experiment or query or parent:
        within = [key for key, name in everywhere.items() if name == experiment]
        if experiment and not within:
            near = difflib.get_close_matches(experiment, everywhere.values(), n=1, cutoff=0.5)
            names = near or sorted(everywhere.values())
            raise InputError(
                f"experiment {experiment!r}: {client.tracking_uri} has none; it has {names}"
            )
        if parent:
            get_run(client, parent)
        below = f"tags.{PARENT} = '{parent}'" if parent else ""
        condition = " and ".join(part for part in (query, below) if part)
        asked = search(client, within or list(everywhere), condition)
        if any(run.data.tags.get(KIND) == "evaluation" for run in asked):
            asked = [run for run in asked if run.data.tags.get(KIND) == "evaluation"]
        wanted += asked
    seen: dict[str, Run] = {}
    evaluations = list(unfold(client, list(everywhere), wanted, seen))
    finished = [run for run in evaluations if run.info.status == "FINISHED"]
    notes = [
        f"{run.info.run_name} ({run.info.run_id}) is {run.info.status} and left out."
        for run in evaluations
        if run.info.status != "FINISHED"
    ]
    if not finished:
        asked = {"experiment": experiment, "run": list(runs), "filter": query, "parent": parent}
        words = ", ".join(f"--{name} {value}" for name, value in asked.items() if value)
        others = f"; {notes[0]}" if notes else ""
        raise InputError(
            f"{words}: {len(seen)} runs at {client.tracking_uri}, no finished evaluation among "
            f"them{others}; evaluate first, or ask otherwise"
        )
    return finished, notes


def unfold(
    client: MlflowClient, everywhere: list[str], runs: Iterable[Run], seen: dict[str, Run]
) -> Iterator[Run]:
    """Each evaluation itself, and the evaluations of every training and parent, once."""
    for run in runs:
        key = run.info.run_id
        if key in seen:
            continue
        seen[key] = run
        if run.data.tags.get(KIND) == "evaluation":
            yield run
            continue
        for tag in (TRAINING, PARENT):
            below = search(client, everywhere, f"tags.{tag} = '{key}'")
            yield from unfold(client, everywhere, below, seen)


def read_evaluations(
    client: MlflowClient, runs: Sequence[Run], *, by: str, folder: Path
) -> list[Evaluation]:
    """Read the tables of evaluation runs.

    Args:
        client: of the store.
        runs: of the kind evaluation.
        by: tag or parameter, of the training or else of the evaluation, that names the group.
        folder: takes files from a remote store.

    Raises:
        InputError: a run has no table of cases, or not what ``by`` names.
    """
    import pandas as pd
    from mlflow.exceptions import MlflowException

    evaluations = []
    for run in runs:
        training = None
        if key := run.data.tags.get(TRAINING):
            try:
                training = client.get_run(key)
            except MlflowException:  # deleted, or in another store
                training = None
        # What the training was given comes first: an evaluation need not repeat it.
        both = [each for each in (training, run) if each is not None]
        name = f"{run.info.run_name} ({run.info.run_id})"
        groups = [source.get(by) for r in both for source in (r.data.tags, r.data.params)]
        group = next((value for value in groups if value), None)
        if group is None:
            raise InputError(f"--by {by}: {name} has no such tag or parameter, nor its training")
        path = fetch(client, run, "cases.csv", folder)
        if path is None:
            raise InputError(f"{name} has no artifact cases.csv: evaluate again, or leave it out")
        # Only an empty field is undefined: a case may be called NA.
        table = pd.read_csv(
            path,
            dtype={"case": str, "image": str, "label": str},
            keep_default_na=False,
            na_values={},
        )
        if "case" not in table:
            raise InputError(f"{name}: its cases.csv has no column case; evaluate again")
        text = [column for column in ("case", "image", "label") if column in table]
        numbers = table.columns.difference(text)
        table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
        twice = table["case"][table["case"].duplicated()]
        if len(twice):
            raise InputError(f"{name}: the case {twice.iloc[0]} stands twice in its cases.csv")
        summary = fetch(client, run, "summary.json", folder)
        fold, seed = (
            next((r.data.params[key] for r in both if key in r.data.params and key != by), "-")
            for key in ("fold", "seed")
        )
        evaluations.append(
            Evaluation(
                run,
                training,
                group,
                fold,
                seed,
                table.set_index("case"),
                json.loads(summary.read_text()) if summary else {},
            )
        )
    return evaluations


def fetch(client: MlflowClient, run: Run, artifact: str, folder: Path) -> Path | None:
    """The local path of a run's artifact; None where it has none of that name."""
    from mlflow.exceptions import MlflowException

    target = folder / run.info.run_id
    target.mkdir(parents=True, exist_ok=True)
    try:
        path = Path(client.download_artifacts(run.info.run_id, artifact, str(target)))
    except (MlflowException, OSError):
        return None
    return path if path.is_file() else None


def get_run(client: MlflowClient, run_id: str) -> Run:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        raise InputError(f"run {run_id}: {one_line(error)}") from error


def search(client: MlflowClient, experiments: list[str], condition: str) -> list[Run]:
    from mlflow.exceptions import MlflowException

    try:
        return paged(client.search_runs, experiment_ids=experiments, filter_string=condition)
    except MlflowException as error:
        raise InputError(f"--filter {condition}: {one_line(error)}") from error


def paged(method: Any, **options: Any) -> list[Any]:
    """All pages of a search."""
    page = method(**options)
    found = list(page)
    while page.token:
        page = method(**options, page_token=page.token)
        found += page
    return found
