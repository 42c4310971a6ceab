"""A run's model in MLflow, and in its registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .model import NAME

CHAMPION = "champion"
# What two validation scores must share to be compared.
SAME = ("pipeline.datalist_sha256", "fold")


def log_model(client: Any, run_id: str, folder: Path) -> None:
    """Log the model in ``folder`` as the run's; once, however often it is called."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    model = model_of(client, run_id)
    if model is not None and model.status == "READY":
        return
    run = client.get_run(run_id)
    if model is None:
        model = client.create_logged_model(
            run.info.experiment_id, NAME, source_run_id=run_id, model_type="segmentation"
        )
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    description = Model.load(folder)
    description.run_id, description.model_id = run_id, model.model_id
    description.save(folder / "MLmodel")
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")


def model_of(client: Any, run_id: str) -> Any:
    """The model that a run logged, or None."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    return next((model for model in found if model.name == NAME), None)


def register_model(client: Any, run_id: str, name: str) -> str:
    """Register a run's model; the alias ``champion`` goes to the better one of what compares.

    Returns:
        what was done, as a sentence.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = client.get_run(run_id)
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = known[0] if known else new_version(client, run, name)
    try:
        champion = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        champion = None
    this = f"{name} version {version.version} (validation Dice {score(run):.4f})"
    if champion is None:
        client.set_registered_model_alias(name, CHAMPION, version.version)
        return f"registered {this}, the first and so the champion"
    if champion.version == version.version:
        return f"{this} is the champion"
    other = client.get_run(champion.run_id)
    that = f"version {champion.version} ({score(other):.4f})"
    if [value_of(run, key) for key in SAME] != [value_of(other, key) for key in SAME]:
        return f"registered {this}; {that} stays champion, since it was validated on other cases"
    if score(run) <= score(other):
        return f"registered {this}; {that} stays champion, since this one is not better"
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return f"registered {this}, the new champion, better than {that}"


def new_version(client: Any, run: Any, name: str) -> Any:
    model = model_of(client, run.info.run_id)
    tags = {key: value_of(run, key) for key in SAME} | {"best_dice": f"{score(run):.6f}"}
    return client.create_model_version(
        name, model.artifact_location, run.info.run_id, tags, model_id=model.model_id
    )


def score(run: Any) -> float:
    """The best validation Dice."""
    return run.data.metrics.get("best/dice", 0.0)


def value_of(run: Any, key: str) -> str:
    return run.data.tags.get(key) or run.data.params.get(key, "")
