"""What an MLflow store says of runs."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run


def find_runs(uri: str, experiment: str = "tiny") -> dict[str, Run]:
    """The runs of an experiment by name; no two have the same."""
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == len(names)
    return dict(zip(names, runs, strict=True))


def history(uri: str, run: Run, name: str) -> list[tuple[int, float]]:
    """Steps and values of a metric."""
    found = MlflowClient(uri).get_metric_history(run.info.run_id, name)
    return [(each.step, each.value) for each in found]


def steps(uri: str, run: Run, name: str) -> list[int]:
    return [step for step, _ in history(uri, run, name)]


def artifacts(uri: str, run: Run) -> set[str]:
    return {each.path for each in MlflowClient(uri).list_artifacts(run.info.run_id)}


def is_whole(uri: str, run: Run, epochs: int, per_epoch: int = 4) -> bool:
    """Whether every step and every epoch is there, once, in order."""
    return steps(uri, run, "train/loss") == [*range(1, epochs + 1)] and steps(
        uri, run, "train/step_loss"
    ) == [*range(1, epochs * per_epoch + 1)]
