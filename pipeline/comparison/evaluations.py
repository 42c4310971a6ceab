"""The evaluations to compare, read from MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.trained import CASES, SUMMARY
from ..errors import InputError
from ..evaluation.summary import leave_out_absent
from ..tracking.delivery import PARENT_TAG
from ..tracking.store import tell_error
from .find import TRAINING, describe_run

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)
MEMBERS = "pipeline.members"  # how many, of an ensemble
NETWORK, TITLE = "pipeline.network", "pipeline.title"


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
    title: str = ""  # what the report calls the network, if a plan says it

    @property
    def runs(self) -> list[Run]:
        """The training, if it is known, then the evaluation."""
        return [each for each in (self.training, self.run) if each is not None]

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


def read_evaluations(
    client: MlflowClient, runs: Sequence[Run], *, by: str, folder: Path
) -> list[Evaluation]:
    """Read evaluation runs with their tables.

    The tag or parameter ``by`` of the training, or else of the evaluation, names the group;
    ``folder`` takes files from a remote store.

    Raises:
        InputError: a run has no valid table of cases, or no tag or parameter ``by``.
    """
    from mlflow.exceptions import MlflowException

    evaluations = []
    for run in runs:
        training, name = None, describe_run(run)
        if key := run.data.tags.get(TRAINING):
            with suppress(MlflowException):  # deleted, or in another store
                training = client.get_run(key)
        # The training comes first: an evaluation need not repeat its options.
        both = [each for each in (training, run) if each is not None]
        groups = [source.get(by) for r in both for source in (r.data.tags, r.data.params)]
        group = next(filter(None, groups), None)
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
        title = next((r.data.tags[TITLE] for r in both[::-1] if TITLE in r.data.tags), "")
        title = title if by == NETWORK else ""
        if members := run.data.tags.get(MEMBERS):
            group, fold, seed = f"{group}-ensemble{members}", "-", "-"
            title = title and f"{title} (ensemble of {members})"
        content = json.loads(summary.read_text()) if summary else {}
        cases = read_cases(path, name)
        evaluations.append(Evaluation(run, training, group, fold, seed, cases, content, title))
    return evaluations


def use_titles(evaluations: Sequence[Evaluation]) -> None:
    """Call each network by the title that its newest evaluation has, if it has one.

    Raises:
        InputError: two networks would have the same name.
    """
    every = sorted(evaluations, key=lambda each: each.run.info.start_time)
    titles = {each.network: each.network for each in every}
    titles |= {each.network: each.title for each in every if each.title}
    if twice := [a for a in titles if list(titles.values()).count(titles[a]) > 1]:
        raise InputError(
            f"{' and '.join(twice)} have the title {titles[twice[0]]!r}: change the tag {TITLE} of "
            "their runs in MLflow"
        )
    for each in evaluations:
        each.network = titles[each.network]


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
        raise InputError(
            f"{name}: its cases.csv has the case {repeated.iloc[0]} twice; evaluate again"
        )
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


def find_parent(evaluations: Sequence[Evaluation]) -> str | None:
    """The id of the run that all evaluations belong to, if there is one."""
    parents = {each.run.data.tags.get(PARENT_TAG) for each in evaluations}
    return parents.pop() if len(parents) == 1 else None


def attach_report(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Log the report to the parent run too; warn if the store refuses it."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_artifacts(run_id, str(folder), "comparison")
    except (MlflowException, OSError) as error:
        log.warning("the report is not attached to run %s: %s", run_id, tell_error(error))
