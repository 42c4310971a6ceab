"""Log a run's model in MLflow, and register it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .model import NAME

CHAMPION = "champion"
SECTION = "pipeline.section"
# What two runs must share before their scores are compared; a training has no section.
SAME = ("pipeline.datalist_sha256", "fold", SECTION)


def log_model(client: Any, run_id: str, folder: Path) -> None:
    """Log the model in ``folder`` as the run's, once, however often this is called."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    model = find_model(client, run_id)
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


def find_model(client: Any, run_id: str) -> Any:
    """Find the model that a run logged, or None."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    return next((model for model in found if model.name == NAME), None)


def register_model(client: Any, run_id: str, name: str) -> str:
    """Register a run's model; the best of those that compare gets the alias ``champion``.

    Returns:
        A sentence that says what was done.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = client.get_run(run_id)
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = known[0] if known else create_version(client, run, name)
    try:
        champion = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        champion = None
    section = get_value(run, SECTION) or "validation"
    this = f"{name} version {version.version} ({section} Dice {get_score(run):.4f})"
    if champion is None:
        client.set_registered_model_alias(name, CHAMPION, version.version)
        return f"registered {this}, which is the champion as the first one"
    if champion.version == version.version:
        return f"{this} is the champion"
    other = client.get_run(champion.run_id)
    that = f"version {champion.version} ({get_score(other):.4f})"
    if [get_value(run, key) for key in SAME] != [get_value(other, key) for key in SAME]:
        return f"registered {this}; {that} stays the champion, since it was measured on other cases"
    if get_score(run) <= get_score(other):
        return f"registered {this}; {that} stays the champion, since this one is not better"
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return f"registered {this}, the new champion, better than {that}"


def create_version(client: Any, run: Any, name: str) -> Any:
    model = find_model(client, run.info.run_id)
    tags = {key: get_value(run, key) for key in SAME} | {"best_dice": f"{get_score(run):.6f}"}
    return client.create_model_version(
        name, model.artifact_location, run.info.run_id, tags, model_id=model.model_id
    )


def get_score(run: Any) -> float:
    """Get the best validation Dice of a training, or the mean Dice of an ensemble's evaluation."""
    prefix = f"{get_value(run, SECTION)}/dice/"
    found = [value for name, value in run.data.metrics.items() if name.startswith(prefix)]
    return run.data.metrics.get("best/dice", sum(found) / len(found) if found else 0.0)


def get_value(run: Any, key: str) -> str:
    return run.data.tags.get(key) or run.data.params.get(key, "")
