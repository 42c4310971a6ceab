"""Trained weights, wherever they are, with what was recorded and measured of them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import InputError, one_line
from ..files import read_json

RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})(?:/.*)?")
VERSION = re.compile(r"models:/([^/@]+)(?:@([^/]+)|/(\d+))")
FILES = ("model.pt", "config.json", "history.csv")
BESIDE = "take it away, or train again."


@dataclass
class Trained:
    """A training's result.

    Attributes:
        weights: the checkpoint.
        config: the merged config of the training; empty where it left none.
        best: the row of the best epoch in the training's history, as numbers.
        evaluations: summaries by section, each of exactly these weights.
        origin: where MLflow knows it from, such as ``{"mlflow_run": ID}``.
    """

    weights: Path
    config: dict[str, Any] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)


@contextmanager
def trained(source: str, *, tracking_uri: str | None = None) -> Iterator[Trained]:
    """What a source holds; what had to be fetched is there until the context ends.

    Args:
        source: path of a ``model.pt``, or of a training's folder; an MLflow run, ``runs:/ID`` or
            its id alone; a model of MLflow's registry, ``models:/NAME@champion`` or
            ``models:/NAME/VERSION``.
        tracking_uri: MLflow's store; None for its own choice.

    Raises:
        InputError: there is none.
    """
    path = Path(source)
    if path.exists() or not (RUN.fullmatch(source) or VERSION.fullmatch(source)):
        path = path / "model.pt" if path.is_dir() else path
        if not path.is_file():
            raise InputError(
                f"checkpoint {source}: there is no such file; give a model.pt, runs:/ID or "
                "models:/NAME@champion."
            )
        yield of_folder(path)
        return
    with TemporaryDirectory() as folder:
        yield of_mlflow(source, Path(folder), tracking_uri)


def of_folder(weights: Path) -> Trained:
    """A checkpoint with the files that its training and evaluations left beside it."""
    from ..files import sha256

    folder = weights.parent
    found = Trained(weights)
    if (folder / "config.json").is_file():
        found.config = read_json(folder / "config.json", BESIDE)
    if (folder / "history.csv").is_file() and weights.name == "model.pt":
        found.best = best_epoch(folder / "history.csv")
    digest = sha256(weights)
    for path in sorted(folder.glob("evaluation-*/summary.json")):
        if evaluated(path.parent) == digest:
            section = path.parent.name.removeprefix("evaluation-")
            found.evaluations[section] = read_json(path, BESIDE)
    for state in sorted((folder / "mlflow").glob("delivered-*.json")):
        if run_id := json.loads(state.read_text()).get("run_id"):
            found.origin = {"mlflow_run": run_id}
    return found


def evaluated(folder: Path) -> str | None:
    """The digest of the weights that an evaluation measured, if it was recorded."""
    from ..tracking.journal import JOURNAL

    journal = folder / JOURNAL
    lines = journal.read_text().splitlines() if journal.is_file() else []
    found = re.findall(r'"pipeline\.checkpoint_sha256": "([0-9a-f]{64})"', "\n".join(lines))
    return found[-1] if found else None


def best_epoch(history: Path) -> dict[str, float]:
    """The row of the best validation, without what is of the training alone."""
    with history.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("dice")]
    if not rows:
        return {}
    best = max(rows, key=lambda row: float(row["dice"]))
    left_out = ("loss", "lr", "seconds", "best")
    return {name: float(value) for name, value in best.items() if value and name not in left_out}


def of_mlflow(source: str, folder: Path, tracking_uri: str | None) -> Trained:
    """A run's files, and the summaries of the evaluations that name it, from MLflow."""
    import mlflow
    from mlflow.exceptions import MlflowException

    from ..tracking.store import limit_waiting

    limit_waiting()
    client = mlflow.MlflowClient(tracking_uri)
    try:
        if run := RUN.fullmatch(source):
            run_id, origin = run[1], {}
        else:
            name, alias, number = VERSION.fullmatch(source).groups()
            version = (
                client.get_model_version_by_alias(name, alias)
                if alias
                else client.get_model_version(name, number)
            )
            run_id = version.run_id
            origin = {"mlflow_model": f"{name} version {version.version}"}
        experiment = client.get_run(run_id).info.experiment_id
        there = {artifact.path for artifact in client.list_artifacts(run_id)}
        if "model.pt" not in there:
            raise InputError(f"checkpoint {source}: its run {run_id} has no artifact model.pt.")
        for file in set(FILES) & there:
            client.download_artifacts(run_id, file, str(folder))
        found = of_folder(folder / "model.pt")
        found.origin = {"mlflow_run": run_id, **origin}
        tag = "tags.`pipeline.training_run_id`"
        query = f"{tag} = '{run_id}' and attributes.status = 'FINISHED'"
        from ..files import sha256

        digest = sha256(found.weights)
        # The newest first, so that it is the one that counts for its section.
        for other in client.search_runs([experiment], query):
            section = other.data.tags.get("pipeline.section", "")
            same = other.data.tags.get("pipeline.checkpoint_sha256") == digest
            if not section or not same or section in found.evaluations:
                continue
            if "summary.json" in {each.path for each in client.list_artifacts(other.info.run_id)}:
                target = folder / section
                target.mkdir()
                path = client.download_artifacts(other.info.run_id, "summary.json", str(target))
                found.evaluations[section] = json.loads(Path(path).read_text())
    except MlflowException as error:
        reason = one_line(error, 200)
        raise InputError(f"checkpoint {source}: {reason}; give what MLflow holds.") from None
    return found
