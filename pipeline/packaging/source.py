"""Trained weights from a folder or from MLflow, with what was recorded about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..bundle.lineage import MEASURED_ON
from ..bundle.members import Checkpoint
from ..bundle.quality import Calibration, quality_file, read_calibration
from ..bundle.trained import (
    BEST,
    CHOSEN,
    CONFIG,
    ENSEMBLE,
    HISTORY,
    QUALITY,
    SUMMARY,
    chosen_postprocessing,
    read_config,
    read_history,
)
from ..errors import InputError, one_line
from ..files import read_json, sha256
from ..tracking.journal import JOURNAL
from ..tracking.store import connect

RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})(?:/.*)?")
VERSION = re.compile(r"models:/([^/@]+)(?:@([^/]+)|/(\d+))")
FIX = "give a model.pt, the folder of a training or a plan, runs:/ID or models:/NAME@champion."


@dataclass
class Trained:
    """A training's result.

    Attributes:
        weights: the checkpoint.
        config: what the training left of its config, see `read_config`; empty if it left nothing.
        chosen: the postprocessing that an evaluation chose.
        calibration: to estimate the quality of masks; None if no evaluation made one.
        best: metrics of the best validation.
        evaluations: summaries by section, each of exactly these weights.
        measured_on: by section, the data of the evaluation, as `describe_data` gives them.
        origin: the MLflow run or model, such as ``{"mlflow_run": ID}``.
    """

    weights: Path
    config: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    best: dict[str, float] = field(default_factory=dict)
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    measured_on: dict[str, dict[str, Any]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_trained(
    source: str | Sequence[str], *, tracking_uri: str | None = None
) -> Iterator[Trained]:
    """Find trained weights; downloaded files are removed when the context ends.

    Args:
        source: path of a ``model.pt``, of a training's folder or of a plan's; ``runs:/ID``, or the
            id alone, of an MLflow run; ``models:/NAME@champion`` or ``models:/NAME/VERSION`` of its
            registry. Several are the members of an ensemble.
        tracking_uri: of the MLflow store; None for MLflow's default.

    Raises:
        InputError: there is no such file, run or model, or members do not fit together.
    """
    sources = [source] if isinstance(source, str) else source
    with TemporaryDirectory() as folder:
        found: list[Trained] = []
        for each in sources:
            if Path(each).exists() or not (RUN.fullmatch(each) or VERSION.fullmatch(each)):
                members = Checkpoint(each, option="checkpoint", fix=FIX).members
                found += map(read_folder, members)
            else:
                own = Path(folder, re.sub(r"\W+", "-", each))
                own.mkdir(exist_ok=True)
                found.append(read_run(each, own, tracking_uri))
        if len(found) > 1:
            yield read_ensemble(found, Path(folder))
        else:
            yield found[0]


def read_ensemble(members: Sequence[Trained], folder: Path) -> Trained:
    """Join trainings in a file of weights in ``folder``, and read the evaluations of that."""
    checkpoint = Checkpoint([each.weights for each in members], option="checkpoint")
    found = read_folder(Path(checkpoint.file(folder)), checkpoint.folder)
    found.calibration = read_calibration([each.weights for each in members])
    runs = [each.origin["mlflow_run"] for each in members if "mlflow_run" in each.origin]
    found.origin = {"mlflow_runs": ", ".join(runs)} if runs else {}
    return found


def read_folder(weights: Path, folder: Path | None = None) -> Trained:
    """Read the files that a training and its evaluations left beside a checkpoint.

    Args:
        weights: the checkpoint.
        folder: where its evaluations are, if that is not its own.
    """
    folder = folder or weights.parent
    found = Trained(
        *(weights, read_config(weights), chosen_postprocessing(weights)),
        read_calibration([weights]),
    )
    if weights.name == BEST:
        found.best = read_best_epoch(folder)
    digest = sha256(weights)
    # An evaluation of several checkpoints leaves them joined in its own folder.
    for path in [*sorted(folder.glob(f"evaluation-*/{SUMMARY}")), weights.with_name(SUMMARY)]:
        if path.is_file() and find_measured(path.parent) == digest:
            section = path.parent.name.removeprefix("evaluation-")
            if section == path.parent.name:
                section = read_json(path.with_name(CONFIG)).get("section", section)
            found.evaluations[section] = read_json(path, "evaluate again, or remove it.")
            found.measured_on[section] = read_data(path.with_name(CONFIG))
    for state in sorted((folder / "mlflow").glob("delivered-*.json")):
        if run_id := read_json(state).get("run_id"):
            found.origin = {"mlflow_run": run_id}
    return found


def read_data(config: Path) -> dict[str, Any]:
    """The data that an evaluation's config names; empty where it names none."""
    found = read_json(config).get(MEASURED_ON) if config.is_file() else None
    return found if isinstance(found, dict) else {}


def find_measured(folder: Path) -> str | None:
    """The SHA-256 of the weights that an evaluation measured, if that was recorded."""
    journal = folder / JOURNAL
    text = journal.read_text() if journal.is_file() else ""
    found = re.findall(r'"pipeline\.checkpoint_sha256": "([0-9a-f]{64})"', text)
    return found[-1] if found else None


def read_best_epoch(folder: Path) -> dict[str, float]:
    """Read the metrics of the best validation; empty if there was none."""
    rows = [row for row in read_history(folder) if row.get("dice")]
    best = max(rows, key=lambda row: float(row["dice"]), default={})
    others = ("loss", "lr", "seconds", "best")
    return {name: float(value) for name, value in best.items() if value and name not in others}


def read_run(source: str, folder: Path, tracking_uri: str | None) -> Trained:
    """Download a run's files, and the summaries of the evaluations of its weights."""
    from mlflow.exceptions import MlflowException

    client = connect(tracking_uri)
    try:
        if match := RUN.fullmatch(source):
            run_id, origin = match[1], {}
        else:
            name, alias, number = VERSION.fullmatch(source).groups()
            version = (
                client.get_model_version_by_alias(name, alias)
                if alias
                else client.get_model_version(name, number)
            )
            run_id = version.run_id
            origin = {"mlflow_model": f"{name} version {version.version}"}
        run = client.get_run(run_id)
        there = {artifact.path for artifact in client.list_artifacts(run_id)}
        weights = next((name for name in (BEST, ENSEMBLE) if name in there), None)
        if weights is None:
            raise InputError(
                f"checkpoint {source}: its run {run_id} has no artifact {BEST}, nor {ENSEMBLE}; "
                "give another run."
            )
        for file in {weights, CONFIG, HISTORY, CHOSEN} & there:
            client.download_artifacts(run_id, file, str(folder))
        found = read_folder(folder / weights)
        found.origin = {"mlflow_run": run_id, **origin}
        digest = sha256(found.weights)
        evaluations = client.search_runs(
            [run.info.experiment_id],
            f"tags.`pipeline.training_run_id` = '{run_id}' and attributes.status = 'FINISHED'",
        )
        # The newest of each section comes first, and counts. The run itself may be the evaluation
        # of an ensemble.
        for other in [run, *evaluations]:
            section = other.data.tags.get("pipeline.section", "")
            same = other.data.tags.get("pipeline.checkpoint_sha256") == digest
            if not section or not same or section in found.evaluations:
                continue
            files = {each.path for each in client.list_artifacts(other.info.run_id)}
            if SUMMARY in files:
                target = folder / section
                target.mkdir()
                for file in {SUMMARY, CONFIG, QUALITY} & files:
                    client.download_artifacts(other.info.run_id, file, str(target))
                found.evaluations[section] = read_json(target / SUMMARY)
                found.measured_on[section] = read_data(target / CONFIG)
                if QUALITY in files:
                    (target / QUALITY).replace(quality_file(found.weights))
                    found.calibration = read_calibration([found.weights])
    except MlflowException as error:
        raise InputError(
            f"checkpoint {source}: {one_line(error, 200)}; give a run or a model of this store."
        ) from None
    return found
