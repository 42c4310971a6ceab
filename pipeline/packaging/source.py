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

from ..bundle.trained import BEST, CONFIG, HISTORY, SUMMARY, find_weights, read_config
from ..errors import InputError, one_line
from ..files import read_json, sha256

RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})(?:/.*)?")
VERSION = re.compile(r"models:/([^/@]+)(?:@([^/]+)|/(\d+))")


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
def open_trained(source: str, *, tracking_uri: str | None = None) -> Iterator[Trained]:
    """What a source holds; downloaded files are kept until the context ends.

    Args:
        source: path of a ``model.pt``, or of a training's folder; an MLflow run, ``runs:/ID`` or
            its id alone; a model of MLflow's registry, ``models:/NAME@champion`` or
            ``models:/NAME/VERSION``.
        tracking_uri: MLflow's store; None for its own choice.

    Raises:
        InputError: there is no such thing.
    """
    if Path(source).exists() or not (RUN.fullmatch(source) or VERSION.fullmatch(source)):
        fix = "give a model.pt, runs:/ID or models:/NAME@champion."
        yield read_folder(find_weights(source, fix=fix))
        return
    with TemporaryDirectory() as folder:
        yield read_run(source, Path(folder), tracking_uri)


def read_folder(weights: Path) -> Trained:
    """A checkpoint with the files that its training and evaluations left beside it."""
    folder = weights.parent
    found = Trained(weights, read_config(weights))
    if (folder / HISTORY).is_file() and weights.name == BEST:
        found.best = read_best_epoch(folder / HISTORY)
    digest = sha256(weights)
    for path in sorted(folder.glob(f"evaluation-*/{SUMMARY}")):
        if measured_weights(path.parent) == digest:
            section = path.parent.name.removeprefix("evaluation-")
            found.evaluations[section] = read_json(path, "remove it, or evaluate again.")
    for state in sorted((folder / "mlflow").glob("delivered-*.json")):
        if run_id := json.loads(state.read_text()).get("run_id"):
            found.origin = {"mlflow_run": run_id}
    return found


def measured_weights(folder: Path) -> str | None:
    """The digest of the weights that an evaluation measured, if it was recorded."""
    from ..tracking.journal import JOURNAL

    journal = folder / JOURNAL
    text = journal.read_text() if journal.is_file() else ""
    found = re.findall(r'"pipeline\.checkpoint_sha256": "([0-9a-f]{64})"', text)
    return found[-1] if found else None


def read_best_epoch(history: Path) -> dict[str, float]:
    """The metrics of the best validation."""
    with history.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("dice")]
    if not rows:
        return {}
    best = max(rows, key=lambda row: float(row["dice"]))
    of_the_training = ("loss", "lr", "seconds", "best")
    return {
        name: float(value) for name, value in best.items() if value and name not in of_the_training
    }


def read_run(source: str, folder: Path, tracking_uri: str | None) -> Trained:
    """A run's files, and the summaries of the evaluations of its weights, from MLflow."""
    from mlflow.exceptions import MlflowException

    from ..tracking.store import connect

    client = connect(tracking_uri or "")
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
        if BEST not in there:
            raise InputError(f"checkpoint {source}: its run {run_id} has no artifact {BEST}.")
        for file in {BEST, CONFIG, HISTORY} & there:
            client.download_artifacts(run_id, file, str(folder))
        found = read_folder(folder / BEST)
        found.origin = {"mlflow_run": run_id, **origin}
        digest = sha256(found.weights)
        evaluations = client.search_runs(
            [experiment],
            f"tags.`pipeline.training_run_id` = '{run_id}' and attributes.status = 'FINISHED'",
        )
        for other in evaluations:  # the newest of a section comes first, and counts
            section = other.data.tags.get("pipeline.section", "")
            same = other.data.tags.get("pipeline.checkpoint_sha256") == digest
            if not section or not same or section in found.evaluations:
                continue
            if SUMMARY in {each.path for each in client.list_artifacts(other.info.run_id)}:
                target = folder / section
                target.mkdir()
                path = client.download_artifacts(other.info.run_id, SUMMARY, str(target))
                found.evaluations[section] = json.loads(Path(path).read_text())
    except MlflowException as error:
        reason = one_line(error, 200)
        raise InputError(
            f"checkpoint {source}: {reason}; give a run or a model of this store."
        ) from None
    return found
